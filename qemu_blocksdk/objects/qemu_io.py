"""qemu-io: requests to an image that nothing else has open, or to an NBD export."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.qmp import portal
from qemu_blocksdk.qmp.resource import Resource
from qemu_blocksdk.tools import qemu_io_answers as answers
from qemu_blocksdk.tools.qemu_io import (
    MAX,
    IoExtent,
    IoFailure,
    IoInfo,
    IoResult,
    checked,
    line,
    request,
)
from qemu_blocksdk.tools.qemu_io_dialog import IoDialog
from qemu_blocksdk.tools.run import Completed, as_file, handed_over, run
from qemu_blocksdk.tools.words import CacheMode
from qemu_blocksdk.wire import (
    BlkdebugEvent,
    BlockdevAioOptions,
    BlockdevDiscardOptions,
    PreallocMode,
)

from .image import AsyncImage

_STEP = 1 << 20


class AsyncQemuIo(Resource):
    """A session of ``qemu-io``, open while the block runs.

    Offsets and lengths are in bytes, times in seconds. A request that fails raises
    ToolError with qemu-io's words, and the session goes on; what cannot be right raises
    UsageError before it is sent. A command that takes longer than the time limit raises
    DeadlineExceeded, and that ends the session, as does a cancellation; the commands after
    it raise ToolError. Commands of several tasks wait for each other.
    """

    def __init__(
        self,
        image: AsyncImage,
        *,
        read_only: bool = False,
        snapshot: bool = False,
        cache: CacheMode | None = None,
        aio: BlockdevAioOptions | None = None,
        discard: BlockdevDiscardOptions | None = None,
        copy_on_read: bool = False,
        force_share: bool = False,
        misalign: bool = False,
        timeout: float = 30.0,
    ) -> None:
        """Describe a session; nothing is started yet.

        With ``snapshot``, what is written goes to a temporary file; ``force_share``, for
        ``read_only``, opens what another program has locked; ``misalign`` misaligns the
        buffers. ``timeout`` is for opening, for every command, and for closing.
        """
        self._program = image._programs.qemu_io
        flags = {"-r": read_only, "-s": snapshot, "-C": copy_on_read}
        flags |= {"-U": force_share, "-m": misalign}
        modes = {"-t": cache, "-i": aio, "-d": discard}
        self._options = [option for option, is_given in flags.items() if is_given]
        self._options += [w for option, mode in modes.items() if mode for w in (option, mode)]
        self._target = image._target
        self._timeout = timeout
        self._home = portal.home
        self._is_opening = False
        self._dialog: IoDialog | None = None

    # -- life ---------------------------------------------------------------------------

    async def open(self) -> None:
        """Start qemu-io, which opens the target.

        Raises LaunchError, DeadlineExceeded, ToolError when it cannot open that, UsageError
        when the session is open.
        """
        if self._dialog is not None or self._is_opening:
            raise UsageError("the session of qemu-io is open already")
        self._is_opening = True
        try:
            with handed_over(self._target.secrets) as (objects, fds):
                argv = [*self._program, *self._options, *objects, *self._target_words()]
                self._dialog = await IoDialog.start(argv, pass_fds=fds, timeout=self._timeout)
        finally:
            self._is_opening = False

    async def close(self) -> None:
        """End the session; asynchronous requests end first, so resume what is suspended.

        May be repeated. Raises DeadlineExceeded, and then qemu-io is killed; ToolError when
        somebody else killed it.
        """
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            await dialog.close()

    async def _enter(self) -> None:
        await self.open()

    async def _leave(self, error: BaseException | None) -> None:
        # A child that came of os.fork() in here leaves the block too; qemu-io is its parent's.
        if self._home.is_here:
            with contextlib.suppress(BlockSdkError) if error else contextlib.nullcontext():
                await self.close()

    # -- any command --------------------------------------------------------------------

    async def raw(self, command: str, *, timeout: float | None = None) -> str:
        """Have qemu-io carry out a command line; return all that it printed meanwhile.

        Whether it failed is for the caller to read. Raises UsageError for ``quit``, for
        what is more than one line, and for more than 1022 bytes.
        """
        return await self._running.raw(checked(command), timeout=timeout)

    async def run_commands(self, *commands: str, accept_failure: bool = False) -> Completed:
        """Run a qemu-io of its own for the commands (``-c``), apart from the session.

        Its exit status is 1 when one of them failed; the others are carried out. Raises
        ToolError for that unless ``accept_failure``, DeadlineExceeded after ``timeout`` for
        each command.
        """
        script = [word for c in commands for word in ("-c", checked(c))]
        if not script:
            raise UsageError("no commands for qemu-io")
        return await run(
            self._program,
            [*self._options, *script, *self._target_words()],
            timeout=self._timeout * len(commands),
            accept=(0, 1) if accept_failure else (0,),
            secrets=self._target.secrets,
        )

    # -- requests -----------------------------------------------------------------------

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
        """Have everything written to disk.

        qemu-io does not say when that fails; :meth:`run_commands` tells by its exit status.
        """
        await self._running.done("flush")

    # -- asynchronous requests ----------------------------------------------------------

    async def aio_read(self, offset: int, *lengths: int, pattern: int | None = None) -> None:
        """Start to read as :meth:`readv` does; :meth:`aio_flush` tells how it ended."""
        await self._running.begin(request("aio_read", offset, *lengths, P=pattern))

    async def aio_write(
        self, offset: int, *lengths: int, pattern: int | None = None, fua: bool = False
    ) -> None:
        """Start to write as :meth:`writev` does; :meth:`aio_flush` tells how it ended."""
        await self._running.begin(request("aio_write", offset, *lengths, f=fua, P=pattern))

    async def aio_write_zeroes(
        self, offset: int, length: int, *, unmap: bool = False, fua: bool = False
    ) -> None:
        """Start to write zeroes (``aio_write -z``); :meth:`aio_flush` tells how it ended."""
        await self._running.begin(request("aio_write", offset, length, z=True, u=unmap, f=fua))

    async def aio_flush(self) -> tuple[IoResult | IoFailure, ...]:
        """Wait for all asynchronous requests.

        Returns what became of each since the last time, in the order in which they ended.
        """
        return await self._running.finish_all()

    # -- the image ----------------------------------------------------------------------

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

    async def truncate(self, size: int, *, preallocation: PreallocMode | None = None) -> None:
        """Make the image ``size`` bytes long."""
        await self._running.done(line("truncate", size, m=preallocation))

    async def info(self) -> IoInfo:
        """Return what the driver tells of the image."""
        return await self._running.told("info", answers.image_info)

    async def reopen(
        self,
        *,
        read_only: bool | None = None,
        cache: CacheMode | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Open the image anew with other options; what is not given stays as it is."""
        pairs = [f"{key}={value.replace(',', ',,')}" for key, value in (options or {}).items()]
        modes = {"r": read_only is True, "w": read_only is False, "c": cache}
        await self._running.done(line("reopen", **modes, o=",".join(pairs) or None))

    async def sleep(self, seconds: float) -> None:
        """Have qemu-io wait; asynchronous requests go on."""
        command = line("sleep", round(seconds * 1000))
        await self._running.done(command, timeout=self._timeout + seconds)

    # -- blkdebug -----------------------------------------------------------------------

    async def break_at(self, event: BlkdebugEvent, tag: str) -> None:
        """Have blkdebug suspend the next request that comes to ``event`` (``break``)."""
        await self._running.done(line("break", event, tag))

    async def remove_break(self, tag: str) -> None:
        """Remove a breakpoint; one that has suspended a request is gone already."""
        await self._running.done(line("remove_break", tag))

    async def wait_break(self, tag: str, *, timeout: float | None = None) -> None:
        """Wait until a request is suspended; ``timeout`` in place of the session's.

        A tag that no breakpoint has is waited for just the same.
        """
        await self._running.done(line("wait_break", tag), timeout=timeout)

    async def resume(self, tag: str) -> None:
        """Let a suspended request go on."""
        await self._running.done(line("resume", tag))

    # -- what runs ------------------------------------------------------------------------

    @property
    def _running(self) -> IoDialog:
        self._home.assert_here("this session of qemu-io")
        if self._dialog is None:
            raise UsageError("the session of qemu-io is not open")
        return self._dialog

    def _target_words(self) -> list[str]:
        return [*self._target.format_words(), "--", self._target.filename]

    def __repr__(self) -> str:
        state = "not open" if self._dialog is None else "open"
        return f"<AsyncQemuIo {self._target.filename}: {state}>"
