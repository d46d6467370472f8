# Generated from objects/vm.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.vm.AsyncVM`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.vm import AsyncVM
from qemu_blocksdk.qmp import background_loop

from .qemu import Qemu

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal, Self, Unpack

    from qemu.qmp import QMPClient

    from qemu_blocksdk.blockdev.drive import Drive
    from qemu_blocksdk.codec import JsonValue
    from qemu_blocksdk.jobs import JobProgress, JobResult
    from qemu_blocksdk.objects.process import QemuOptions
    from qemu_blocksdk.objects.vm import Accelerator, Descriptor, VirtioDisk
    from qemu_blocksdk.qmp.address import Address
    from qemu_blocksdk.qmp.messages import OnMessage
    from qemu_blocksdk.tools.qemu_args import Console, InheritedFd, Program
    from qemu_blocksdk.wire import (
        AddfdInfo,
        BlkdebugEvent,
        DeviceAdd,
        FdsetInfo,
        MigrateSetParameters,
        MigrationAddress,
        MigrationCapability,
        MigrationParameters,
        PanicAction,
        RebootAction,
        RunState,
        ShutdownAction,
        StatusInfo,
        WatchdogAction,
    )

    from .device import Device
    from .io_thread import IoThread
    from .job import Job
    from .migration import Migration
    from .node import Node


