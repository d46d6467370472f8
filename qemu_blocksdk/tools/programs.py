"""Which programs the tools are, with the options that each is always given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from qemu_blocksdk.codec import Value

_QEMU = f"qemu-system-{os.uname().machine}"


class Programs(Value):
    """The words that each command line begins with: a program, by name or path, and options."""

    qemu: Sequence[str] = (_QEMU,)
    qemu_img: Sequence[str] = ("qemu-img",)
    qemu_io: Sequence[str] = ("qemu-io",)
    qemu_nbd: Sequence[str] = ("qemu-nbd",)
    storage_daemon: Sequence[str] = ("qemu-storage-daemon",)

    @classmethod
    def in_directory(cls, directory: str | os.PathLike[str]) -> Self:
        """Name the programs of one directory."""
        names = (_QEMU, "qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon")
        qemu, img, io, nbd, daemon = ((str(Path(directory, name).absolute()),) for name in names)
        return cls(qemu=qemu, qemu_img=img, qemu_io=io, qemu_nbd=nbd, storage_daemon=daemon)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``QEMU_PROG``, ``QEMU_IMG_PROG``, ``QEMU_IO_PROG``, ``QEMU_NBD_PROG``, ``QSD_PROG``.

        And their options, separated by spaces: ``QEMU_OPTIONS``, ``QEMU_IMG_OPTIONS``,
        ``QEMU_IO_OPTIONS_NO_FMT``, ``QEMU_NBD_OPTIONS``, ``QSD_OPTIONS``. What is not set
        is looked for in PATH.
        """
        variables = os.environ if environ is None else environ

        def words(program: str, options: str, default: str) -> tuple[str, ...]:
            return (variables.get(program) or default, *variables.get(options, "").split())

        return cls(
            qemu=words("QEMU_PROG", "QEMU_OPTIONS", _QEMU),
            qemu_img=words("QEMU_IMG_PROG", "QEMU_IMG_OPTIONS", "qemu-img"),
            qemu_io=words("QEMU_IO_PROG", "QEMU_IO_OPTIONS_NO_FMT", "qemu-io"),
            qemu_nbd=words("QEMU_NBD_PROG", "QEMU_NBD_OPTIONS", "qemu-nbd"),
            storage_daemon=words("QSD_PROG", "QSD_OPTIONS", "qemu-storage-daemon"),
        )
