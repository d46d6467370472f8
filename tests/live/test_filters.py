"""What QEMU's tools and QMP say is the same from run to run once it is filtered."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.filters import (
    Environment,
    default_filters,
    drop_lines,
    event_timestamp,
    generated_node_ids,
    image_info,
    lift,
    nbd_block_sizes,
    qemu_io_timing,
    test_dir,
)
from tests.live.helpers import MakeImage, run

TIMED = "X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)"


def test_the_time_that_qemu_io_took_is_gone(make_image: MakeImage) -> None:
    commands = ("write 0 64k", "read 0 1k", "write -z 64k 1M", "discard 0 64k", "readv 0 512 512")
    script = [word for command in commands for word in ("-c", command)]
    output = run("qemu-io", "-f", "qcow2", *script, make_image())
    assert qemu_io_timing(output) == (
        f"wrote 65536/65536 bytes at offset 0\n64 KiB, {TIMED}\n"
        f"read 1024/1024 bytes at offset 0\n1 KiB, {TIMED}\n"
        f"wrote 1048576/1048576 bytes at offset 65536\n1 MiB, {TIMED}\n"
        f"discard 65536/65536 bytes at offset 0\n64 KiB, {TIMED}\n"
        f"read 1024/1024 bytes at offset 0\n1 KiB, {TIMED}\n"
    )


def test_information_on_two_images_alike_is_the_same(make_image: MakeImage, tmp_path: Path) -> None:
    told: set[str] = set()
    for name, pid, write in (("a.qcow2", 1, None), ("b.qcow2", 22, "0 1M")):
        image = make_image(name, write=write)
        env = Environment(test_dir=tmp_path, sock_dir=tmp_path, pid=pid, format="qcow2")
        # QEMU 10.0: tells the length of each file, which iotests' filter does not know.
        using = image_info(image, env=env) | drop_lines("file length")
        told.add(using(run("qemu-img", "info", "-f", "qcow2", image)))
    assert len(told) == 1
    lines = told.pop().splitlines()
    assert lines[:2] == ["image: TEST_IMG", "file format: IMGFMT"]
    assert not any("disk size" in line for line in lines)


def test_node_names_that_qemu_made_up_and_paths_are_gone_from_a_reply(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image()
    daemon.add_node(Qcow2(node_name="disk", file=File(filename=str(image))))
    reply: JsonObject = {"return": daemon.qmp.execute_raw("query-named-block-nodes")}
    assert "#block" in str(reply)
    done = (lift(test_dir(tmp_path) | generated_node_ids) | event_timestamp)(reply)
    nodes = cast("list[dict[str, object]]", done["return"])
    assert {(node["node-name"], node["file"]) for node in nodes} == {
        ("disk", "TEST_DIR/disk.qcow2"),
        ("NODE_NAME", "TEST_DIR/disk.qcow2"),
    }
    assert str(tmp_path) in str(reply)


def test_all_that_a_test_wants_leaves_nothing_of_a_daemons_files(
    make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image("7-disk.qcow2")
    env = Environment(test_dir=tmp_path, sock_dir=tmp_path / "s", pid=7, format="qcow2")
    text = default_filters(env)(run("qemu-img", "info", "-f", "qcow2", image))
    assert "image: TEST_DIR/PID-disk.IMGFMT\nfile format: IMGFMT\n" in text


def test_block_sizes_of_an_nbd_export_are_gone(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    node = daemon.add_node(Qcow2(node_name="disk", file=File(filename=str(make_image()))))
    socket = tmp_path / "nbd.sock"
    with daemon.start_nbd_server(socket) as server, server.export(node):
        text = nbd_block_sizes(run("qemu-nbd", "-L", "-k", socket))
    for which in ("min", "opt", "max"):
        assert f"  {which} block: XXX\n" in text
