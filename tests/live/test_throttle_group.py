"""Throttle groups and I/O threads, in a VM and in a storage daemon."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from qemu_blocksdk import VM, StorageDaemon
from qemu_blocksdk.blockdev import NullCo, Throttle
from qemu_blocksdk.errors import CommandError, ConnectionLost, GraphError, StateError, Unsupported
from qemu_blocksdk.objects import IoThreadParameters
from qemu_blocksdk.wire import QomList, ThrottleLimits

pytestmark = pytest.mark.timeout(40)

Qemu = VM | StorageDaemon


@pytest.fixture(params=[VM, StorageDaemon])
def qemu(request: pytest.FixtureRequest) -> Iterator[Qemu]:
    """A running QEMU of either kind."""
    kind: type[Qemu] = request.param
    with kind() as running:
        yield running


def _objects(qemu: Qemu) -> set[str]:
    members = qemu.qmp.execute(QomList(path="/objects"))
    return {member.name for member in members} & {"tg", "io"}


def test_limits_are_told_as_they_were_set_and_the_others_stay(qemu: Qemu) -> None:
    limits = ThrottleLimits(bps_total=1 << 20, iops_read=5, iops_read_max=9)
    with qemu.add_throttle_group("tg", limits=limits) as group:
        group.set_limits(ThrottleLimits(iops_read=7))
        now = qemu.throttle_group("tg").query_limits()
        assert (now.bps_total, now.iops_read, now.iops_read_max, now.bps_read) == (1 << 20, 7, 9, 0)
        group.set_limits(ThrottleLimits(bps_total=0))
        assert group.query_limits().bps_total == 0
    assert _objects(qemu) == set()
    assert repr(group) == "<throttle group 'tg': removed>"


def test_a_throttle_node_obeys_its_group_and_the_change_of_it(daemon: StorageDaemon) -> None:
    with daemon.add_throttle_group("tg", limits=ThrottleLimits(bps_write=1 << 20)) as group:
        source = daemon.add_node(NullCo(node_name="source", size=1 << 21, read_zeroes=True))
        inner = NullCo(size=1 << 21)
        node = daemon.add_node(Throttle(node_name="slow", throttle_group="tg", file=inner))
        begin = time.monotonic()
        source.backup(node, timeout=20)
        limited = time.monotonic() - begin
        group.set_limits(ThrottleLimits(bps_write=0))
        begin = time.monotonic()
        source.backup(node, timeout=20)
        assert limited > 0.5  # 2 MiB, of which one has a second's time
        assert time.monotonic() - begin < limited
        with pytest.raises(CommandError, match=r"^throttle group 'tg': .*(in use|references)"):
            group.remove()
        node.delete()


_REFUSED: list[tuple[Callable[[Qemu], object], str]] = [
    (lambda q: q.add_throttle_group("tg"), "duplicate property 'tg'"),
    (lambda q: q.add_throttle_group("0 x"), "expects an identifier"),
    (
        lambda q: q.add_throttle_group("t", limits=ThrottleLimits(iops_total=1, iops_read=1)),
        "cannot be used at the same time",
    ),
    (lambda q: q.add_iothread("io"), "duplicate property 'io'"),
    (
        lambda q: q.add_iothread("x", parameters=IoThreadParameters(poll_max_ns=-1)),
        r"poll-max-ns.*(range|uint64|integer)",
    ),
    (lambda q: q.throttle_group("none").remove(), "'none' not found"),
    (lambda q: q.throttle_group("none").query_limits(), "'/objects/none' not found"),
    (lambda q: q.iothread("none").remove(), "'none' not found"),
    (
        lambda q: q.iothread("io").set_parameters(IoThreadParameters(poll_grow=-1)),
        "poll-grow value must be in range",
    ),
]


@pytest.mark.parametrize(("refused", "words"), _REFUSED)
def test_it_is_refused_in_qemus_words(
    qemu: Qemu, refused: Callable[[Qemu], object], words: str
) -> None:
    qemu.add_throttle_group("tg")
    qemu.add_iothread("io")
    with pytest.raises(CommandError, match=words):
        refused(qemu)
    assert _objects(qemu) == {"tg", "io"}


def test_the_parameters_of_a_thread_are_told_as_they_were_set(qemu: Qemu) -> None:
    wanted = IoThreadParameters(poll_max_ns=1000, poll_grow=2, poll_shrink=3, aio_max_batch=4)
    with qemu.add_iothread("io", parameters=wanted) as thread:
        assert thread.query_parameters() == wanted
        thread.set_parameters(IoThreadParameters(poll_max_ns=0))
        now = thread.query_parameters()
        assert (now.poll_max_ns, now.poll_grow) == (0, 2)
    assert _objects(qemu) == set()


def test_the_threads_of_a_vm_are_known_by_their_ids() -> None:
    with VM() as vm, vm.add_iothread("io") as thread, vm.add_iothread("other") as other:
        assert thread.query_info().thread_id != other.query_info().thread_id
        with pytest.raises(GraphError, match=r"^looked for I/O thread 'none', found none$"):
            vm.iothread("none").query_info()


def test_a_storage_daemon_cannot_list_its_threads(daemon: StorageDaemon) -> None:
    with daemon.add_iothread("io") as thread, pytest.raises(Unsupported, match="query-iothreads"):
        thread.query_info()


def test_a_node_moves_into_a_thread_and_back(qemu: Qemu) -> None:
    node = qemu.add_node(NullCo(node_name="a"))
    with qemu.add_iothread("io") as thread:
        node.set_iothread(thread)
        with pytest.raises(CommandError, match=r"^node 'a': x-block.*Cannot find iothread none$"):
            node.set_iothread(qemu.iothread("none"))
        node.set_iothread(None)
    node.delete()


def test_a_node_in_use_moves_into_a_thread_by_force_only(daemon: StorageDaemon) -> None:
    node = daemon.add_node(NullCo(node_name="a"))
    thread = daemon.add_iothread("io")
    with daemon.start_nbd_server() as server, server.export(node):
        with pytest.raises(CommandError, match=r"^node 'a': x-.*could be in use"):
            node.set_iothread(thread)
        node.set_iothread(thread, force=True)
        node.set_iothread(None, force=True)


def test_a_node_under_a_device_stays_in_the_thread_of_that() -> None:
    with VM(machine="pc") as vm:
        node = vm.add_node(NullCo(node_name="a", size=1 << 20))
        vm.plug(node, device="virtio-scsi")
        with pytest.raises(CommandError, match="Cannot change iothread of active block backend"):
            node.set_iothread(vm.add_iothread("io"), force=True)


def test_removed_twice_or_used_after_that_it_is_gone(qemu: Qemu) -> None:
    group, thread = qemu.add_throttle_group("tg"), qemu.add_iothread("io")
    group.remove()
    thread.remove()
    verbs: list[Callable[[], object]] = [group.remove, group.query_limits, thread.remove]
    verbs += [lambda: group.set_limits(ThrottleLimits(bps_total=1)), thread.query_parameters]
    for verb in verbs:
        with pytest.raises(StateError, match=r"'(tg|io)': removed: .* is not possible any more"):
            verb()


def test_on_a_lost_connection_a_verb_says_how_qemu_ended(qemu: Qemu) -> None:
    with qemu.add_throttle_group("tg") as group, qemu.add_iothread("io") as thread:
        qemu.process.send_signal(signal.SIGKILL)
        for verb in (group.query_limits, thread.query_parameters, group.remove):
            with pytest.raises(ConnectionLost, match=r"'(tg|io)': .*killed by signal 9"):
                verb()
