"""Which programs the tools are, with the options that each is always given.

What a program is and can is asked of it by ``objects.AsyncToolchain``; here is only where
it lies.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import LaunchError, UsageError
from qemu_blocksdk.qmp import find_program

ProgramName = Literal["qemu", "qemu_img", "qemu_io", "qemu_nbd", "storage_daemon"]
"""The system emulator, the three tools and the storage daemon."""

_VARIABLES: Mapping[ProgramName, tuple[str, str]] = {
    "qemu": ("QEMU_PROG", "QEMU_OPTIONS"),
    "qemu_img": ("QEMU_IMG_PROG", "QEMU_IMG_OPTIONS"),
    "qemu_io": ("QEMU_IO_PROG", "QEMU_IO_OPTIONS_NO_FMT"),
    "qemu_nbd": ("QEMU_NBD_PROG", "QEMU_NBD_OPTIONS"),
    "storage_daemon": ("QSD_PROG", "QSD_OPTIONS"),
}
"""The environment variables of a program and of its options."""

_TARGETS = {"amd64": "x86_64", "arm64": "aarch64", "armv7l": "arm", "i686": "i386"}
"""What QEMU calls a machine whose kernel calls itself otherwise."""
_MACHINE = os.uname().machine
_QEMU = f"qemu-system-{_TARGETS.get(_MACHINE, _MACHINE.removesuffix('le'))}"


class Programs(Value):
    """The words that each command line begins with: a program, by name or path, and options."""

    qemu: Sequence[str] = (_QEMU,)
    qemu_img: Sequence[str] = ("qemu-img",)
    qemu_io: Sequence[str] = ("qemu-io",)
    qemu_nbd: Sequence[str] = ("qemu-nbd",)
    storage_daemon: Sequence[str] = ("qemu-storage-daemon",)

    @classmethod
    def in_directory(cls, directory: str | os.PathLike[str]) -> Self:
        """Name the programs of one directory, which may be the one that QEMU was built in.

        A build of other targets than this machine's gives the first of its emulators.
        """
        folder = Path(directory).absolute()

        def words(*candidates: Path) -> tuple[str]:
            there = (path for path in candidates if path.exists())
            return (str(next(there, candidates[0])),)

        daemon = "qemu-storage-daemon"
        return cls(
            qemu=words(folder / _QEMU, *sorted(folder.glob("qemu-system-*"))),
            qemu_img=words(folder / "qemu-img"),
            qemu_io=words(folder / "qemu-io"),
            qemu_nbd=words(folder / "qemu-nbd"),
            storage_daemon=words(folder / daemon, folder / "storage-daemon" / daemon),
        )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``QEMU_PROG``, ``QEMU_IMG_PROG``, ``QEMU_IO_PROG``, ``QEMU_NBD_PROG``, ``QSD_PROG``.

        And their options, separated by spaces: ``QEMU_OPTIONS``, ``QEMU_IMG_OPTIONS``,
        ``QEMU_IO_OPTIONS_NO_FMT`` (else ``QEMU_IO_OPTIONS``), ``QEMU_NBD_OPTIONS``,
        ``QSD_OPTIONS``. What is not set is looked for in PATH; a path that is relative
        starts where the process is now.
        """
        given = os.environ if environ is None else environ

        def words(program: ProgramName) -> tuple[str, ...]:
            name_in, options_in = _VARIABLES[program]
            name = given.get(name_in) or getattr(cls, program)[0]
            path = str(Path(name).absolute()) if "/" in name else name
            if program == "qemu_io" and options_in not in given:
                options_in = "QEMU_IO_OPTIONS"
            options = given.get(options_in, "").split()
            return (path, *(_without_format(options) if program == "qemu_io" else options))

        return cls(**{program: words(program) for program in _VARIABLES})

    def variables(self) -> dict[str, str]:
        """Return the environment variables that :meth:`from_environ` reads these from.

        Raises UsageError for no words, and an option that is empty or has a space in it.
        """
        found: dict[str, str] = {}
        for program, (name, options) in _VARIABLES.items():
            found[name], *rest = self.words(program)
            found[options] = joined(rest, variable=options)
        return found

    def words(self, program: ProgramName) -> tuple[str, ...]:
        """Return the words of a program by its name. Raises UsageError where there are none."""
        words: Sequence[str] = getattr(self, program)
        if not words:
            raise UsageError(f"Programs: {program} has no words, so no program")
        return tuple(words)

    def find(self) -> dict[ProgramName, Path]:
        """Return the absolute paths of the programs that there are."""
        found: dict[ProgramName, Path] = {}
        for program in get_args(ProgramName):
            with contextlib.suppress(LaunchError):
                found[program] = Path(find_program(self.words(program))).absolute()
        return found

    def require(self, *programs: ProgramName) -> None:
        """Raise LaunchError, which names all that are missing, unless these are there."""
        missing: list[LaunchError] = []
        for program in programs:
            try:
                find_program(self.words(program))
            except LaunchError as error:
                missing.append(error)
        if missing:
            what = "; ".join(error.what for error in missing)
            raise LaunchError(what, argv=missing[0].argv) from missing[0]


def joined(options: Sequence[str], *, variable: str) -> str:
    """Return options as a variable has them. Raises UsageError for one that it would not keep."""
    if strays := [word for word in options if word.split() != [word]]:
        raise UsageError(f"{variable} cannot hold {strays[0]!r}")
    return " ".join(options)


def _without_format(options: Sequence[str]) -> Iterator[str]:
    """Drop what says how images are described, which our calls do themselves.

    The variables of an iotests run have ``-f qcow2`` in them, or ``--image-opts``.
    """
    rest = iter(options)
    for word in rest:
        if word in ("-f", "--format"):
            next(rest, None)
        elif word != "--image-opts" and not word.startswith("--format="):
            yield word
