"""The environment of a test as a value: programs, image format, protocol, modes, directories.

It is passed as an argument. This module creates the directories, but queries no program
(``requirements`` does).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self, TypedDict, TypeVar, Unpack, get_args

from qemu_blocksdk.codec import Secret, Value, evolve
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.filters import Environment
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.drivers import FORMATS, PROTOCOLS
from qemu_blocksdk.tools.programs import joined
from qemu_blocksdk.tools.words import AioMode, CacheMode

from . import scratch

IMGFMTS: tuple[str, ...] = tuple(sorted(FORMATS))
IMGPROTOS: tuple[str, ...] = (*sorted(PROTOCOLS), "fuse")
CACHE_MODES: tuple[CacheMode, ...] = get_args(CacheMode)
AIO_MODES: tuple[AioMode, ...] = get_args(AioMode)

_NEEDED = ("TEST_DIR", "SOCK_DIR", "CACHEMODE", "AIOMODE")
_MACHINE = "QEMU_DEFAULT_MACHINE"
_Mode = TypeVar("_Mode", bound=str)


class EnvMembers(TypedDict, total=False):
    """The members of :class:`TestEnv` except its directories."""

    sample_img_dir: Path | None
    programs: Programs
    imgfmt: str
    imgfmt_generic: bool
    imgproto: str
    cache_mode: CacheMode
    aio_mode: AioMode
    default_machine: str | None
    key_secret: Secret
    qemu_io_options: Sequence[str] | None


class TestEnv(Value):
    """The environment of a test.

    ``imgfmt`` and ``imgproto`` are the image format and the protocol under test, ``cache_mode`` and
    ``aio_mode`` the modes of its drives; ``imgfmt_generic`` tells whether tests for any format run
    with this one. Images go into ``test_dir``, sockets into ``sock_dir``, which has a short name,
    the files of a runner into ``output_dir``. ``default_machine`` None is the emulator's default.
    ``key_secret`` opens LUKS images. ``qemu_io_options`` are the options of a qemu-io that gets no
    format, by default ``-f imgfmt``.
    """

    __test__: ClassVar[bool] = False  # pytest takes the name for a test's

    test_dir: Path
    sock_dir: Path
    output_dir: Path = Path()
    sample_img_dir: Path | None = None
    programs: Programs = Programs()
    imgfmt: str = "raw"
    imgfmt_generic: bool = True
    imgproto: str = "file"
    cache_mode: CacheMode = "writeback"
    aio_mode: AioMode = "threads"
    default_machine: str | None = None
    key_secret: Secret = Secret("123456")
    qemu_io_options: Sequence[str] | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables of QEMU's ``check``: ``TEST_DIR``, ``IMGFMT``, ``QEMU_PROG``, ...

        Raises UsageError, which lists all missing variables; also for an unknown format, protocol
        or mode, and for directories that cannot be written.
        """
        variables = os.environ if environ is None else environ
        missing = [name for name in _NEEDED if not variables.get(name)]
        if _MACHINE not in variables:  # it is empty where the emulator has none
            missing.append(_MACHINE)
        if missing:
            raise UsageError(f"not in the environment: {', '.join(missing)}")
        if nuls := [name for name, text in variables.items() if "\0" in text]:
            raise UsageError(f"{nuls[0]} has a NUL character")
        samples = variables.get("SAMPLE_IMG_DIR")
        return cls(
            test_dir=_writable(variables["TEST_DIR"], what="TEST_DIR"),
            sock_dir=_writable(variables["SOCK_DIR"], what="SOCK_DIR"),
            output_dir=Path(variables.get("OUTPUT_DIR") or "."),
            sample_img_dir=Path(samples) if samples else None,
            programs=Programs.from_environ(variables),
            imgfmt=one_of(IMGFMTS, variables.get("IMGFMT") or "raw", what="IMGFMT"),
            imgfmt_generic=variables.get("IMGFMT_GENERIC", "true") == "true",
            imgproto=one_of(IMGPROTOS, variables.get("IMGPROTO") or "file", what="IMGPROTO"),
            cache_mode=one_of(CACHE_MODES, variables["CACHEMODE"], what="CACHEMODE"),
            aio_mode=one_of(AIO_MODES, variables["AIOMODE"], what="AIOMODE"),
            default_machine=variables[_MACHINE] or None,
            key_secret=secret_of(variables.get("IMGKEYSECRET", "")),
            qemu_io_options=variables.get("QEMU_IO_OPTIONS", "").split(),
        )

    @classmethod
    @contextmanager
    def temporary(cls, **members: Unpack[EnvMembers]) -> Generator[Self]:
        """Create an environment whose directories exist while the block runs.

        Raises UsageError for an unknown format, protocol or mode; OSError if a directory cannot be
        created.
        """
        with scratch.directory() as test_dir, scratch.directory(short=True) as sock_dir:
            env = cls(test_dir=test_dir, sock_dir=sock_dir, output_dir=test_dir)
            yield evolve(env, **members)._checked()

    def _checked(self) -> Self:
        one_of(IMGFMTS, self.imgfmt, what="imgfmt")
        one_of(IMGPROTOS, self.imgproto, what="imgproto")
        one_of(CACHE_MODES, self.cache_mode, what="cache_mode")
        one_of(AIO_MODES, self.aio_mode, what="aio_mode")
        return self

    def variables(self) -> dict[str, str]:
        """Return the environment variables from which :meth:`from_environ` makes this value.

        Raises UsageError for a value that no variable can hold: an option with a space, a NUL.
        """
        io = ["-f", self.imgfmt] if self.qemu_io_options is None else self.qemu_io_options
        found = {
            **self.programs.variables(),
            "TEST_DIR": str(self.test_dir),
            "SOCK_DIR": str(self.sock_dir),
            "OUTPUT_DIR": str(self.output_dir),
            "SAMPLE_IMG_DIR": str(self.sample_img_dir or ""),
            "QEMU_IO_OPTIONS": joined(io, variable="QEMU_IO_OPTIONS"),
            "IMGFMT": self.imgfmt,
            "IMGFMT_GENERIC": "true" if self.imgfmt_generic else "false",
            "IMGPROTO": self.imgproto,
            "CACHEMODE": self.cache_mode,
            "AIOMODE": self.aio_mode,
            _MACHINE: self.default_machine or "",
            "IMGKEYSECRET": os.fsdecode(self.key_secret.reveal()),
        }
        if nuls := [name for name, text in found.items() if "\0" in text]:
            raise UsageError(f"{nuls[0]} cannot be set: it has a NUL character")
        return found

    def for_filters(self, *, pid: int | None = None) -> Environment:
        """Return the argument of :func:`filters.default_filters`, by default for this process."""
        return Environment(
            test_dir=self.test_dir,
            sock_dir=self.sock_dir,
            pid=os.getpid() if pid is None else pid,
            format=self.imgfmt,
        )


def one_of(choices: Sequence[_Mode], word: str, *, what: str) -> _Mode:
    """Return the choice that equals a word. Raises UsageError, which lists the choices."""
    for choice in choices:
        if choice == word:
            return choice
    near = difflib.get_close_matches(str(word), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"{what}: {word!r} is none of {', '.join(choices)}{hint}")


def _writable(path: str, *, what: str) -> Path:
    directory = Path(path)
    try:
        if not directory.is_dir():
            raise UsageError(f"{what}: {path} is no directory")
    except OSError as error:  # a name that is too long
        raise UsageError(f"{what}: {error}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{what}: {path} cannot be written")
    return directory


def secret_of(text: str) -> Secret:
    """Return the secret in the variable ``IMGKEYSECRET``. Raises UsageError if it is invalid."""
    try:
        return Secret(os.fsencode(text))
    except UnicodeError:
        # Without its cause, which holds the secret.
        raise UsageError("IMGKEYSECRET is not text that a variable can hold") from None
