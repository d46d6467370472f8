"""The jobs of a node: each of them, their options, and what QEMU does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from qemu_blocksdk import VM, Image, Node, Secret, StorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2, Quorum
from qemu_blocksdk.errors import CommandError, JobFailed, ToolError, Unsupported
from qemu_blocksdk.tools import AmendLuks, AmendQcow2, CreateLuks, CreateQcow2, EncryptLuks
from qemu_blocksdk.wire import (
    BackupPerf,
    BlockdevAmendOptionsLuks,
    BlockdevAmendOptionsQcow2,
    BlockdevCreateOptionsFile,
    BlockdevCreateOptionsQcow2,
    JobStatusChange,
    QCryptoBlockAmendOptionsLuks,
    QueryJobs,
)
from tests.live.helpers import MakeImage, are_equal, run, write_with_qemu_io
from tests.live.nodes import chain_of, chain_options, names, opened

pytestmark = pytest.mark.timeout(30)


def _flat(make_image: MakeImage, paths: list[Path]) -> Path:
    """What the top of a chain holds, in an image of its own."""
    copy = make_image("flat.qcow2")
    run("qemu-img", "convert", "-O", "qcow2", paths[-1], copy)
    return copy


def _children(node: Node) -> dict[str, str]:
    return {edge.name: edge.child.name for edge in node.query_children()}


@pytest.fixture
def pair(daemon: StorageDaemon) -> tuple[Node, Node]:
    """Two nodes of 1 MiB."""
    one, other = (daemon.add_node(NullCo(node_name=name, size=1 << 20)) for name in ("a", "b"))
    return one, other


# -- backup, mirror -----------------------------------------------------------------------


def test_a_backup_takes_all_options_that_qemu_has(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    source = make_image("source.qcow2", write="-P 7 1M 4M")
    target = make_image("target.qcow2")
    job = opened(daemon, source).start_backup(
        opened(daemon, target),
        job_id="mine",
        speed=1 << 30,
        compress=True,
        on_source_error="report",
        on_target_error="enospc",
        filter_node_name="filter",
        x_perf=BackupPerf(max_workers=2, use_copy_range=False),
        auto_finalize=False,
    )
    assert job.id == "mine"
    with job:
        job.wait(until="pending", timeout=10)
        assert "filter" in names(daemon)
        job.run()
    daemon.node("target").delete()
    assert are_equal(source, target)


def test_an_option_that_qemu_lacks_is_unsupported(
    pair: tuple[Node, Node], qemu_version: tuple[int, int]
) -> None:
    one, other = pair
    if qemu_version >= (10, 0):
        one.backup(other, discard_source=True, timeout=10)
        return
    with pytest.raises(Unsupported, match=r"^node 'a': this QEMU has no member 'discard-source'"):
        one.start_backup(other, discard_source=True)
    with pytest.raises(Unsupported, match="min-cluster-size"):
        one.start_backup(other, x_perf=BackupPerf(min_cluster_size=1 << 20))
    with pytest.raises(Unsupported, match="backing-mask-protocol"):
        one.start_commit(base=other, backing_mask_protocol=True)
    with pytest.raises(Unsupported, match="backing-mask-protocol"):
        one.start_stream(backing_mask_protocol=True)


def test_a_flag_that_is_none_is_refused(pair: tuple[Node, Node]) -> None:
    one, other = pair
    with pytest.raises(TypeError, match="sped"):
        one.backup(other, sped=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_a_target_that_is_too_small_is_refused(daemon: StorageDaemon) -> None:
    source = daemon.add_node(NullCo(node_name="source", size=1 << 20))
    target = daemon.add_node(NullCo(node_name="target", size=1 << 10))
    with pytest.raises(CommandError, match=r"^node 'source': blockdev-backup: .*size"):
        source.start_backup(target)
    job = source.start_mirror(target)
    with pytest.raises(JobFailed, match="Source and target image have different sizes"):
        job.run(timeout=10)
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_target_that_is_in_use_is_refused(daemon: StorageDaemon, make_image: MakeImage) -> None:
    node = opened(daemon, make_image("a.qcow2"))
    with pytest.raises(CommandError, match=r"^node 'a': blockdev-backup: Source and target"):
        node.start_backup(node)
    target = opened(daemon, make_image("b.qcow2"))
    with (
        daemon.start_nbd_server() as server,
        server.export(target, writable=True),
        pytest.raises(CommandError, match=r"^node 'a': blockdev-mirror: "),
    ):
        node.start_mirror(target)


def test_a_mirror_puts_the_target_in_the_place_of_the_node(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    source, target = make_image("source.qcow2", write="-P 7 0 4M"), make_image("target.qcow2")
    node, new = opened(daemon, source), opened(daemon, target)
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        job = node.start_mirror(
            new, copy_mode="write-blocking", granularity=65536, buf_size=1 << 20
        )
        job.wait(until="ready", timeout=10)
        write_with_qemu_io(str(export.uri), "write -P 8 8M 1M", fmt="raw")
        job.run(timeout=10)
        node.delete()
        assert [edge.parent.type for edge in new.query_parents()] == ["block-backend"]
        write_with_qemu_io(str(export.uri), "write -P 9 12M 1M", fmt="raw")
    new.delete()
    write_with_qemu_io(source, "write -P 9 12M 1M")
    assert are_equal(source, target)


def test_a_mirror_of_a_quorum_replaces_one_of_its_children(daemon: StorageDaemon) -> None:
    for name in ("c0", "c1", "target"):
        daemon.add_node(NullCo(node_name=name, size=1 << 20))
    quorum = daemon.add_node(Quorum(node_name="q", children=["c0", "c1"], vote_threshold=2))
    target = daemon.node("target")
    with pytest.raises(CommandError, match="node-name='gone'"):
        quorum.start_mirror(target, replaces=daemon.node("gone"))
    quorum.mirror(target, replaces=daemon.node("c0"), timeout=10)
    assert sorted(_children(quorum).values()) == ["c1", "target"]


# -- commit, stream -----------------------------------------------------------------------


def test_a_commit_of_the_active_layer_waits_for_ready(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = chain_of(make_image)
    content = _flat(make_image, paths)
    node = daemon.add_chain(chain_options(paths))
    with daemon.start_nbd_server() as server, server.export(node, writable=True):
        job = node.start_commit(job_id="down", auto_dismiss=False)
        job.wait(until="ready", timeout=10)
        assert job.kind == "commit"
        job.complete()
        job.wait(timeout=10)
        assert job.status == "concluded"
        job.dismiss()
        (parent,) = daemon.node("base").query_parents()[-1:]
        assert parent.name == "root"
    node.delete()
    assert are_equal(paths[0], content)


def test_a_commit_of_a_layer_in_between_leaves_the_active_one(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = chain_of(make_image)
    content = _flat(make_image, paths)
    node = daemon.add_chain(chain_options(paths))
    node.commit(
        top=daemon.node("mid"),
        base=daemon.node("base"),
        backing_file=paths[0],
        on_error="report",
        timeout=10,
    )
    assert _children(node) == {"file": "top-file", "backing": "base"}
    node.delete()
    assert names(daemon) == set()
    assert are_equal(paths[2], content)
    info = run("qemu-img", "info", "--output=json", paths[2])
    assert f'"backing-filename": "{paths[0]}"' in info


def test_a_commit_that_cannot_be_is_refused(
    daemon: StorageDaemon, make_image: MakeImage, pair: tuple[Node, Node]
) -> None:
    node = daemon.add_chain(chain_options(chain_of(make_image)))
    with pytest.raises(CommandError, match=r"^node 'top': block-commit: .*not.*'a'|'a'.*not"):
        node.start_commit(base=pair[0])
    with pytest.raises(CommandError, match=r"^node 'top': block-commit: "):
        node.start_commit(top=daemon.node("base"), base=daemon.node("mid"))
    assert daemon.query_jobs() == []


def test_a_stream_takes_over_what_is_below(daemon: StorageDaemon, make_image: MakeImage) -> None:
    paths = chain_of(make_image)
    content = _flat(make_image, paths)
    node = daemon.add_chain(chain_options(paths))
    node.stream(base=daemon.node("base"), backing_file=paths[0], speed=0, timeout=10)
    assert _children(node)["backing"] == "base"
    node.stream(timeout=10)
    assert _children(node) == {"file": "top-file"}
    node.delete()
    assert names(daemon) == set()
    paths[0].unlink()
    paths[1].unlink()
    assert are_equal(paths[2], content)


def test_qemu_survives_questions_about_the_graph_while_a_stream_ends(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    for number in range(3):
        base = make_image(f"base{number}.qcow2", write="0 8M")
        top = Image(make_image(f"top{number}.qcow2", backing=base), format="qcow2")
        node = daemon.add_chain(top.chain_options(f"n{number}"))
        with daemon.qmp.events(JobStatusChange) as events:
            job = node.start_stream()
            while events.get(timeout=10).status != "null":
                daemon.graph()
                daemon.query_bitmaps()
                daemon.qmp.execute_raw("query-named-block-nodes")
                daemon.qmp.execute_raw("query-blockstats", {"query-nodes": True})
        reading = list(job.progress())[-1]
        assert reading.current == reading.total == 16 << 20
        assert job.result is not None
        assert job.result.outcome == "completed"


def test_a_stream_goes_down_to_the_bottom_that_is_named(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = daemon.add_chain(chain_options(chain_of(make_image)))
    mid = daemon.node("mid")
    node.stream(bottom=mid, timeout=10)
    assert _children(node)["backing"] == "base"
    with pytest.raises(CommandError, match=r"^node 'top': block-stream: "):
        node.start_stream(bottom=mid)
    with pytest.raises(CommandError, match=r"^node 'top': block-stream: "):
        node.start_stream(base=daemon.node("base"), bottom=daemon.node("base"))


# -- create, amend ------------------------------------------------------------------------


def test_an_image_is_created_in_two_steps(daemon: StorageDaemon, tmp_path: Path) -> None:
    path = tmp_path / "new.qcow2"
    daemon.create(BlockdevCreateOptionsFile(filename=str(path), size=0), job_id="file")
    file = daemon.add_node(File(node_name="file", filename=str(path)))
    job = daemon.start_create(BlockdevCreateOptionsQcow2(file="file", size=1 << 26))
    assert job.kind == "create"
    job.run(timeout=10)
    assert daemon.qmp.execute(QueryJobs()) == []
    node = daemon.add_node(Qcow2(node_name="new", file="file"))
    assert node.query_info().image.virtual_size == 1 << 26
    node.delete()
    file.delete()


def test_what_cannot_be_created_fails_as_a_job(daemon: StorageDaemon, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "new"
    with pytest.raises(JobFailed, match="No such file or directory") as caught:
        daemon.create(BlockdevCreateOptionsFile(filename=str(nowhere), size=1024), timeout=10)
    assert caught.value.job_type == "create"
    with pytest.raises(JobFailed, match="node-name='gone'"):
        daemon.create(BlockdevCreateOptionsQcow2(file="gone", size=1024), timeout=10)
    with pytest.raises(CommandError, match=r"blockdev-create: .*Invalid job ID ' '"):
        daemon.start_create(BlockdevCreateOptionsFile(filename="x", size=1), job_id=" ")


def _with_two_keys(tmp_path: Path, format: Literal["luks", "qcow2"]) -> Image:
    """An image that the keys ``old`` (slot 0) and ``new`` (slot 3) open."""
    image = Image(tmp_path / f"disk.{format}", format=format, secret=Secret("old"))
    luks = CreateLuks(hash_alg="sha512", iter_time=0.01)
    in_qcow2 = CreateQcow2(encrypt=EncryptLuks(hash_alg="sha512", iter_time=0.01))
    image.create("1M", luks if format == "luks" else in_qcow2)
    add = AmendLuks(state="active", keyslot=3, new_secret=Secret("new"), iter_time=0.01)
    image.amend(add if format == "luks" else AmendQcow2(encrypt=add))
    return image


def test_a_key_slot_of_an_encrypted_qcow2_is_erased(daemon: StorageDaemon, tmp_path: Path) -> None:
    image = _with_two_keys(tmp_path, "qcow2")
    for key in ("old", "new"):
        daemon.add_secret(Secret(key), id=key)
    node = daemon.add_node(image.options("disk", key_secret="new"))

    def erase(slot: int) -> BlockdevAmendOptionsQcow2:
        luks = QCryptoBlockAmendOptionsLuks(state="inactive", keyslot=slot)
        return BlockdevAmendOptionsQcow2(encrypt=luks)

    node.amend(erase(0), job_id="erase", timeout=20)
    with pytest.raises(JobFailed, match="only active keyslot 3"):
        node.amend(erase(3), timeout=20)
    node.delete()
    with pytest.raises(CommandError, match="Invalid password"):
        daemon.add_node(image.options("disk", key_secret="old"))
    node = daemon.add_node(image.options("disk", key_secret="new"))
    node.amend(erase(3), force=True, timeout=20)
    node.delete()
    with pytest.raises(CommandError, match="Invalid password"):
        daemon.add_node(image.options("disk", key_secret="new"))


def test_a_key_slot_of_luks_is_erased_unless_qemu_would_die(
    daemon: StorageDaemon, tmp_path: Path, qemu_version: tuple[int, int]
) -> None:
    image = _with_two_keys(tmp_path, "luks")
    daemon.add_secret(Secret("new"), id="new")
    node = daemon.add_node(image.options("disk", key_secret="new"))
    erase = BlockdevAmendOptionsLuks(state="inactive", keyslot=0)
    if qemu_version == (10, 0):
        with pytest.raises(Unsupported, match="amendment of a luks node"):
            node.start_amend(erase)
        return
    node.amend(erase, timeout=20)
    node.delete()
    with pytest.raises(ToolError, match="Invalid password"):
        image.convert(Image(tmp_path / "plain", format="raw"))


def test_a_node_of_another_format_cannot_be_amended(pair: tuple[Node, Node]) -> None:
    with pytest.raises(CommandError, match=r"^node 'a': x-blockdev-amend: "):
        pair[0].start_amend(BlockdevAmendOptionsQcow2())


# -- snapshots of a machine ---------------------------------------------------------------


@pytest.fixture
def disks(make_image: MakeImage) -> list[Path]:
    """Two disks with data."""
    return [make_image(f"d{n}.qcow2", write=f"-P {n + 1} 0 64k") for n in range(2)]


def test_a_machine_is_saved_brought_back_and_its_snapshot_deleted(disks: list[Path]) -> None:
    with VM() as vm:
        nodes = [opened(vm, path) for path in disks]
        vm.save_snapshot("then", vmstate=nodes[0], nodes=nodes, job_id="save", timeout=20)
        for node in nodes:
            node.io.write(0, 65536, pattern=9)
        snapshots = nodes[0].query_info().image.snapshots
        assert snapshots is not None
        assert [each.name for each in snapshots] == ["then"]
        assert snapshots[0].vm_state_size > 0
        vm.load_snapshot("then", vmstate=nodes[0], nodes=nodes, timeout=20)
        for number, node in enumerate(nodes):
            node.io.assert_pattern(0, 65536, pattern=number + 1)
        vm.delete_snapshot("then", nodes=nodes, timeout=20)
        assert not nodes[0].query_info().image.snapshots
        vm.delete_snapshot("then", nodes=nodes, timeout=20)  # nothing to do
        assert vm.query_jobs() == []


def test_a_machine_that_cannot_be_saved_or_loaded_says_why(disks: list[Path]) -> None:
    with VM() as vm:
        nodes = [opened(vm, path) for path in disks]
        null = vm.add_node(NullCo(node_name="null"))
        gone = vm.node("gone")
        vm.save_snapshot("then", vmstate=nodes[0], nodes=nodes, timeout=20)
        for job, words in (
            (vm.start_save_snapshot("then", vmstate=nodes[0], nodes=nodes), "already exists"),
            (
                vm.start_save_snapshot("now", vmstate=nodes[0], nodes=nodes[1:]),
                "'d0' does not exist",
            ),
            (vm.start_save_snapshot("now", vmstate=gone, nodes=nodes), "'gone' does not exist"),
            (
                vm.start_save_snapshot("now", vmstate=null, nodes=[null]),
                "does not support snapshots",
            ),
            (vm.start_save_snapshot("now", vmstate=nodes[0], nodes=[]), "At least one device"),
            (vm.start_load_snapshot("now", vmstate=nodes[0], nodes=nodes), "'now' does not exist"),
            (vm.start_delete_snapshot("then", nodes=[gone]), "'gone'"),
        ):
            with pytest.raises(JobFailed, match=words):
                job.run(timeout=20)
