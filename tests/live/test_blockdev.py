"""Nodes that cannot be added, graphs that are large, and how commands reach a real QEMU."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Qmp, StorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2, Raw, Throttle
from qemu_blocksdk.codec import Unknown
from qemu_blocksdk.errors import CommandError, DeadlineExceeded, Unsupported, UsageError
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import (
    BlockdevAdd,
    JobStatusChange,
    QueryBlockExports,
    QueryJobs,
    QueryNamedBlockNodes,
    QueryStatus,
)
from tests.live.helpers import MakeImage, run

pytestmark = pytest.mark.timeout(20)


# -- bad input --------------------------------------------------------------------------


def test_a_file_that_does_not_exist_is_a_command_error(
    daemon: StorageDaemon, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="No such file or directory") as caught:
        daemon.add_node(File(node_name="f", filename=str(tmp_path / "nowhere")))
    assert "\n" not in str(caught.value)
    assert caught.value.command == "blockdev-add"
    assert caught.value.arguments["node-name"] == "f"
    assert daemon.qmp.execute(QueryNamedBlockNodes(flat=True)) == []


def test_a_file_of_another_format_is_a_command_error(daemon: StorageDaemon, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no image at all" * 1000)
    with pytest.raises(CommandError, match="qcow2") as caught:
        daemon.add_node(Qcow2(node_name="q", file=File(filename=str(tmp_path / "text"))))
    assert "\n" not in str(caught.value)
    assert daemon.qmp.execute(QueryNamedBlockNodes(flat=True)) == []


def test_a_directory_is_no_image(daemon: StorageDaemon, tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        daemon.add_node(File(node_name="d", filename=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_file_that_another_daemon_holds_is_a_command_error(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    options = Qcow2(node_name="q", file=File(filename=str(make_image())))
    with StorageDaemon() as other:
        other.add_node(options)
        export = other.start_nbd_server().export(other.node("q"), writable=True)
        with pytest.raises(CommandError, match="lock") as caught:
            daemon.add_node(options)
        assert "\n" not in str(caught.value)
        export.delete(mode="hard")
        other.node("q").delete()
        daemon.add_node(options)


@pytest.mark.parametrize("kind", [StorageDaemon, VM])
@pytest.mark.parametrize("name", ["ünïcödé", "with space", "quo\"te'", "a\\b", "new\nline", "😀"])
def test_a_file_may_have_any_name(
    kind: type[StorageDaemon | VM], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"x" * 512)
    with kind() as qemu:
        node = qemu.add_node(File(node_name="f", filename=str(tmp_path / name)))
        assert node.query_info().file == str(tmp_path / name)


def test_a_file_name_that_is_no_unicode_is_refused_and_the_connection_goes_on(
    daemon: StorageDaemon, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"\xff.img")).write_bytes(b"x" * 512)
    with pytest.raises(UsageError) as caught:
        daemon.add_node(File(node_name="f", filename=str(tmp_path / os.fsdecode(b"\xff.img"))))
    assert "\n" not in str(caught.value)
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_driver_that_the_qemu_lacks_is_refused(daemon: StorageDaemon) -> None:
    members = {"driver": "imaginary", "node-name": "n"}
    options = Unknown(tag="imaginary", members=members)
    with pytest.raises((Unsupported, UsageError), match="imaginary") as caught:
        daemon.qmp.execute(BlockdevAdd(options=options))  # type: ignore[arg-type]  # wrong on purpose
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", ["1M", True, 1.5, 1 << 80])
def test_an_option_of_the_wrong_type_is_refused(daemon: StorageDaemon, size: object) -> None:
    options = NullCo(node_name="n", size=size)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises((UsageError, CommandError)) as caught:
        daemon.add_node(options)
    if not isinstance(size, int) or isinstance(size, bool):
        assert isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
    assert daemon.qmp.execute(QueryNamedBlockNodes(flat=True)) == []


def test_a_node_without_a_name_is_a_usage_error(daemon: StorageDaemon) -> None:
    with pytest.raises(UsageError, match="node_name"):
        daemon.add_node(NullCo())


def test_a_reference_to_no_node_is_a_command_error(daemon: StorageDaemon) -> None:
    with pytest.raises(CommandError, match="nowhere"):
        daemon.add_node(Raw(node_name="r", file="nowhere"))


def test_a_missing_throttle_group_is_a_command_error(daemon: StorageDaemon) -> None:
    daemon.add_node(NullCo(node_name="n"))
    with pytest.raises(CommandError, match="group"):
        daemon.add_node(Throttle(node_name="t", throttle_group="none", file="n"))


@pytest.mark.parametrize("kind", [StorageDaemon, VM])
def test_a_member_of_a_later_qemu_is_refused_before_it_is_sent(
    kind: type[StorageDaemon | VM], qemu_version: tuple[int, int], make_image: MakeImage
) -> None:
    options = Qcow2(
        node_name="q", file=File(filename=str(make_image())), discard="unmap", discard_no_unref=True
    )
    with kind() as qemu:
        if qemu_version >= (8, 1):
            assert qemu.add_node(options).query_info().drv == "qcow2"
            return
        with pytest.raises(Unsupported, match="discard-no-unref") as caught:
            qemu.add_node(options)
        assert caught.value.available_in == snapshots.available()[2:]
        assert qemu.qmp.execute(QueryNamedBlockNodes(flat=True)) == []


def test_a_command_of_the_other_binary_is_unsupported(daemon: StorageDaemon) -> None:
    with pytest.raises(Unsupported, match="query-status") as caught:
        daemon.qmp.execute(QueryStatus())
    assert set(caught.value.available_in) == {"system-7.2", "system-10.0", "system-11.1"}


# -- large and odd ----------------------------------------------------------------------


@pytest.mark.timeout(40)
def test_a_graph_of_two_thousand_nodes_fits_into_one_reply(daemon: StorageDaemon) -> None:
    for number in range(2000):
        daemon.qmp.execute(BlockdevAdd(options=NullCo(node_name=f"node{number}")))
    infos = daemon.qmp.execute(QueryNamedBlockNodes())
    assert {info.node_name for info in infos} == {f"node{number}" for number in range(2000)}
    graph = daemon.graph()
    assert len(graph.nodes) == 2000
    assert len(graph.draw().splitlines()) == 2000
    assert daemon.node("node1999").query_info().drv == "null-co"


def test_a_chain_deeper_than_qemus_parser_confuses_nobody_else(daemon: StorageDaemon) -> None:
    def others() -> None:
        for _ in range(100):
            assert daemon.qmp.execute(QueryJobs()) == []

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(others) for _ in range(3)]
        with pytest.raises((CommandError, UsageError)):
            daemon.qmp.execute(BlockdevAdd(options=Raw(node_name="d", file=_nested(1200))))
        for one in running:
            one.result(timeout=15)
    assert daemon.qmp.is_connected


def _nested(depth: int) -> Raw:
    inner = Raw(file=NullCo())
    for _ in range(depth):
        inner = Raw(file=inner)
    return inner


def test_out_of_band_goes_past_a_monitor_that_is_busy() -> None:
    with VM() as vm:
        with pytest.raises(CommandError, match="does not support OOB"):
            vm.qmp.execute_raw("query-status", oob=True)
        with pytest.raises(CommandError, match="migrate-pause"):
            vm.qmp.execute_raw("migrate-pause", oob=True)


def test_commands_from_several_threads_each_get_their_own_reply(daemon: StorageDaemon) -> None:
    def work(thread: int) -> None:
        for turn in range(20):
            node = daemon.add_node(NullCo(node_name=f"n{thread}x{turn}", size=thread + 1))
            assert node.query_info().node_name == f"n{thread}x{turn}"
            node.delete()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, thread) for thread in range(8)]:
            done.result(timeout=15)
    assert daemon.qmp.execute(QueryBlockExports()) == []


def test_a_frozen_daemon_is_given_up_and_answers_again(daemon: StorageDaemon) -> None:
    begin = time.monotonic()
    with suspended(daemon), pytest.raises(DeadlineExceeded, match="query-jobs"):
        daemon.qmp.execute(QueryJobs(), timeout=0.2)
    assert time.monotonic() - begin < 1
    for _ in range(5):
        assert daemon.qmp.execute(QueryNamedBlockNodes(flat=True)) == []


def test_an_export_is_reached_and_removed(daemon: StorageDaemon) -> None:
    node = daemon.add_node(NullCo(node_name="n", size=1 << 20))
    with daemon.start_nbd_server() as server:
        with pytest.raises(CommandError, match="already running"):
            daemon.start_nbd_server()
        with server.export(node, name="ex port/ä") as export:
            assert "virtual size: 1 MiB" in run("qemu-img", "info", str(export.uri))
            with pytest.raises(CommandError, match="ex port"):
                server.export(node, name="ex port/ä")
        assert daemon.qmp.execute(QueryBlockExports()) == []
    node.delete()


def test_an_nbd_server_listens_on_tcp(daemon: StorageDaemon) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node = daemon.add_node(NullCo(node_name="n", size=1 << 20))
    with daemon.start_nbd_server(("127.0.0.1", port)) as server, server.export(node) as export:
        assert "virtual size: 1 MiB" in run("qemu-img", "info", str(export.uri))


def test_a_vm_sends_events_that_the_storage_daemon_has_not() -> None:
    with VM(accelerator="tcg") as vm, vm.qmp.events() as events:
        vm.qmp.execute_raw("stop")
        vm.qmp.execute_raw("cont")
        assert type(events.get(timeout=5)).__name__.startswith("Stop")
        assert type(events.get(timeout=5)).__name__.startswith("Resume")


def test_two_connections_to_one_daemon_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "second.sock"
    args = [
        *("--chardev", f"socket,id=path,path={path},server=on,wait=off"),
        *("--monitor", "chardev=path"),
    ]
    with StorageDaemon(args=args) as daemon, Qmp.connect(path) as second:
        with second.events(JobStatusChange) as events:
            source = daemon.add_node(NullCo(node_name="s", size=1 << 20))
            target = daemon.add_node(NullCo(node_name="t", size=1 << 20))
            source.backup(target, job_id="seen", timeout=10)
            assert events.get(timeout=5).id == "seen"
        os.kill(daemon.process.pid, signal.SIGKILL)
        second.wait_lost(timeout=5)
    path.unlink()


@pytest.mark.parametrize("wrong", ["disk", None, NullCo])
def test_what_is_no_options_at_all_is_a_usage_error(daemon: StorageDaemon, wrong: object) -> None:
    with pytest.raises(UsageError, match="none of the classes"):
        daemon.add_node(wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_command_class_instead_of_a_command_is_a_usage_error(daemon: StorageDaemon) -> None:
    with pytest.raises(UsageError, match="give an instance of a command class"):
        daemon.qmp.execute(QueryJobs)  # type: ignore[arg-type] # pyright: ignore