class VM(Qemu):
    """A ``qemu-system-*``, without display, and without default devices unless asked for."""

    @property
    def _async(self) -> AsyncVM:
        return cast("AsyncVM", self._reach())

    def __init__(
        self,
        *,
        program: Program = "qemu-system-x86_64",
        machine: str | None = None,
        defaults: bool = False,
        accelerator: Accelerator | Literal['default'] | None = None,
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
        to its stderr, as it does by default. The rest as :class:`Qemu`.
        """
        self._hold(background_loop.call(
            lambda: AsyncVM(
                program=program,
                machine=machine,
                defaults=defaults,
                accelerator=accelerator,
                console=console,
                fds=fds,
                drives=drives,
                devices=devices,
                incoming=incoming,
                qtest_log=qtest_log,
                **options,
            )
        ))

    def query_accelerator(self) -> Accelerator:
        """Return the accelerator that a launch uses; the binary is asked what it has, once.

        Raises Unsupported when it lacks the one that was asked for, LaunchError, UsageError
        where the VM is attached to, and where the choice is QEMU's (``default``).
        """
        return background_loop.run(self._async.query_accelerator())

    def query_status(self) -> StatusInfo:
        """Return whether the guest runs, and its run state (``query-status``)."""
        return background_loop.run(self._async.query_status())

    def wait_run_state(self, state: RunState, *, timeout: float | None = None) -> None:
        """Wait until the guest is in a run state, ``timeout`` seconds at most.

        Raises DeadlineExceeded, ConnectionLost (a guest that powers off ends QEMU, unless
        :meth:`set_action` says otherwise).
        """
        return background_loop.run(self._async.wait_run_state(state, timeout=timeout))

    def pause(self) -> None:
        """Pause the guest (``stop``). One that waits for a migration stays so after that."""
        return background_loop.run(self._async.pause())

    def cont(self) -> None:
        """Let the guest run (``cont``). Raises CommandError when it has to be reset first."""
        return background_loop.run(self._async.cont())

    def reset(self, *, timeout: float = 10.0) -> None:
        """Reset the machine (``system_reset``) and wait until that is done.

        With the action ``reboot="shutdown"``, it shuts down instead. Raises DeadlineExceeded.
        """
        return background_loop.run(self._async.reset(timeout=timeout))

    def powerdown(self) -> None:
        """Press the power button (``system_powerdown``); what follows is the guest's to do."""
        return background_loop.run(self._async.powerdown())

    def wakeup(self) -> None:
        """Wake a suspended guest (``system_wakeup``). Raises CommandError for another."""
        return background_loop.run(self._async.wakeup())

    def set_action(
        self,
        *,
        reboot: RebootAction | None = None,
        shutdown: ShutdownAction | None = None,
        panic: PanicAction | None = None,
        watchdog: WatchdogAction | None = None,
    ) -> None:
        """Say what follows what the guest does (``set-action``); the others stay as they are."""
        work = self._async.set_action(
            reboot=reboot,
            shutdown=shutdown,
            panic=panic,
            watchdog=watchdog,
        )
        return background_loop.run(work)

    def add_device(
        self,
        driver: str,
        *,
        id: str | None = None,
        bus: str | None = None,
        properties: Mapping[str, JsonValue] | None = None,
    ) -> Device:
        """Plug a device (``device_add``); ``properties`` are the driver's, under QEMU's names.

        Without an ``id`` it gets one of its own. Raises CommandError when the id is taken, or
        there is no such driver, bus or property.
        """
        background_loop.assert_running()
        from . import Device

        work = self._async.add_device(driver, id=id, bus=bus, properties=properties)
        return Device._of(background_loop.run(work))

    def device(self, id: str) -> Device:
        """Return the object of a device that the guest has; QEMU is not asked."""
        background_loop.assert_running()
        from . import Device

        return Device._of(background_loop.call(lambda: self._async.device(id)))

    def query_devices(self) -> dict[str, str]:
        """Return the driver of each device that has an id, by the id (``qom-list``)."""
        return background_loop.run(self._async.query_devices())

    def query_virtio_driver(self, disk: VirtioDisk) -> str:
        """Return the driver that this kind of machine has for it: ``virtio-scsi-pci``, ...

        Asks for the types that the binary has (``qom-list-types``). Raises Unsupported when
        there is none.
        """
        return background_loop.run(self._async.query_virtio_driver(disk))

    def plug(
        self,
        node: Node,
        *,
        device: VirtioDisk = "virtio-blk",
        id: str | None = None,
        bus: str | None = None,
        serial: str | None = None,
        share_rw: bool = False,
        iothread: IoThread | None = None,
        properties: Mapping[str, JsonValue] | None = None,
    ) -> Device:
        """Give the guest a disk whose content is ``node`` (``device_add``).

        It is read-only where the node is. With ``share_rw`` others may write to the node
        too. A ``virtio-scsi`` disk comes on ``bus``, else on a controller that the guest has
        (with that ``iothread``, if given), else on a new one, which stays. Raises as
        :meth:`add_device`; UsageError for a ``bus`` and an ``iothread`` of a SCSI disk, for
        the bus has its own.
        """
        background_loop.assert_running()
        from . import Device

        work = self._async.plug(
            node._async,
            device=device,
            id=id,
            bus=bus,
            serial=serial,
            share_rw=share_rw,
            iothread=None if iothread is None else iothread._async,
            properties=properties,
        )
        return Device._of(background_loop.run(work))

    def save_snapshot(
        self,
        tag: str,
        *,
        vmstate: Node,
        nodes: Sequence[Node],
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Save the machine into ``vmstate`` and a snapshot of each of the ``nodes``.

        All are qcow2, none is over another (``snapshot-save``). The guest stands still
        meanwhile. The job fails when there is a snapshot of that tag.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.save_snapshot(
                tag,
                vmstate=vmstate._async,
                nodes=[item._async for item in nodes],
                job_id=job_id,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_save_snapshot(
        self,
        tag: str,
        *,
        vmstate: Node,
        nodes: Sequence[Node],
        job_id: str | None = None,
    ) -> Job:
        """Start :meth:`save_snapshot`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_save_snapshot(
            tag,
            vmstate=vmstate._async,
            nodes=[item._async for item in nodes],
            job_id=job_id,
        )
        return Job._of(background_loop.run(work))

    def load_snapshot(
        self,
        tag: str,
        *,
        vmstate: Node,
        nodes: Sequence[Node],
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Bring machine and disks back to a snapshot (``snapshot-load``).

        What was written since is lost.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.load_snapshot(
                tag,
                vmstate=vmstate._async,
                nodes=[item._async for item in nodes],
                job_id=job_id,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_load_snapshot(
        self,
        tag: str,
        *,
        vmstate: Node,
        nodes: Sequence[Node],
        job_id: str | None = None,
    ) -> Job:
        """Start :meth:`load_snapshot`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_load_snapshot(
            tag,
            vmstate=vmstate._async,
            nodes=[item._async for item in nodes],
            job_id=job_id,
        )
        return Job._of(background_loop.run(work))

    def delete_snapshot(
        self,
        tag: str,
        *,
        nodes: Sequence[Node],
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Delete a snapshot from those of the nodes that have it (``snapshot-delete``)."""
        return background_loop.run_with_progress(
            lambda report: self._async.delete_snapshot(
                tag,
                nodes=[item._async for item in nodes],
                job_id=job_id,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_delete_snapshot(
        self,
        tag: str,
        *,
        nodes: Sequence[Node],
        job_id: str | None = None,
    ) -> Job:
        """Start :meth:`delete_snapshot`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_delete_snapshot(
            tag,
            nodes=[item._async for item in nodes],
            job_id=job_id,
        )
        return Job._of(background_loop.run(work))

    def query_migration_capabilities(self) -> dict[MigrationCapability, bool]:
        """Return which capabilities there are and are on (``query-migrate-capabilities``)."""
        return background_loop.run(self._async.query_migration_capabilities())

    def set_migration_capabilities(self, capabilities: Mapping[MigrationCapability, bool]) -> None:
        """Switch capabilities on or off (``migrate-set-capabilities``); the others stay.

        Both sides need the same, as a rule. Raises CommandError for those that exclude each
        other, and while a migration is in flight.
        """
        return background_loop.run(self._async.set_migration_capabilities(capabilities))

    def query_migration_parameters(self) -> MigrationParameters:
        """Return the parameters (``query-migrate-parameters``)."""
        return background_loop.run(self._async.query_migration_parameters())

    def set_migration_parameters(self, parameters: MigrateSetParameters) -> None:
        """Change parameters (``migrate-set-parameters``), also in flight; the others stay.

        ``max_bandwidth`` is in bytes a second, ``downtime_limit`` in milliseconds;
        ``block_bitmap_mapping`` says which bitmaps of which nodes travel, with the capability
        ``dirty-bitmaps``. Raises CommandError for a value out of range.
        """
        return background_loop.run(self._async.set_migration_parameters(parameters))

    def migrate(self, target: str | MigrationAddress) -> Migration:
        """Start to migrate the guest to a QEMU that waits for it (``migrate``).

        ``target`` is a URI in QEMU's words (``unix:PATH``, ``tcp:HOST:PORT``), or an address
        as a value (from QEMU 8.2). Raises CommandError when one is in flight, or the guest
        cannot be migrated; what goes wrong later is the migration's to tell.
        """
        background_loop.assert_running()
        from . import Migration

        return Migration._of(background_loop.run(self._async.migrate(target)))

    def migrate_incoming(
        self,
        source: str | MigrationAddress,
        *,
        exit_on_error: bool | None = None,
    ) -> Migration:
        """Wait for the guest at an address (``migrate-incoming``), as :meth:`migrate` has it.

        For a VM that was launched with ``-incoming defer``. QEMU ends when that fails, unless
        ``exit_on_error`` is off (from QEMU 9.1). Raises CommandError when the address is taken,
        or the VM is not waiting for a guest.
        """
        background_loop.assert_running()
        from . import Migration

        work = self._async.migrate_incoming(source, exit_on_error=exit_on_error)
        return Migration._of(background_loop.run(work))

    def attach_migration(self) -> Migration:
        """Return the migration of the VM, of either direction, that others have started.

        It may be over, or still to come. Raises CommandError for one that goes out already
        and whose events are not on (:meth:`set_migration_capabilities`).
        """
        background_loop.assert_running()
        from . import Migration

        return Migration._of(background_loop.run(self._async.attach_migration()))

    def wait_migration(
        self,
        run_state: RunState | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Wait until the VM's migration, in either direction, is completed.

        Then also until the guest is in ``run_state``, which may come later. One that is
        completed by now will do. ``timeout`` is in seconds. Raises as
        :meth:`Migration.wait` and :meth:`attach_migration`.
        """
        return background_loop.run(self._async.wait_migration(run_state, timeout=timeout))

    @property
    def console_socket(self) -> socket.socket:
        """Our end of the guest's console, a blocking socket, until the VM is stopped.

        Raises UsageError before the launch, and where the VM was described without one.
        """
        return self._async.console_socket

    def qtest(self, command: str, *, timeout: float = 10.0) -> str:
        """Send a line to the qtest channel; return what follows ``OK`` in its reply.

        Raises CommandError when it is refused, Unsupported where the VM runs on another
        accelerator, UsageError before the launch, ConnectionLost, DeadlineExceeded.
        """
        return background_loop.run(self._async.qtest(command, timeout=timeout))

    def clock_step(self, nanoseconds: int | None = None) -> int:
        """Advance the guest's clock (``clock_step``), to its next timer by default.

        Returns the time of the clock in nanoseconds. Raises as :meth:`qtest`.
        """
        return background_loop.run(self._async.clock_step(nanoseconds))

    def hmp(self, command_line: str, *, timeout: float | None = None) -> str:
        """Run a human monitor command (``human-monitor-command``); return what it printed.

        A failure is a text like any other: QEMU does not tell it from success.
        """
        return background_loop.run(self._async.hmp(command_line, timeout=timeout))

    def hmp_qemu_io(
        self,
        drive: str,
        command: str,
        *,
        qdev: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Run a command of qemu-io on a drive or node, or with ``qdev`` on a device's path.

        Whether it succeeded is not looked at: qemu-io prints to QEMU's own stdout, which
        :meth:`Node.qemu_io` reads. Raises CommandError for no such drive, and for a command
        that its users do not permit.
        """
        work = self._async.hmp_qemu_io(drive, command, qdev=qdev, timeout=timeout)
        return background_loop.run(work)

    def pause_drive(self, drive: str, event: BlkdebugEvent | None = None) -> None:
        """Hold requests of a drive at a breakpoint of the blkdebug that is in their way.

        ``drive`` is its id, or the node or device path of one that a device uses; by default
        requests are held when they begin to read or write. What waits for them in QEMU's main
        loop (a ``read`` of :meth:`hmp_qemu_io`, the guest's reset, ``quit``) holds up the monitor
        as well. Raises GraphError where there is no such drive or no blkdebug.
        """
        return background_loop.run(self._async.pause_drive(drive, event))

    def resume_drive(self, drive: str) -> None:
        """Let the requests go on that :meth:`pause_drive` holds, if any, and those to come.

        Raises as that does.
        """
        return background_loop.run(self._async.resume_drive(drive))

    def getfd(self, fd: Descriptor, *, name: str) -> None:
        """Hand QEMU an open descriptor, or a file, under a name (``getfd``).

        QEMU has a copy; one that it had under the name is closed. Raises UsageError for what
        cannot be opened or passed.
        """
        return background_loop.run(self._async.getfd(fd, name=name))

    def closefd(self, name: str) -> None:
        """Have QEMU close a descriptor that :meth:`getfd` gave it (``closefd``)."""
        return background_loop.run(self._async.closefd(name))

    def add_fd(
        self,
        fd: Descriptor,
        *,
        fdset: int | None = None,
        opaque: str | None = None,
    ) -> AddfdInfo:
        """Add an open descriptor, or a file, to a set: ``/dev/fdset/FDSET`` (``add-fd``).

        To a new one by default. Raises as :meth:`getfd`.
        """
        return background_loop.run(self._async.add_fd(fd, fdset=fdset, opaque=opaque))

    def remove_fd(self, fdset: int, *, fd: int | None = None) -> None:
        """Remove a set, or the one of its descriptors that has QEMU's number (``remove-fd``)."""
        return background_loop.run(self._async.remove_fd(fdset, fd=fd))

    def query_fdsets(self) -> list[FdsetInfo]:
        """Return the sets of descriptors (``query-fdsets``)."""
        return background_loop.run(self._async.query_fdsets())

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
        work = AsyncVM.attach(
            address,
            timeout=timeout,
            command_timeout=command_timeout,
            on_message=on_message,
        )
        return cls._of(background_loop.run(work))
