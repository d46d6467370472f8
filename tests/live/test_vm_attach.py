"""A QEMU that runs already: the same verbs, and it goes on when we leave."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Qmp, Secret, StorageDaemon
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.qmp.address import is_qemu
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import BlockdevDel, ObjectOptionsThrottleGroup, QueryBlockExports, QueryJobs
from tests.live.helpers import run, scratch

pytestmark = pytest.mark.timeout(30)

KINDS = pytest.mark.parametrize("kind", [StorageDaemon, VM])
Kind = type[StorageDaemon | VM]


@KINDS
def test_leaving_the_block_only_disconnects(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with kind(monitors=[path]) as owner:
        for _ in range(2):  # the monitor is free again for the next
            with kind.attach(path) as attached:
                assert attached.is_running
                assert repr(attached) == f"<{kind.__name__} {path}: attached>"
                assert type(attached) is kind
                attached.add_node(NullCo(node_name="n", size=1 << 20))
                attached.add_object(ObjectOptionsThrottleGroup(id="t"))
                attached.add_secret(Secret("x"), id="s")
                attached.delete_object("s")
                attached.delete_object("t")
                attached.node("n").delete()
            assert repr(attached) == f"<{kind.__name__} {path}: detached>"
            assert attached.stop() is None
        assert owner.is_running
        assert owner.qmp.execute(QueryJobs()) == []
    assert owner.process.exit_status == 0


@KINDS
def test_what_we_made_in_it_is_unwound_by_its_own_blocks(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with kind(monitors=[path]) as owner, kind.attach(path) as attached:
        source = attached.add_node(NullCo(node_name="s", size=1 << 30))
        target = attached.add_node(NullCo(node_name="t", size=1 << 30))
        with (
            attached.start_nbd_server() as server,
            server.export(source),
            source.start_backup(target, speed=1),
        ):
            assert len(owner.qmp.execute(QueryBlockExports())) == 1
            assert len(owner.qmp.execute(QueryJobs())) == 1
        assert owner.qmp.execute(QueryBlockExports()) == []
        assert owner.qmp.execute(QueryJobs()) == []
        with owner.start_nbd_server():  # there is none any more
            pass
        attached.stop()
        assert len(scratch()) == 1  # the owner's


def test_what_we_leave_in_it_goes_on(tmp_path: Path) -> None:
    with StorageDaemon(monitors=[tmp_path / "monitor"]) as owner:
        with StorageDaemon.attach(tmp_path / "monitor") as attached:
            node = attached.add_node(NullCo(node_name="n", size=1 << 20))
            server = attached.start_nbd_server(tmp_path / "nbd")
            uri = server.export(node).uri
        run("qemu-io", "-r", "-f", "raw", "-c", "read 0 64k", str(uri))
        assert len(owner.qmp.execute(QueryBlockExports())) == 1
    (tmp_path / "nbd").unlink()  # a storage daemon leaves it, and the owner knows nothing of it


@KINDS
def test_what_is_not_ours_is_neither_launched_nor_killed_nor_known(
    kind: Kind, tmp_path: Path
) -> None:
    path = tmp_path / "monitor"
    with kind(monitors=[path]) as owner, kind.attach(path) as attached:
        forbidden: list[Callable[[], object]] = [
            attached.launch,
            attached.kill,
            lambda: attached.process,
        ]
        if isinstance(attached, VM):
            vm = attached
            forbidden += [
                vm.query_accelerator,
                vm.clock_step,
                lambda: vm.qtest("endianness"),
                lambda: vm.console_socket,
            ]
        for verb in forbidden:
            with pytest.raises(UsageError, match="attached to, not ours"):
                verb()
        assert owner.is_running
        assert attached.is_running


def test_a_host_and_port_or_a_connected_socket_will_do() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with StorageDaemon(monitors=[("127.0.0.1", port)]):
        with StorageDaemon.attach(("127.0.0.1", port)) as attached:
            assert attached.qmp.execute(QueryJobs()) == []
        ours = socket.create_connection(("127.0.0.1", port))
        with StorageDaemon.attach(ours) as attached:
            assert attached.qmp.execute(QueryJobs()) == []


def test_several_monitors_are_for_several_clients(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    with (
        VM(monitors=paths),
        VM.attach(paths[0]) as one,
        VM.attach(paths[1]) as two,
    ):
        one.add_node(NullCo(node_name="n", size=1 << 20))
        assert two.node("n").query_info().image.virtual_size == 1 << 20


def test_a_monitor_that_another_client_has_is_given_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with (
        StorageDaemon(monitors=[path]),
        StorageDaemon.attach(path),
        pytest.raises(DeadlineExceeded, match="another client may hold this monitor"),
    ):
        StorageDaemon.attach(path, timeout=0.3)


@pytest.mark.parametrize("qemu", [StorageDaemon, VM])
def test_a_monitor_that_formats_its_messages_for_people_works(qemu: Kind, tmp_path: Path) -> None:
    path = tmp_path / "pretty"
    chardev = f"socket,id=pretty,path={path},server=on,wait=off"
    option, mode = ("--monitor", "") if qemu is StorageDaemon else ("-mon", ",mode=control")
    args = ["--chardev", chardev, option, f"chardev=pretty{mode},pretty=on"]
    shown: list[JsonObject] = []
    with qemu(args=args), qemu.attach(path, on_message=shown.append) as attached:
        node = attached.add_node(NullCo(node_name="n", size=1 << 20))
        target = attached.add_node(NullCo(node_name="t", size=1 << 20))
        assert node.backup(target, timeout=20).outcome == "completed"
        assert attached.qmp.execute(QueryJobs()) == []
        with pytest.raises(CommandError, match="zz"):
            attached.qmp.execute(BlockdevDel(node_name="zz"))
        assert {each.name for each in attached.graph().nodes} == {"n", "t"}
    assert shown[0].keys() == {"QMP"}
    with qemu(args=args), Qmp.connect(path) as qmp:  # whose thread reads its replies itself
        for _ in range(50):
            assert qmp.execute(QueryJobs()) == []


def test_where_nobody_is_there_is_nothing_to_attach_to(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match="nobody"):
        StorageDaemon.attach(tmp_path / "nobody")


@KINDS
def test_the_death_of_an_attached_one_is_a_lost_connection(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with kind(monitors=[path]) as owner, kind.attach(path) as attached:
        owner.kill()
        attached.qmp.wait_lost(timeout=5)
        assert not attached.is_running
        with pytest.raises(ConnectionLost) as caught:
            attached.add_object(ObjectOptionsThrottleGroup(id="t"))
        assert str(path) in str(caught.value)
        assert caught.value.exit_status is None  # not our child
        assert attached.stop() is None


def test_what_a_storage_daemon_lacks_is_unsupported_by_name(tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with StorageDaemon(monitors=[path]), VM.attach(path) as wrong:
        verbs: list[Callable[[], object]] = [
            lambda: wrong.hmp("info block"),
            lambda: wrong.getfd("/dev/null", name="x"),
            lambda: wrong.add_fd("/dev/null"),
            wrong.query_fdsets,
        ]
        for verb in verbs:
            with pytest.raises(Unsupported):
                verb()
        wrong.add_node(NullCo(node_name="n"))  # what it has works


def test_an_awaitable_one_is_attached_and_left_alike(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "monitor"
        async with AsyncVM(monitors=[path]) as owner:
            async with await AsyncVM.attach(path) as attached:
                assert type(attached) is AsyncVM
                assert await attached.query_jobs() == []
            assert owner.is_running

    asyncio.run(main())


def test_a_daemon_frozen_at_attaching_goes_on_when_it_thaws(tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with StorageDaemon(monitors=[path]) as owner:
        with suspended(owner), pytest.raises(DeadlineExceeded):
            StorageDaemon.attach(path, timeout=0.3)
        with StorageDaemon.attach(path) as attached:
            assert attached.qmp.execute(QueryJobs()) == []


@KINDS
def test_who_is_at_the_other_end_is_known(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with kind(monitors=[path]) as owner, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        # One that is unpacked beside the system's runs by a loader of its own.
        is_told = not Path(f"/proc/{owner.process.pid}/exe").readlink().name.startswith("ld")
        assert is_qemu(sock) is is_told
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert is_qemu(ours, owner.process.pid) is is_told
            assert not is_qemu(ours)
        assert not is_qemu(ours)


def test_a_proxy_that_reads_lines_gets_lines(tmp_path: Path) -> None:
    path, front = tmp_path / "monitor", tmp_path / "front"
    with StorageDaemon(monitors=[path]), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(front))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as client, socket.socket(socket.AF_UNIX) as qemu:
                qemu.connect(str(path))
                answers = qemu.makefile("rb")
                client.sendall(answers.readline())
                for line in client.makefile("rb"):
                    qemu.sendall(line)
                    client.sendall(answers.readline())

        proxy = threading.Thread(target=serve)
        proxy.start()
        with StorageDaemon.attach(front) as attached:
            assert attached.qmp.execute(QueryJobs(), timeout=5) == []
        proxy.join(5)
        front.unlink()
