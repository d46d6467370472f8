# Generated from objects/qemu.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.qemu.AsyncQemu`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.qemu import AsyncQemu
from qemu_blocksdk.qmp import background_loop

from .block_layer import BlockLayer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from qemu.qmp import QMPClient

    from qemu_blocksdk.codec import Secret
    from qemu_blocksdk.qmp import Address, OnMessage
    from qemu_blocksdk.tools.qemu_args import Chardev, MonitorAddress, Program
    from qemu_blocksdk.wire import BlockdevOptions, ObjectOptions

    from .process import Process
    from .qmp import Qmp


class Qemu(BlockLayer):
    """A QEMU and its block layer: started and ended here, or attached to and left alone.

    Use it as a context manager, or :meth:`launch` and :meth:`stop` it. The process ends
    with the block, with the Python process at the latest. One that :meth:`attach` returns
    is not ours, and goes on.
    """

    @property
    def _async(self) -> AsyncQemu:
        return cast("AsyncQemu", self._reach())

    def __init__(
        self,
        *,
        program: Program,
        chardevs: Sequence[Chardev] = (),
        monitors: Sequence[MonitorAddress] = (),
        secrets: Mapping[str, Secret] | None = None,
        objects: Sequence[ObjectOptions] = (),
        blockdevs: Sequence[BlockdevOptions] = (),
        args: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        launch_timeout: float = 30.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
        qmp_id: str = "blocksdk-qmp",
    ) -> None:
        """Describe a QEMU; nothing is started yet.

        ``program`` is a path or a name in PATH, or that and its first options; the rest is
        in :class:`~qemu_blocksdk.objects.QemuOptions`. Raises UsageError for an empty program.
        """
        self._hold(background_loop.call(
            lambda: AsyncQemu(
                program=program,
                chardevs=chardevs,
                monitors=monitors,
                secrets=secrets,
                objects=objects,
                blockdevs=blockdevs,
                args=args,
                pass_fds=pass_fds,
                launch_timeout=launch_timeout,
                command_timeout=command_timeout,
                on_message=on_message,
                qmp_id=qmp_id,
            )
        ))

    def launch(self) -> None:
        """Start the process and connect. Nothing is left of it when that fails.

        Raises LaunchError (with the exit status and the output), UsageError when it runs already
        or is attached to.
        """
        return background_loop.run(self._async.launch())

    def stop(self, *, grace: float = 5.0) -> int | None:
        """End the process: ``quit``, then SIGTERM, then SIGKILL, ``grace`` seconds apart.

        Returns the exit status, negative for a signal; None when it was never launched, and
        where it is attached to: that is only disconnected. May be repeated.
        """
        return background_loop.run(self._async.stop(grace=grace))

    def kill(self) -> int | None:
        """End the process with SIGKILL. Returns as :meth:`stop`, and may be repeated.

        Raises UsageError where it is attached to.
        """
        return background_loop.run(self._async.kill())

    @property
    def is_running(self) -> bool:
        """Whether the process runs; where it is attached to, whether it is connected."""
        return self._async.is_running

    @property
    def process(self) -> Process:
        """The process: its id, exit status and output, also after its end.

        Raises UsageError before the launch, and where it is attached to.
        """
        background_loop.assert_running()
        from . import Process

        return Process._of(self._async.process)

    @property
    def qmp(self) -> Qmp:
        """The QMP connection. Raises UsageError before the launch."""
        background_loop.assert_running()
        from . import Qmp

        return Qmp._of(self._async.qmp)

    @classmethod
    def attach(
        cls,
        address: Address | QMPClient,
        *,
        timeout: float = 10.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
    ) -> Self:
        """Connect to a running QEMU by one of its QMP monitors, within ``timeout`` seconds.

        Leaving the block only disconnects. The async classes also take a connected
        ``qemu.qmp.QMPClient``: it stays connected, and its owner can go on using it. Raises
        ConnectionLost when nothing listens at the address; DeadlineExceeded when nothing answers,
        for example because another client holds the monitor; UsageError for a client that is not
        connected or that belongs to another event loop.
        """
        work = AsyncQemu.attach(
            address,
            timeout=timeout,
            command_timeout=command_timeout,
            on_message=on_message,
        )
        return cls._of(background_loop.run(work))
