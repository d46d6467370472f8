"""A QEMU with a process: what virtual machines and storage daemons have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.qmp import Address, AsyncProcess, AsyncQmp, OnMessage, ServerKind, shielded
from qemu_blocksdk.qmp.address import address_text
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.qemu_args import (
    Chardev,
    MonitorAddress,
    Program,
    json_args,
    plain_args,
)

from .block_layer import AsyncBlockLayer
from .process import Handover, QemuProcess

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

    from qemu_blocksdk.wire import BlockdevOptions, ObjectOptions


@sealed_class
class AsyncQemu(AsyncBlockLayer):
    """A QEMU and its block layer: started and ended here, or attached to and left alone.

    Use it as a context manager, or :meth:`launch` and :meth:`stop` it. The process ends
    with the block, with the Python process at the latest. One that :meth:`attach` returns
    is not ours, and goes on.
    """

    _kind: ClassVar[ServerKind]

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
        self._chardevs, self._monitors = tuple(chardevs), tuple(monitors)
        self._secrets = dict(secrets or {})
        self._objects, self._blockdevs = tuple(objects), tuple(blockdevs)
        self._is_attached = False
        self._process = QemuProcess(
            program,
            args,
            kind=self._kind,
            pass_fds=pass_fds,
            launch_timeout=launch_timeout,
            command_timeout=command_timeout,
            on_message=on_message,
            qmp_id=qmp_id,
        )

    @classmethod
    def _attached(cls, session: AsyncQmp, address: Address | QMPClient) -> Self:
        self = cls(program=address_text(address))
        self._is_attached, self._session = True, session
        return self

    # -- launch -------------------------------------------------------------------------

    async def _arguments(self, given: Handover) -> list[str]:
        """Return the arguments that describe the QEMU and make it offer QMP on ``given.qmp``."""
        raise NotImplementedError

    async def _common_arguments(self, given: Handover) -> list[str]:
        """Return the arguments that a system emulator and a storage daemon have in common."""
        for options in self._blockdevs:
            sound_name(options)
        return [
            *plain_args("--chardev", self._chardevs),
            *await given.listening_args(self._monitors),
            *given.secret_args(self._secrets),
            *json_args("--object", self._objects),
            *json_args("--blockdev", self._blockdevs),
        ]

    async def launch(self) -> None:
        """Start the process and connect. Nothing is left of it when that fails.

        Raises LaunchError (with the exit status and the output), UsageError when it runs already
        or is attached to.
        """
        self._assert_ours("launch it")
        self._session = await self._process.launch(self._arguments)

    # -- end ----------------------------------------------------------------------------

    async def stop(self, *, grace: float = 5.0) -> int | None:
        """End the process: ``quit``, then SIGTERM, then SIGKILL, ``grace`` seconds apart.

        Returns the exit status, negative for a signal; None when it was never launched, and
        where it is attached to: that is only disconnected. May be repeated.
        """
        return await shielded(self._stop(grace))

    async def kill(self) -> int | None:
        """End the process with SIGKILL. Returns as :meth:`stop`, and may be repeated.

        Raises UsageError where it is attached to.
        """
        self._assert_ours("kill it")
        return await shielded(self._kill())

    async def _stop(self, grace: float) -> int | None:
        status = None if self._is_attached else await self._process.stop(self._session, grace)
        await self._disconnect()
        return status

    async def _kill(self) -> int | None:
        status = await self._process.kill()
        await self._disconnect()
        return status

    async def _disconnect(self) -> None:
        await super()._disconnect()
        if not self._is_attached:
            self._process.close()
            await self._file_cleanup.remove_all()

    async def _enter(self) -> None:
        if not self._is_attached:
            await self.launch()

    async def _leave(self, error: BaseException | None) -> None:
        # A child that came of os.fork() in here leaves the block too; QEMU is its parent's.
        if self._process.is_here:
            await self.stop()

    # -- state ----------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the process runs; where it is attached to, whether it is connected."""
        return self.qmp.is_connected if self._is_attached else self._process.is_running

    @property
    def process(self) -> AsyncProcess:
        """The process: its id, exit status and output, also after its end.

        Raises UsageError before the launch, and where it is attached to.
        """
        self._assert_ours("reach its process")
        return self._process.child

    @property
    def qmp(self) -> AsyncQmp:
        """The QMP connection. Raises UsageError before the launch."""
        if self._session is None:
            raise self._process.not_launched()
        return self._session

    @property
    def _program(self) -> str:
        return self._process.program

    def _assert_ours(self, purpose: str) -> None:
        if self._is_attached:
            raise UsageError(f"{self._program} is attached to, not ours: we cannot {purpose}")

    def __repr__(self) -> str:
        state = "not running"
        if self._is_attached:
            state = "attached" if self.is_running else "detached"
        elif self.is_running:
            state = f"pid {self.process.pid}"
        return f"<{type(self).__name__} {self._program}: {state}>"
