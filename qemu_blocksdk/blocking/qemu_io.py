# Generated from objects/qemu_io.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.qemu_io.AsyncQemuIo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.qemu_io import AsyncQemuIo
from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.tools.qemu_io import IoExtent, IoFailure, IoInfo, IoResult
    from qemu_blocksdk.tools.run import Completed
    from qemu_blocksdk.tools.words import CacheMode
    from qemu_blocksdk.wire import (
        BlkdebugEvent,
        BlockdevAioOptions,
        BlockdevDiscardOptions,
        PreallocMode,
    )

    from .image import Image


class QemuIo(SyncProxy):
    """A session of ``qemu-io``, open while the block runs.

    Offsets and lengths are in bytes, times in seconds. A request that fails raises
    ToolError with qemu-io's words, and the session goes on; what cannot be right raises
    UsageError before it is sent; a flush that fails shows only in the exit status of
    :meth:`run_commands`. A command that takes longer than the time limit raises
    DeadlineExceeded, and that ends the session, as does a cancellation; the commands after
    it raise ToolError. Commands of several tasks wait for each other.
    """

    @property
    def _async(self) -> AsyncQemuIo:
        return cast("AsyncQemuIo", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    def read(
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
        work = self._async.read(
            offset,
            length,
            pattern=pattern,
            pattern_offset=pattern_offset,
            pattern_length=pattern_length,
            vmstate=vmstate,
        )
        return background_loop.run(work)

    def read_data(self, offset: int, length: int, *, vmstate: bool = False) -> bytes:
        """Read, and return the bytes (``read -v``)."""
        return background_loop.run(self._async.read_data(offset, length, vmstate=vmstate))

    def assert_pattern(self, offset: int, length: int, *, pattern: int) -> None:
        """Read, and raise AssertionError when a byte is not the ``pattern``."""
        return background_loop.run(self._async.assert_pattern(offset, length, pattern=pattern))

    def readv(self, offset: int, *lengths: int, pattern: int | None = None) -> IoResult:
        """Read into a buffer of each length; the rest as :meth:`read`."""
        return background_loop.run(self._async.readv(offset, *lengths, pattern=pattern))

    def write(
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
        work = self._async.write(
            offset,
            length,
            pattern=pattern,
            source_file=source_file,
            fua=fua,
            compressed=compressed,
            vmstate=vmstate,
        )
        return background_loop.run(work)

    def writev(
        self,
        offset: int,
        *lengths: int,
        pattern: int | None = None,
        fua: bool = False,
    ) -> IoResult:
        """Write from a buffer of each length; the rest as :meth:`write`."""
        return background_loop.run(self._async.writev(offset, *lengths, pattern=pattern, fua=fua))

    def write_zeroes(
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
        work = self._async.write_zeroes(
            offset,
            length,
            unmap=unmap,
            no_fallback=no_fallback,
            fua=fua,
        )
        return background_loop.run(work)

    def discard(self, offset: int, length: int) -> IoResult:
        """Tell that the content is not needed any more; an image may ignore that."""
        return background_loop.run(self._async.discard(offset, length))

    def flush(self) -> None:
        """Have everything written to disk. qemu-io does not say when that fails."""
        return background_loop.run(self._async.flush())

    def map(self) -> tuple[IoExtent, ...]:
        """Return which parts the image itself has allocated, from its start to its end."""
        return background_loop.run(self._async.map())

    def alloc(self, offset: int, length: int = 512) -> int:
        """Return how many of the bytes the image itself has allocated; none are past its end."""
        return background_loop.run(self._async.alloc(offset, length))

    def length(self) -> int:
        """Return the length in bytes."""
        return background_loop.run(self._async.length())

    def __init__(
        self,
        image: Image,
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
        image is read as :class:`Image` says, and has to be ``read_only`` (UsageError).
        """
        self._hold(background_loop.call(
            lambda: AsyncQemuIo(
                image._async,
                read_only=read_only,
                snapshot=snapshot,
                cache=cache,
                aio=aio,
                discard=discard,
                copy_on_read=copy_on_read,
                force_share=force_share,
                misalign=misalign,
                untrusted=untrusted,
                timeout=timeout,
            )
        ))

    def open(self) -> None:
        """Start qemu-io, which opens the target.

        Raises LaunchError, DeadlineExceeded, ToolError when it cannot open that, UsageError
        when the session is open and for a backing chain that loops, SandboxUnavailable.
        """
        return background_loop.run(self._async.open())

    def close(self) -> None:
        """End the session; asynchronous requests end first, so resume what is suspended.

        May be repeated. Raises DeadlineExceeded, and then qemu-io is killed; ToolError when
        somebody else killed it.
        """
        return background_loop.run(self._async.close())

    def raw(self, command: str, *, timeout: float | None = None) -> str:
        """Have qemu-io carry out a command line; return all that it printed meanwhile.

        Whether it failed is for the caller to read. Raises UsageError for ``quit``, for
        what is more than one line, and for more than 1022 bytes.
        """
        return background_loop.run(self._async.raw(command, timeout=timeout))

    def run_commands(self, *commands: str, accept_failure: bool = False) -> Completed:
        """Run a qemu-io of its own for the commands (``-c``), apart from the session.

        Its exit status is 1 when one of them failed; the others are carried out. Raises
        ToolError for that unless ``accept_failure``, DeadlineExceeded after ``timeout`` for
        each command.
        """
        work = self._async.run_commands(*commands, accept_failure=accept_failure)
        return background_loop.run(work)

    def aio_read(self, offset: int, *lengths: int, pattern: int | None = None) -> None:
        """Start to read as :meth:`readv` does; :meth:`aio_flush` tells how it ended."""
        return background_loop.run(self._async.aio_read(offset, *lengths, pattern=pattern))

    def aio_write(
        self,
        offset: int,
        *lengths: int,
        pattern: int | None = None,
        fua: bool = False,
    ) -> None:
        """Start to write as :meth:`writev` does; :meth:`aio_flush` tells how it ended."""
        work = self._async.aio_write(offset, *lengths, pattern=pattern, fua=fua)
        return background_loop.run(work)

    def aio_write_zeroes(
        self,
        offset: int,
        length: int,
        *,
        unmap: bool = False,
        fua: bool = False,
    ) -> None:
        """Start to write zeroes (``aio_write -z``); :meth:`aio_flush` tells how it ended."""
        work = self._async.aio_write_zeroes(offset, length, unmap=unmap, fua=fua)
        return background_loop.run(work)

    def aio_flush(self) -> tuple[IoResult | IoFailure, ...]:
        """Wait for all asynchronous requests.

        Returns what became of each since the last time, in the order in which they ended.
        """
        return background_loop.run(self._async.aio_flush())

    def truncate(self, size: int, *, preallocation: PreallocMode | None = None) -> None:
        """Make the image ``size`` bytes long."""
        return background_loop.run(self._async.truncate(size, preallocation=preallocation))

    def info(self) -> IoInfo:
        """Return what the driver tells of the image."""
        return background_loop.run(self._async.info())

    def reopen(
        self,
        *,
        read_only: bool | None = None,
        cache: CacheMode | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Open the image anew with other options; what is not given stays as it is."""
        work = self._async.reopen(read_only=read_only, cache=cache, options=options)
        return background_loop.run(work)

    def sleep(self, seconds: float) -> None:
        """Have qemu-io wait; asynchronous requests go on."""
        return background_loop.run(self._async.sleep(seconds))

    def break_at(self, event: BlkdebugEvent, tag: str) -> None:
        """Have blkdebug suspend the next request that comes to ``event`` (``break``)."""
        return background_loop.run(self._async.break_at(event, tag))

    def remove_break(self, tag: str) -> None:
        """Remove a breakpoint; one that has suspended a request is gone already."""
        return background_loop.run(self._async.remove_break(tag))

    def wait_break(self, tag: str, *, timeout: float | None = None) -> None:
        """Wait until a request is suspended; ``timeout`` in place of the session's.

        A tag that no breakpoint has is waited for just the same.
        """
        return background_loop.run(self._async.wait_break(tag, timeout=timeout))

    def resume(self, tag: str) -> None:
        """Let a suspended request go on."""
        return background_loop.run(self._async.resume(tag))
