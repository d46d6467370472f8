"""Requests to a node or image by qemu-io, whoever runs it: a program of its own, or QEMU."""

from __future__ import annotations

import os

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools import qemu_io_answers as answers
from qemu_blocksdk.tools.qemu_io import MAX, IoExtent, IoResult, line, request
from qemu_blocksdk.tools.qemu_io_dialog import IoDialog
from qemu_blocksdk.tools.run import as_file

_STEP = 1 << 20


class IoRequests:
    """The commands of qemu-io that are over when they return.

    Offsets and lengths are in bytes. What cannot be right raises UsageError before it is
    sent, what fails ToolError with qemu-io's words.
    """

    @property
    def _running(self) -> IoDialog:
        raise NotImplementedError

    async def read(
        self,
        offset: int,
        length: int,
        *,
        pattern: int | None = None,
        pattern_offset: int | None = None,
        pattern_length: int | None = None,
        vmstate: bool = False,
    ) -> IoResult:
        """Read, and tell whether every byte is the ``pattern`` (0 to 255).

        The pattern is looked for in ``pattern_length`` bytes from ``pattern_offset`` of what
        was read; ``vmstate`` reads the part of the image where a snapshot keeps the machine.
        """
        part = {"s": pattern_offset, "l": pattern_length}
        if pattern is None and part != {"s": None, "l": None}:
            raise UsageError("read: a part to look for a pattern in, and no pattern")
        wanted = request("read", offset, length, b=vmstate, P=pattern, **part)
        return await self._running.request(wanted)

    async def read_data(self, offset: int, length: int, *, vmstate: bool = False) -> bytes:
        """Read, and return the bytes (``read -v``)."""
        wanted = request("read", offset, length, b=vmstate, v=True)
        return await self._running.told(wanted.line, lambda text: answers.dumped(text, wanted))

    async def assert_pattern(self, offset: int, length: int, *, pattern: int) -> None:
        """Read, and raise AssertionError when a byte is not the ``pattern``."""
        if (await self.read(offset, length, pattern=pattern)).pattern_matches:
            return
        for start in range(offset, offset + length, _STEP):
            data = await self.read_data(start, min(_STEP, offset + length - start))
            rest = data.lstrip(bytes([pattern]))
            if rest:
                where = start + len(data) - len(rest)
                raise AssertionError(f"at {where} is {rest[0]:#04x}, not {pattern:#04x}")

    async def readv(self, offset: int, *lengths: int, pattern: int | None = None) -> IoResult:
        """Read into a buffer of each length; the rest as :meth:`read`."""
        return await self._running.request(request("readv", offset, *lengths, P=pattern))

    async def write(
        self,
        offset: int,
        length: int,
        *,
        pattern: int | None = None,
        source_file: str | os.PathLike[str] | None = None,
        fua: bool = False,
        compressed: bool = False,
        vmstate: bool = False,
    ) -> IoResult:
        """Write a ``pattern`` (0 to 255, by default 0xCD) or what a file has.

        A ``source_file`` that is shorter is repeated; its path cannot hold a space.
        ``fua`` has it written to disk at once; ``vmstate`` as for :meth:`read`.
        """
        if pattern is not None and source_file is not None:
            raise UsageError("write: a pattern or the content of a file, not both")
        source = None if source_file is None else as_file(source_file)
        options = {"f": fua, "c": compressed, "b": vmstate, "P": pattern, "s": source}
        return await self._running.request(request("write", offset, length, **options))

    async def writev(
        self, offset: int, *lengths: int, pattern: int | None = None, fua: bool = False
    ) -> IoResult:
        """Write from a buffer of each length; the rest as :meth:`write`."""
        return await self._running.request(request("writev", offset, *lengths, f=fua, P=pattern))

    async def write_zeroes(
        self,
        offset: int,
        length: int,
        *,
        unmap: bool = False,
        no_fallback: bool = False,
        fua: bool = False,
    ) -> IoResult:
        """Write zeroes without sending them (``write -z``).

        With ``unmap`` the space may be given back; with ``no_fallback`` it fails where it
        would not be faster than to write them.
        """
        options = {"z": True, "u": unmap, "n": no_fallback, "f": fua}
        return await self._running.request(request("write", offset, length, **options))

    async def discard(self, offset: int, length: int) -> IoResult:
        """Tell that the content is not needed any more; an image may ignore that."""
        return await self._running.request(request("discard", offset, length))

    async def flush(self) -> None:
        """Have everything written to disk. qemu-io does not say when that fails."""
        await self._running.done("flush")

    async def map(self) -> tuple[IoExtent, ...]:
        """Return which parts the image itself has allocated, from its start to its end."""
        return await self._running.told("map", answers.extents)

    async def alloc(self, offset: int, length: int = 512) -> int:
        """Return how many of the bytes the image itself has allocated; none are past its end."""
        allocated, _ = await self._running.told(line("alloc", offset, length), answers.allocation)
        return allocated

    async def length(self) -> int:
        """Return the length in bytes."""
        # QEMU 7.2 and 10.0: `length` rounds to three digits, so `alloc`, which stops at the
        # end, counts the rest.
        start = await self._running.told("length", answers.at_least)
        _, rest = await self._running.told(line("alloc", start, MAX), answers.allocation)
        return start + rest
