"""The run state of a guest without an operating system: changed, waited for, refused."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest

from qemu_blocksdk import VM, StorageDaemon
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.errors import CommandError, ConnectionLost, DeadlineExceeded
from qemu_blocksdk.wire import Powerdown, Reset, RunState

pytestmark = pytest.mark.timeout(40)


@pytest.fixture
def vm() -> Iterator[VM]:
    """A VM whose guest runs."""
    with VM(machine="pc") as running:
        yield running


def test_a_guest_is_paused_and_goes_on_however_often_it_is_told(vm: VM) -> None:
    for _ in range(2):
        vm.pause()
        status = vm.query_status()
        assert (status.status, status.running) == ("paused", False)
    for _ in range(2):
        vm.cont()
        assert vm.query_status().status == "running"


def test_a_guest_that_was_held_at_its_launch_waits_for_cont() -> None:
    with VM(machine="pc", args=("-S",)) as vm:
        assert vm.query_status().status == "prelaunch"
        vm.cont()
        vm.wait_run_state("running", timeout=5)


def test_who_waits_is_woken_by_the_change_that_another_makes() -> None:
    async def scenario() -> None:
        async with AsyncVM(machine="pc") as vm:
            for state, verb in (("paused", vm.pause), ("running", vm.cont)):
                wanted: RunState = "paused" if state == "paused" else "running"
                waiting = asyncio.ensure_future(vm.wait_run_state(wanted, timeout=10))
                await vm.query_status()
                assert not waiting.done()
                await verb()
                await waiting

    asyncio.run(scenario())


def test_a_state_that_does_not_come_is_given_up_on(vm: VM) -> None:
    with pytest.raises(DeadlineExceeded, match=r"gave up on run state 'paused' of VM .* 0\.1 s"):
        vm.wait_run_state("paused", timeout=0.1)


def test_a_reset_is_done_when_it_returns_and_a_paused_guest_is_as_before_its_launch(vm: VM) -> None:
    with vm.qmp.events(Reset.where(reason="host-qmp-system-reset")) as events:
        vm.reset()
        assert events.get_nowait() is not None
    assert vm.query_status().status == "running"
    vm.pause()
    vm.reset()
    vm.wait_run_state("prelaunch", timeout=5)


def test_a_guest_that_is_told_to_shut_down_instead_stays_until_it_may_be_reset(vm: VM) -> None:
    vm.set_action(reboot="shutdown", shutdown="pause")
    vm.reset()
    vm.wait_run_state("shutdown", timeout=5)
    with pytest.raises(CommandError, match=r"^VM .*: cont: Resetting the .* is required$"):
        vm.cont()
    vm.set_action(reboot="reset")
    vm.reset()
    vm.cont()
    assert vm.query_status().status == "running"


def test_a_guest_that_powers_off_takes_qemu_with_it(vm: VM) -> None:
    vm.set_action(reboot="shutdown")
    vm.reset()
    with pytest.raises(ConnectionLost, match="exit status 0"):
        vm.wait_run_state("shutdown", timeout=10)
    assert vm.process.wait(timeout=5) == 0


def test_the_power_button_is_pressed(vm: VM) -> None:
    with vm.qmp.events(Powerdown) as events:
        vm.powerdown()
        assert isinstance(events.get(timeout=5), Powerdown)
    assert vm.query_status().status == "running"  # nobody there who would mind


def test_only_who_sleeps_can_be_woken(vm: VM) -> None:
    with pytest.raises(CommandError, match=r"^VM .*: system_wakeup: .*not in suspended state"):
        vm.wakeup()


def test_the_wait_is_raced_against_the_end_of_qemu() -> None:
    async def scenario() -> None:
        async with AsyncVM(machine="pc") as vm:
            waiting = asyncio.ensure_future(vm.wait_run_state("paused", timeout=30))
            await vm.query_status()
            vm.process.send_signal(signal.SIGKILL)
            with pytest.raises(ConnectionLost, match="killed by signal 9"):
                await waiting

    asyncio.run(scenario())


_VERBS: list[Callable[[VM], object]] = [
    VM.query_status,
    VM.pause,
    VM.cont,
    VM.reset,
    VM.powerdown,
    VM.wakeup,
    VM.set_action,
    lambda vm: vm.wait_run_state("running"),
]


@pytest.mark.parametrize("verb", _VERBS)
def test_a_verb_on_a_lost_connection_names_the_vm(vm: VM, verb: Callable[[VM], object]) -> None:
    vm.process.send_signal(signal.SIGKILL)
    vm.qmp.wait_lost(timeout=5)
    with pytest.raises(ConnectionLost, match=r"^VM .*killed by signal 9"):
        verb(vm)


def test_a_storage_daemon_has_no_run_state() -> None:
    assert not hasattr(StorageDaemon, "query_status")
