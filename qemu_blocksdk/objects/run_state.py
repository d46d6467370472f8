"""The guest's run state: asked for, waited for, and the verbs that change it."""

from __future__ import annotations

import contextlib

from qemu_blocksdk.errors import DeadlineExceeded
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.wire import (
    Cont,
    GuestPanicked,
    MigrationEvent,
    PanicAction,
    QueryStatus,
    RebootAction,
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

from .live import Live, subject

_TELLING = (
    *(StopEvent, Resume, Shutdown, Reset, Suspend, Wakeup, Watchdog, GuestPanicked),
    MigrationEvent,
)
# QEMU 7.2: no event tells of coming into or leaving these, so they are asked for.
_SILENT: frozenset[RunState] = frozenset(
    {"inmigrate", "finish-migrate", "postmigrate", "restore-vm", "save-vm"}
)
_INTERVAL = 0.02


class RunStates(Live):
    """The run state of a VM's guest."""

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
        cause = "host-qmp-system-reset"
        events = self._connection().events(Reset, reason=cause).also(Shutdown, reason=cause)
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
