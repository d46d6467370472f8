"""A virtual machine: qemu-system-*. :class:`AsyncVM` is a block layer, a guest and a process."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar, Unpack, get_args

from qemu_blocksdk import wire  # loads each of its modules on first use
from qemu_blocksdk.blockdev.drive import Drive
from qemu_blocksdk.codec import Command, JsonValue, masked
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    DeadlineExceeded,
    GraphError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.graph import BlockGraph, GraphNode
from qemu_blocksdk.jobs import JobProgress, JobResult
from qemu_blocksdk.qmp import ServerKind
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.qemu_args import (
    Console,
    InheritedFd,
    Program,
    drive_args,
    json_args,
    plain_args,
)
from qemu_blocksdk.wire import (
    AddFd,
    AddfdInfo,
    BlkdebugEvent,
    Closefd,
    Cont,
    DeviceAdd,
    FdsetInfo,
    Getfd,
    GuestPanicked,
    HumanMonitorCommand,
    Migrate,
    MigrateIncoming,
    MigrateSetCapabilities,
    MigrateSetParameters,
    MigrationAddress,
    MigrationCapability,
    MigrationCapabilityStatus,
    MigrationChannel,
    MigrationEvent,
    MigrationParameters,
    PanicAction,
    QomGet,
    QomList,
    QomListTypes,
    QueryBlock,
    QueryFdsets,
    QueryMigrateCapabilities,
    QueryMigrateParameters,
    QueryStatus,
    RebootAction,
    RemoveFd,
    Reset,
    Resume,
    RunState,
    SetAction,
    Shutdown,
    ShutdownAction,
    StatusInfo,
    Stop,
    StopEvent,
    Suspend,
    SystemPowerdown,
    SystemReset,
    SystemWakeup,
    Wakeup,
    Watchdog,
    WatchdogAction,
)

from ._base import subject
from .device import AsyncDevice
from .emulator import monitor_objects, query_accelerators
from .iothread import AsyncIoThread
from .job import AsyncJob, run_job
from .migration import AsyncMigration
from .names import lasting_name, temporary_name
from .node import AsyncNode
from .node_io import quoted
from .process import Handover, QemuOptions
from .qemu import AsyncQemu
from .qtest import Qtest

if TYPE_CHECKING:
    from qemu_blocksdk.codec import Command
    from qemu_blocksdk.wire import DeviceAdd, JobType


_TELLING = (
    *(StopEvent, Resume, Shutdown, Reset, Suspend, Wakeup, Watchdog, GuestPanicked),
    MigrationEvent,
)
# QEMU 7.2: no event tells of coming into or leaving these, so they are asked for.
_SILENT: frozenset[RunState] = frozenset(
    {"inmigrate", "finish-migrate", "postmigrate", "restore-vm", "save-vm"}
)
_INTERVAL = 0.02

VirtioDisk = Literal["virtio-blk", "virtio-scsi"]
"""How a disk is offered to the guest: as a device of its own, or on a SCSI controller."""

_NAMED = "/machine/peripheral"

R = TypeVar("R")

Descriptor = int | str | os.PathLike[str]
"""An open descriptor, or a file to open for reading and writing."""

_PAUSING: tuple[BlkdebugEvent, ...] = ("read_aio", "write_aio")
# The child that a request goes on to, as QEMU's search for a blkdebug does.
_PRIMARY = ("image", "raw", "file", "backing")

Accelerator = Literal["qtest", "tcg", "kvm"]


@sealed_class
class AsyncVM(AsyncQemu):
    """A ``qemu-system-*``, without display, and without default devices unless asked for."""

    _kind: ClassVar[ServerKind] = "system"

    def __init__(
        self,
        *,
        program: Program = "qemu-system-x86_64",
        machine: str | None = None,
        defaults: bool = False,
        accelerator: Accelerator | Literal["default"] | None = None,
        console: Console | None = None,
        fds: Sequence[InheritedFd] = (),
        drives: Sequence[Drive] = (),
        devices: Sequence[DeviceAdd] = (),
        incoming: str | None = None,
        qtest_log: bool = False,
        **options: Unpack[QemuOptions],
    ) -> None:
        """Describe a virtual machine; nothing is started yet.

        ``machine`` and ``incoming`` are QEMU's ``-machine`` and ``-incoming``; ``defaults``
        leaves the machine its default devices (no ``-nodefaults``). Without an
        ``accelerator``, ``qtest`` is used where the binary has it (no guest code runs then, and
        the clock stands still, that of throttle groups as well), else ``tcg``; ``default``
        leaves the choice to QEMU and to ``args``. ``qtest_log`` has QEMU log the qtest channel
        to its stderr, as it does by default. The rest as :class:`AsyncQemu`.
        """
        super().__init__(program=program, **options)
        self._machine, self._has_defaults = machine, defaults
        self._accelerator: Accelerator | Literal["default"] | None = accelerator
        self._has_qtest_log = qtest_log
        self._console = console
        self._fds, self._drives, self._devices = tuple(fds), tuple(drives), tuple(devices)
        self._incoming = incoming
        self._console_socket: socket.socket | None = None
        self._qtest: Qtest | None = None

    # -- launch --------------------------------------------------------------------------------

    async def _arguments(self, given: Handover) -> list[str]:
        accelerator_args = await self._accelerator_args(given)
        given.has_monitor_object = bool(monitor_objects.known(self._program))
        return [
            *(() if self._has_defaults else ("-nodefaults",)),
            *("-display", "none", "-vga", "none"),
            *given.qmp_args(),
            *(() if self._machine is None else ("-machine", self._machine)),
            *self._console_args(given),
            *accelerator_args,
            *self._fd_args(given),
            *await self._common_arguments(given),
            *drive_args(self._drives),
            *json_args("-device", self._devices),
            *(() if self._incoming is None else ("-incoming", self._incoming)),
        ]

    def _console_args(self, given: Handover) -> list[str]:
        if self._console is None:
            return []
        ours, fd = given.channel()
        self._console_socket = given.ours.enter_context(ours)
        return self._console.args(fd)

    async def _accelerator_args(self, given: Handover) -> list[str]:
        self._qtest = None
        if self._accelerator == "default":
            return []
        accelerator = await self.query_accelerator()
        args = ["-accel", accelerator]
        if accelerator == "qtest":
            ours, fd = given.channel()
            self._qtest = Qtest(given.ours.enter_context(ours))
            # QEMU 7.2: aborts where the character device has another id, so it is "qtest".
            args += ["-chardev", f"socket,id=qtest,fd={fd}"]
            args += ["-qtest", "chardev:qtest"]
            if not self._has_qtest_log:
                args += ["-qtest-log", "none"]
        return args

    def _fd_args(self, given: Handover) -> list[str]:
        given.fds += [inherited.fd for inherited in self._fds]
        return plain_args("-add-fd", self._fds)

    async def query_accelerator(self) -> Accelerator:
        """Return the accelerator that a launch uses; the binary is asked what it has, once.

        Raises Unsupported when it lacks the one that was asked for, LaunchError, UsageError
        where the VM is attached to, and where the choice is QEMU's (``default``).
        """
        self._assert_ours("tell its accelerator")
        if self._accelerator == "default":
            raise UsageError(f"{self._program} was described to choose its accelerator itself")
        available = await query_accelerators(self._program, timeout=self._process.launch_timeout)
        wanted = self._accelerator
        if wanted is None:
            return "qtest" if "qtest" in available else "tcg"
        if wanted not in available:
            raise Unsupported(f"accelerator {wanted!r}")
        return wanted

    # -- run state -----------------------------------------------------------------------------

    async def query_status(self) -> StatusInfo:
        """Return whether the guest runs, and its run state (``query-status``)."""
        return await self._execute(QueryStatus())

    async def wait_run_state(self, state: RunState, *, timeout: float | None = None) -> None:
        """Wait until the guest is in a run state, ``timeout`` seconds at most.

        Raises DeadlineExceeded, ConnectionLost (a guest that powers off ends QEMU, unless
        :meth:`set_action` says otherwise).
        """
        events = self._connection().events(*_TELLING)
        async with events, within(timeout, f"run state {state!r} of {subject(self)}"):
            while (now := (await self.query_status()).status) != state:
                pause = _INTERVAL if {now, state} & _SILENT else None
                with contextlib.suppress(DeadlineExceeded):
                    await events.get(timeout=pause)

    async def pause(self) -> None:
        """Pause the guest (``stop``). One that waits for a migration stays so after that."""
        await self._execute(Stop())

    async def cont(self) -> None:
        """Let the guest run (``cont``). Raises CommandError when it has to be reset first."""
        await self._execute(Cont())

    async def reset(self, *, timeout: float = 10.0) -> None:
        """Reset the machine (``system_reset``) and wait until that is done.

        With the action ``reboot="shutdown"``, it shuts down instead. Raises DeadlineExceeded.
        """
        events = self._connection().events(Reset.where(reason="host-qmp-system-reset"))
        events.also(Shutdown.where(reason="host-qmp-system-reset"))
        async with events, within(timeout, f"the reset of {subject(self)}"):
            await self._execute(SystemReset())
            await events.get()

    async def powerdown(self) -> None:
        """Press the power button (``system_powerdown``); what follows is the guest's to do."""
        await self._execute(SystemPowerdown())

    async def wakeup(self) -> None:
        """Wake a suspended guest (``system_wakeup``). Raises CommandError for another."""
        await self._execute(SystemWakeup())

    async def set_action(
        self,
        *,
        reboot: RebootAction | None = None,
        shutdown: ShutdownAction | None = None,
        panic: PanicAction | None = None,
        watchdog: WatchdogAction | None = None,
    ) -> None:
        """Say what follows what the guest does (``set-action``); the others stay as they are."""
        command = SetAction(reboot=reboot, shutdown=shutdown, panic=panic, watchdog=watchdog)
        await self._execute(command)

    # -- devices -------------------------------------------------------------------------------

    async def add_device(
        self,
        driver: str,
        *,
        id: str | None = None,
        bus: str | None = None,
        properties: Mapping[str, JsonValue] | None = None,
    ) -> AsyncDevice:
        """Plug a device (``device_add``); ``properties`` are the driver's, under QEMU's names.

        Without an ``id`` it gets one of its own. Raises CommandError when the id is taken, or
        there is no such driver, bus or property.
        """
        id = id or lasting_name(self._connection(), "device")
        command = DeviceAdd(driver=driver, id=id, bus=bus, properties=properties)
        return await self.device(id)._begin(self._execute(command))

    def device(self, id: str) -> AsyncDevice:
        """Return the object of a device that the guest has; QEMU is not asked."""
        return AsyncDevice(self._connection(), id)

    async def query_devices(self) -> dict[str, str]:
        """Return the driver of each device that has an id, by the id (``qom-list``)."""
        return dict(await self._children(_NAMED))

    async def query_virtio_driver(self, disk: VirtioDisk) -> str:
        """Return the driver that this kind of machine has for it: ``virtio-scsi-pci``, ...

        Asks for the types that the binary has (``qom-list-types``). Raises Unsupported when
        there is none.
        """
        # An s390x machine has PCI too, but ccw is its own bus.
        for transport in ("ccw", "pci"):
            if await self._execute(QomListTypes(implements=f"{disk}-{transport}")):
                return f"{disk}-{transport}"
        raise Unsupported(f"device {disk!r}")

    async def plug(
        self,
        node: AsyncNode,
        *,
        device: VirtioDisk = "virtio-blk",
        id: str | None = None,
        bus: str | None = None,
        serial: str | None = None,
        share_rw: bool = False,
        iothread: AsyncIoThread | None = None,
        properties: Mapping[str, JsonValue] | None = None,
    ) -> AsyncDevice:
        """Give the guest a disk whose content is ``node`` (``device_add``).

        It is read-only where the node is. With ``share_rw`` others may write to the node
        too. A ``virtio-scsi`` disk comes on ``bus``, else on a controller that the guest has
        (with that ``iothread``, if given), else on a new one, which stays. Raises as
        :meth:`add_device`; UsageError for a ``bus`` and an ``iothread`` of a SCSI disk, for
        the bus has its own.
        """
        given: dict[str, JsonValue] = {"drive": node.name, "share-rw": share_rw}
        if serial is not None:
            given["serial"] = serial
        if device == "virtio-scsi":
            driver = "scsi-hd"
            if bus is None:
                bus = await self._scsi_bus(iothread)
            elif iothread is not None:
                raise UsageError(f"a disk on bus {bus!r} is in the I/O thread of its controller")
        else:
            driver = await self.query_virtio_driver(device)
            given |= _in_thread(iothread)
        return await self.add_device(
            driver, id=id, bus=bus, properties={**given, **(properties or {})}
        )

    async def _scsi_bus(self, iothread: AsyncIoThread | None) -> str:
        """Return the bus of a virtio-scsi controller, which is added when there is none."""
        found = await self._find_scsi_bus(iothread)
        if found is not None:
            return found
        id = "virtio-scsi" if iothread is None else f"virtio-scsi-{iothread.id}"
        driver = await self.query_virtio_driver("virtio-scsi")
        try:
            await self.add_device(driver, id=id, properties=_in_thread(iothread))
        except CommandError:
            found = await self._find_scsi_bus(iothread)  # somebody else was faster
            if found is None:
                raise
            return found
        return f"{id}.0"

    async def _find_scsi_bus(self, iothread: AsyncIoThread | None) -> str | None:
        for place in (_NAMED, f"{_NAMED}-anon"):
            for name, driver in (await self._children(place)).items():
                if not driver.startswith("virtio-scsi-"):
                    continue
                path = f"{place}/{name}"
                if iothread is not None:
                    thread = await self._execute(QomGet(path=path, property="iothread"))
                    if thread != f"/objects/{iothread.id}":
                        continue
                for bus, kind in (await self._children(f"{path}/virtio-backend")).items():
                    if kind == "SCSI":
                        return bus
        return None

    async def _children(self, path: str) -> dict[str, str]:
        """The type of each child of an object of QEMU's, by name."""
        members = await self._execute(QomList(path=path))
        return {
            member.name: member.type.removeprefix("child<").removesuffix(">")
            for member in members
            if member.type.startswith("child<")
        }

    # -- snapshots of the whole machine --------------------------------------------------------

    async def save_snapshot(
        self,
        tag: str,
        *,
        vmstate: AsyncNode,
        nodes: Sequence[AsyncNode],
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Save the machine into ``vmstate`` and a snapshot of each of the ``nodes``.

        All are qcow2, none is over another (``snapshot-save``). The guest stands still
        meanwhile. The job fails when there is a snapshot of that tag.
        """
        start = self.start_save_snapshot(tag, vmstate=vmstate, nodes=nodes, job_id=job_id)
        return await run_job(
            start,
            self._connection(),
            what=f"save_snapshot of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_save_snapshot(
        self,
        tag: str,
        *,
        vmstate: AsyncNode,
        nodes: Sequence[AsyncNode],
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start :meth:`save_snapshot`; return it in flight."""
        job_id = job_id or temporary_name(self._connection())
        command = wire.SnapshotSave(
            job_id=job_id, tag=tag, vmstate=vmstate.name, devices=[node.name for node in nodes]
        )
        return await self._start_job("snapshot-save", command, job_id)

    async def load_snapshot(
        self,
        tag: str,
        *,
        vmstate: AsyncNode,
        nodes: Sequence[AsyncNode],
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Bring machine and disks back to a snapshot (``snapshot-load``).

        What was written since is lost.
        """
        start = self.start_load_snapshot(tag, vmstate=vmstate, nodes=nodes, job_id=job_id)
        return await run_job(
            start,
            self._connection(),
            what=f"load_snapshot of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_load_snapshot(
        self,
        tag: str,
        *,
        vmstate: AsyncNode,
        nodes: Sequence[AsyncNode],
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start :meth:`load_snapshot`; return it in flight."""
        job_id = job_id or temporary_name(self._connection())
        command = wire.SnapshotLoad(
            job_id=job_id, tag=tag, vmstate=vmstate.name, devices=[node.name for node in nodes]
        )
        return await self._start_job("snapshot-load", command, job_id)

    async def delete_snapshot(
        self,
        tag: str,
        *,
        nodes: Sequence[AsyncNode],
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Delete a snapshot from those of the nodes that have it (``snapshot-delete``)."""
        start = self.start_delete_snapshot(tag, nodes=nodes, job_id=job_id)
        return await run_job(
            start,
            self._connection(),
            what=f"delete_snapshot of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_delete_snapshot(
        self, tag: str, *, nodes: Sequence[AsyncNode], job_id: str | None = None
    ) -> AsyncJob:
        """Start :meth:`delete_snapshot`; return it in flight."""
        job_id = job_id or temporary_name(self._connection())
        command = wire.SnapshotDelete(job_id=job_id, tag=tag, devices=[node.name for node in nodes])
        return await self._start_job("snapshot-delete", command, job_id)

    async def _start_job(self, kind: JobType, command: Command[None], job_id: str) -> AsyncJob:
        return await AsyncJob._start(self, command, job_id=job_id, kind=kind)

    # -- migration -----------------------------------------------------------------------------

    async def query_migration_capabilities(self) -> dict[MigrationCapability, bool]:
        """Return which capabilities there are and are on (``query-migrate-capabilities``)."""
        found = await self._execute(QueryMigrateCapabilities())
        return {each.capability: each.state for each in found}

    async def set_migration_capabilities(
        self, capabilities: Mapping[MigrationCapability, bool]
    ) -> None:
        """Switch capabilities on or off (``migrate-set-capabilities``); the others stay.

        Both sides need the same, as a rule. Raises CommandError for those that exclude each
        other, and while a migration is in flight.
        """
        wanted = [
            MigrationCapabilityStatus(capability=capability, state=state)
            for capability, state in capabilities.items()
        ]
        await self._execute(MigrateSetCapabilities(capabilities=wanted))

    async def query_migration_parameters(self) -> MigrationParameters:
        """Return the parameters (``query-migrate-parameters``)."""
        return await self._execute(QueryMigrateParameters())

    async def set_migration_parameters(self, parameters: MigrateSetParameters) -> None:
        """Change parameters (``migrate-set-parameters``), also in flight; the others stay.

        ``max_bandwidth`` is in bytes a second, ``downtime_limit`` in milliseconds;
        ``block_bitmap_mapping`` says which bitmaps of which nodes travel, with the capability
        ``dirty-bitmaps``. Raises CommandError for a value out of range.
        """
        await self._execute(parameters)

    async def migrate(self, target: str | MigrationAddress) -> AsyncMigration:
        """Start to migrate the guest to a QEMU that waits for it (``migrate``).

        ``target`` is a URI in QEMU's words (``unix:PATH``, ``tcp:HOST:PORT``), or an address
        as a value (from QEMU 8.2). Raises CommandError when one is in flight, or the guest
        cannot be migrated; what goes wrong later is the migration's to tell.
        """
        if isinstance(target, str):
            command = Migrate(uri=target)
        else:
            command = Migrate(channels=_channels(target))
        return await (await self._new_migration(is_incoming=False))._begin(self._execute(command))

    async def migrate_incoming(
        self, source: str | MigrationAddress, *, exit_on_error: bool | None = None
    ) -> AsyncMigration:
        """Wait for the guest at an address (``migrate-incoming``), as :meth:`migrate` has it.

        For a VM that was launched with ``-incoming defer``. QEMU ends when that fails, unless
        ``exit_on_error`` is off (from QEMU 9.1). Raises CommandError when the address is taken,
        or the VM is not waiting for a guest.
        """
        if isinstance(source, str):
            command = MigrateIncoming(uri=source, exit_on_error=exit_on_error)
        else:
            command = MigrateIncoming(channels=_channels(source), exit_on_error=exit_on_error)
        return await (await self._new_migration(is_incoming=True))._begin(self._execute(command))

    async def attach_migration(self) -> AsyncMigration:
        """Return the migration of the VM, of either direction, that others have started.

        It may be over, or still to come. Raises CommandError for one that goes out already
        and whose events are not on (:meth:`set_migration_capabilities`).
        """
        is_incoming = (await self.query_status()).status == "inmigrate"
        migration = await self._new_migration(is_incoming=is_incoming)
        return await migration._begin(migration._catch_up())

    async def wait_migration(
        self, run_state: RunState | None = None, *, timeout: float | None = None
    ) -> None:
        """Wait until the VM's migration, in either direction, is completed.

        Then also until the guest is in ``run_state``, which may come later. One that is
        completed by now will do. ``timeout`` is in seconds. Raises as
        :meth:`AsyncMigration.wait` and :meth:`attach_migration`.
        """
        async with within(timeout, f"the migration of {subject(self)}"):
            migration = await self.attach_migration()
            try:
                await migration.wait()
            finally:
                await migration._forget()
            if run_state is not None:
                await self.wait_run_state(run_state)

    async def _new_migration(self, *, is_incoming: bool) -> AsyncMigration:
        """Listen to what a migration tells, once QEMU tells it."""
        if not (await self.query_migration_capabilities())["events"]:
            await self.set_migration_capabilities({"events": True})
        return AsyncMigration(self._connection(), is_incoming=is_incoming)

    # -- console and qtest ---------------------------------------------------------------------

    @property
    def console_socket(self) -> socket.socket:
        """Our end of the guest's console, a blocking socket, until the VM is stopped.

        Raises UsageError before the launch, and where the VM was described without one.
        """
        self._assert_ours("reach its console")
        if self._console is None:
            raise UsageError(f"{self._program} was described without a console")
        if self._console_socket is None:
            raise self._process.not_launched()
        return self._console_socket

    async def qtest(self, command: str, *, timeout: float = 10.0) -> str:
        """Send a line to the qtest channel; return what follows ``OK`` in its reply.

        Raises CommandError when it is refused, Unsupported where the VM runs on another
        accelerator, UsageError before the launch, ConnectionLost, DeadlineExceeded.
        """
        self._assert_ours("reach its qtest channel")
        if not self._process.is_launched:
            raise self._process.not_launched()
        if self._qtest is None:
            raise Unsupported("qtest channel: it runs on another accelerator than qtest")
        return await self._qtest.ask(command, timeout=timeout)

    async def clock_step(self, nanoseconds: int | None = None) -> int:
        """Advance the guest's clock (``clock_step``), to its next timer by default.

        Returns the time of the clock in nanoseconds. Raises as :meth:`qtest`.
        """
        step = "" if nanoseconds is None else f" {nanoseconds}"
        return int(await self.qtest(f"clock_step{step}"))

    # -- human monitor commands ----------------------------------------------------------------

    async def hmp(self, command_line: str, *, timeout: float | None = None) -> str:
        """Run a human monitor command (``human-monitor-command``); return what it printed.

        A failure is a text like any other: QEMU does not tell it from success.
        """
        return await self._execute(HumanMonitorCommand(command_line=command_line), timeout=timeout)

    async def hmp_qemu_io(
        self, drive: str, command: str, *, qdev: bool = False, timeout: float | None = None
    ) -> None:
        """Run a command of qemu-io on a drive or node, or with ``qdev`` on a device's path.

        Whether it succeeded is not looked at: qemu-io prints to QEMU's own stdout, which
        :meth:`AsyncNode.qemu_io` reads. Raises CommandError for no such drive, and for a command
        that its users do not permit.
        """
        option = "-d " if qdev else ""
        line = f"qemu-io {option}{quoted(drive)} {quoted(command)}"
        said = " ".join((await self.hmp(line, timeout=timeout)).split())
        if said:
            error = CommandError(
                "GenericError",
                said.removeprefix("Error: "),
                command="qemu-io",
                arguments={"device": drive, "command": masked(command)},
            )
            error.subject = subject(self)
            raise error

    async def pause_drive(self, drive: str, event: BlkdebugEvent | None = None) -> None:
        """Hold requests of a drive at a breakpoint of the blkdebug that is in their way.

        ``drive`` is its id, or the node or device path of one that a device uses; by default
        requests are held when they begin to read or write. What waits for them in QEMU's main
        loop (a ``read`` of :meth:`hmp_qemu_io`, the guest's reset, ``quit``) holds up the monitor
        as well. Raises GraphError where there is no such drive or no blkdebug.
        """
        if event is not None and event not in get_args(BlkdebugEvent):
            raise UsageError(f"{event!r} is no event of blkdebug")
        name, qdev = await self._debugged(drive)
        for each in _PAUSING if event is None else (event,):
            await self.hmp_qemu_io(name, f"break {each} bp_{drive}", qdev=qdev)

    async def resume_drive(self, drive: str) -> None:
        """Let the requests go on that :meth:`pause_drive` holds, if any, and those to come.

        Raises as that does.
        """
        name, qdev = await self._debugged(drive)
        await self.hmp_qemu_io(name, f"remove_break bp_{drive}", qdev=qdev)

    async def _debugged(self, drive: str) -> tuple[str, bool]:
        """The name that qemu-io takes for a drive with a blkdebug, and whether it is a path."""
        # QEMU 10.0: qemu-io on a mere node waits for the requests that the node holds, so a
        # breakpoint could never be removed, and we go by what uses it.
        graph = await self.graph()
        found = "no such drive with a medium"
        for info in await self._execute(QueryBlock()):
            below = [] if info.inserted is None else _way_down(graph, info.inserted.node_name)
            if drive and drive in (info.device, info.qdev, *(node.name for node in below)):
                # qemu-io would complain to QEMU's stdout, where nobody sees it in time.
                if any(node.driver == "blkdebug" for node in below):
                    return info.device or info.qdev or "", not info.device
                found = ", ".join(str(node.driver) for node in below) or found
        error = GraphError(f"a blkdebug in the way of {drive!r}", found=found)
        error.subject = subject(self)
        raise error

    # -- file descriptors ----------------------------------------------------------------------

    async def getfd(self, fd: Descriptor, *, name: str) -> None:
        """Hand QEMU an open descriptor, or a file, under a name (``getfd``).

        QEMU has a copy; one that it had under the name is closed. Raises UsageError for what
        cannot be opened or passed.
        """
        await self._pass(Getfd(fdname=name), fd)

    async def closefd(self, name: str) -> None:
        """Have QEMU close a descriptor that :meth:`getfd` gave it (``closefd``)."""
        await self._execute(Closefd(fdname=name))

    async def add_fd(
        self, fd: Descriptor, *, fdset: int | None = None, opaque: str | None = None
    ) -> AddfdInfo:
        """Add an open descriptor, or a file, to a set: ``/dev/fdset/FDSET`` (``add-fd``).

        To a new one by default. Raises as :meth:`getfd`.
        """
        return await self._pass(AddFd(fdset_id=fdset, opaque=opaque), fd)

    async def remove_fd(self, fdset: int, *, fd: int | None = None) -> None:
        """Remove a set, or the one of its descriptors that has QEMU's number (``remove-fd``)."""
        await self._execute(RemoveFd(fdset_id=fdset, fd=fd))

    async def query_fdsets(self) -> list[FdsetInfo]:
        """Return the sets of descriptors (``query-fdsets``)."""
        return await self._execute(QueryFdsets())

    async def _pass(self, command: Command[R], fd: Descriptor) -> R:
        with _opened(fd) as number:
            try:
                return await self.qmp.execute_with_fd(command, number)
            except BlockSdkError as error:
                error.subject = subject(self)
                raise


def _channels(address: MigrationAddress) -> list[MigrationChannel]:
    return [MigrationChannel(channel_type="main", addr=address)]


def _in_thread(iothread: AsyncIoThread | None) -> dict[str, JsonValue]:
    return {} if iothread is None else {"iothread": iothread.id}


def _way_down(graph: BlockGraph, name: str | None) -> list[GraphNode]:
    """The nodes that a request passes, from the one of that name down."""
    way = [node for node in graph.nodes if node.name == name and node.driver is not None]
    while way:
        children = {edge.name: edge.child for edge in way[-1].children}
        child = next((children[edge] for edge in _PRIMARY if edge in children), None)
        if child is None:
            break
        way.append(child)
    return way


@contextlib.contextmanager
def _opened(fd: Descriptor) -> Generator[int]:
    if isinstance(fd, int):
        yield fd
        return
    try:
        number = os.open(fd, os.O_RDWR | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot open {os.fspath(fd)!r}: {error}") from error
    try:
        yield number
    finally:
        os.close(number)
