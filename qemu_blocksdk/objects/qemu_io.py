"""qemu-io: requests to an image that nothing else has open, or to an NBD export."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from qemu_blocksdk.codec import masked
from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.terminal import escaped
from qemu_blocksdk.tools import qemu_io_answers as answers
from qemu_blocksdk.tools.qemu_io import IoFailure, IoInfo, IoResult, checked, line, request
from qemu_blocksdk.tools.qemu_io_dialog import IoDialog
from qemu_blocksdk.tools.qemu_io_session import IoSession
from qemu_blocksdk.tools.run import Completed, handed_over, run
from qemu_blocksdk.tools.target import Target
from qemu_blocksdk.tools.words import CacheMode
from qemu_blocksdk.wire import (
    BlkdebugEvent,
    BlockdevAioOptions,
    BlockdevDiscardOptions,
    PreallocMode,
)

from .image import AsyncImage
from .io_requests import IoRequests


@sealed_class
class AsyncQemuIo(IoRequests, AsyncResource):
    """A session of ``qemu-io``, open while the block runs.

    Offsets and lengths are in bytes, times in seconds. A request that fails raises
    ToolError with qemu-io's words, and the session goes on; what cannot be right raises
    UsageError before it is sent; a flush that fails shows only in the exit status of
    :meth:`run_commands`. A command that takes longer than the time limit raises
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
        untrusted: bool = False,
        timeout: float = 30.0,
    ) -> None:
        """Describe a session; nothing is started yet.

        With ``snapshot``, what is written goes to a temporary file; ``force_share``, for
        ``read_only``, opens what another program has locked; ``misalign`` misaligns the
        buffers. ``timeout`` is for opening, for every command, and for closing. An ``untrusted``
        image is read as :class:`AsyncImage` says, and has to be ``read_only`` (UsageError).
        """
        if untrusted:
            image._assert_only_read(read_only=read_only, snapshot=snapshot)
        self._program = image._programs.qemu_io
        flags = {"-r": read_only, "-s": snapshot, "-C": copy_on_read}
        flags |= {"-U": force_share, "-m": misalign}
        modes = {"-t": cache, "-i": aio, "-d": discard}
        self._options = [option for option, is_given in flags.items() if is_given]
        self._options += [w for option, mode in modes.items() if mode for w in (option, mode)]
        self._image = image
        self._is_untrusted = untrusted
        self._timeout = timeout
        self._guard = background_loop.process_guard
        self._is_opening = False
        self._session: IoSession | None = None
        self._dialog: IoDialog | None = None

    # -- life ---------------------------------------------------------------------------

    async def open(self) -> None:
        """Start qemu-io, which opens the target.

        Raises LaunchError, DeadlineExceeded, ToolError when it cannot open that, UsageError
        when the session is open and for a backing chain that loops, SandboxUnavailable.
        """
        if self._dialog is not None or self._is_opening:
            raise UsageError("the session of qemu-io is open already")
        self._is_opening = True
        try:
            with (
                self._image._opened(untrusted=self._is_untrusted) as (target, confinement),
                handed_over(target.secrets) as (objects, fds),
            ):
                session = await IoSession.start(
                    [*self._program, *self._options, *objects, *_target_words(target)],
                    timeout=self._timeout,
                    pass_fds=fds,
                    confinement=confinement,
                )
            self._session, self._dialog = session, IoDialog(session, timeout=self._timeout)
        finally:
            self._is_opening = False

    async def close(self) -> None:
        """End the session; asynchronous requests end first, so resume what is suspended.

        May be repeated. Raises DeadlineExceeded, and then qemu-io is killed; ToolError when
        somebody else killed it.
        """
        session, self._session, self._dialog = self._session, None, None
        if session is not None:
            await session.close(timeout=self._timeout)

    async def _enter(self) -> None:
        await self.open()

    async def _leave(self, error: BaseException | None) -> None:
        # A child that came of os.fork() in here leaves the block too; qemu-io is its parent's.
        if self._guard.is_here:
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
        with self._image._opened(untrusted=self._is_untrusted) as (target, confinement):
            return await run(
                self._program,
                [*self._options, *script, *_target_words(target)],
                timeout=self._timeout * len(commands),
                accept=(0, 1) if accept_failure else (0,),
                secrets=target.secrets,
                confinement=confinement,
            )

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
        self._guard.assert_here("this session of qemu-io")
        if self._dialog is None:
            raise UsageError("the session of qemu-io is not open")
        return self._dialog

    def __repr__(self) -> str:
        state = "not open" if self._dialog is None else "open"
        return f"<AsyncQemuIo {escaped(masked(self._image._target.filename))}: {state}>"


def _target_words(target: Target) -> list[str]:
    return [*target.format_words(), "--", target.filename]
