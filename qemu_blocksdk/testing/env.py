"""What a test runs with: programs, image format, protocol, modes, directories. A value.

It is passed to whoever needs it. Here no program is asked what it can (``requirements``), and only
the directories are made.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self, TypeVar, get_args

from qemu_blocksdk.codec import Secret, Value, evolved
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.filters import Environment
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.words import AioMode, CacheMode

CACHE_MODES: tuple[CacheMode, ...] = get_args(CacheMode)
AIO_MODES: tuple[AioMode, ...] = get_args(AioMode)

_NEEDED = ("TEST_DIR", "SOCK_DIR", "CACHEMODE", "AIOMODE", "QEMU_DEFAULT_MACHINE")
_PROGRAMS = {
    "qemu": ("QEMU_PROG", "QEMU_OPTIONS"),
    "qemu_img": ("QEMU_IMG_PROG", "QEMU_IMG_OPTIONS"),
    "qemu_io": ("QEMU_IO_PROG", "QEMU_IO_OPTIONS_NO_FMT"),
    "qemu_nbd": ("QEMU_NBD_PROG", "QEMU_NBD_OPTIONS"),
    "storage_daemon": ("QSD_PROG", "QSD_OPTIONS"),
}
_Mode = TypeVar("_Mode", bound=str)


class TestEnv(Value):
    """What a test runs with.

    ``imgfmt`` and ``imgproto`` are the image format and protocol that it is about, ``cache_mode``
    and ``aio_mode`` those of its drives. Images go into ``test_dir``, sockets into
    ``sock_dir``, whose name is short, a runner's files into ``output_dir``.
    ``default_machine`` None is the emulator's own. ``key_secret`` opens LUKS images.
    ``qemu_io_options`` are those of a qemu-io that is told no format, by default ``-f imgfmt``.
    """

    __test__: ClassVar[bool] = False  # pytest takes the name for a test's

    test_dir: Path
    sock_dir: Path
    output_dir: Path = Path()
    sample_img_dir: Path | None = None
    programs: Programs = Programs()
    imgfmt: str = "raw"
    imgproto: str = "file"
    cache_mode: CacheMode = "writeback"
    aio_mode: AioMode = "threads"
    default_machine: str | None = None
    key_secret: Secret = Secret("123456")
    qemu_io_options: Sequence[str] | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read what QEMU's ``check`` sets: ``TEST_DIR``, ``IMGFMT``, ``QEMU_PROG``, ...

        Raises UsageError, which names all that is missing, and for an unknown mode.
        """
        variables = os.environ if environ is None else environ
        if missing := [name for name in _NEEDED if not variables.get(name)]:
            raise UsageError(f"not in the environment: {', '.join(missing)}")
        samples = variables.get("SAMPLE_IMG_DIR")
        return cls(
            test_dir=Path(variables["TEST_DIR"]),
            sock_dir=Path(variables["SOCK_DIR"]),
            output_dir=Path(variables.get("OUTPUT_DIR") or "."),
            sample_img_dir=Path(samples) if samples else None,
            programs=Programs.from_environ(variables),
            imgfmt=variables.get("IMGFMT") or "raw",
            imgproto=variables.get("IMGPROTO") or "file",
            cache_mode=one_of(CACHE_MODES, variables["CACHEMODE"], what="CACHEMODE"),
            aio_mode=one_of(AIO_MODES, variables["AIOMODE"], what="AIOMODE"),
            default_machine=variables["QEMU_DEFAULT_MACHINE"],
            key_secret=Secret(variables.get("IMGKEYSECRET", "")),
            qemu_io_options=variables.get("QEMU_IO_OPTIONS", "").split(),
        )

    @classmethod
    @contextmanager
    def temporary(cls, **members: object) -> Generator[Self]:
        """Make an environment with directories of its own, which are gone at the end.

        ``members`` are those of :class:`TestEnv` but its directories. Raises OSError.
        """
        with _scratch() as test_dir, _scratch() as sock_dir:
            yield evolved(cls(test_dir=test_dir, sock_dir=sock_dir, output_dir=test_dir), **members)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that :meth:`from_environ` reads this from."""
        found: dict[str, str] = {}
        for name, (program, options) in _PROGRAMS.items():
            found[program], *words = getattr(self.programs, name)
            found[options] = " ".join(words)
        io = ["-f", self.imgfmt] if self.qemu_io_options is None else self.qemu_io_options
        return {
            **found,
            "TEST_DIR": str(self.test_dir),
            "SOCK_DIR": str(self.sock_dir),
            "OUTPUT_DIR": str(self.output_dir),
            "SAMPLE_IMG_DIR": str(self.sample_img_dir or ""),
            "QEMU_IO_OPTIONS": " ".join(io),
            "IMGFMT": self.imgfmt,
            "IMGPROTO": self.imgproto,
            "CACHEMODE": self.cache_mode,
            "AIOMODE": self.aio_mode,
            "QEMU_DEFAULT_MACHINE": self.default_machine or "",
            "IMGKEYSECRET": self.key_secret.reveal().decode(),
        }

    def for_filters(self, *, pid: int | None = None) -> Environment:
        """Return what :func:`filters.default_filters` takes, by default of this process."""
        return Environment(
            test_dir=self.test_dir,
            sock_dir=self.sock_dir,
            pid=os.getpid() if pid is None else pid,
            format=self.imgfmt,
        )


def one_of(choices: Sequence[_Mode], word: str, *, what: str) -> _Mode:
    """Return the choice that a word is. Raises UsageError, which names them."""
    for choice in choices:
        if choice == word:
            return choice
    raise UsageError(f"{what}: {word!r} is none of {', '.join(choices)}")


@contextmanager
def _scratch() -> Generator[Path]:
    path = Path(tempfile.mkdtemp(prefix="blocksdk-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
