"""Each filter that tests of the block layer use, held against what iotests' filter makes."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path, PurePosixPath

import pytest

from qemu_blocksdk import filters
from qemu_blocksdk.codec import JsonValue
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.filters import (
    Environment,
    Filter,
    carriage_returns,
    chown_ids,
    default_filters,
    event_timestamp,
    generated_node_ids,
    image_format,
    image_info,
    lift,
    nbd_block_sizes,
    ordered,
    qemu_io_timing,
    sock_dir,
    test_dir,
    test_files,
    virtio_scsi_bus,
)

GUIDE = (Path(__file__).parents[3] / "docs" / "filters.md").read_text()
FROM_IOTESTS = (Path(__file__).parents[3] / "docs" / "from-iotests.md").read_text()
ENV = Environment(test_dir="/scratch/a+b", sock_dir="/run/s", pid=42, format="qcow2")
FILES = test_files(test_dir=ENV.test_dir, sock_dir=ENV.sock_dir, pid=ENV.pid)
TIMED = "X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)"


@pytest.mark.parametrize(
    ("using", "text", "expected"),
    [
        (test_dir("/scratch"), "/scratch/a /scratchb", "TEST_DIR/a TEST_DIRb"),
        (test_dir("/a+b.(c"), "/a+b.(c/x /aab.(c", "TEST_DIR/x /aab.(c"),
        (test_dir(PurePosixPath("/scratch")), "/scratch", "TEST_DIR"),
        (sock_dir("/run/s"), "/run/s/nbd", "SOCK_DIR/nbd"),
        (carriage_returns, "a\r\nb\rc\r\r", "a\nbc"),
        (
            qemu_io_timing,
            "64 KiB, 1 ops; 00.00 sec (50.367 MiB/sec and 805.8687 ops/sec)\r\n",
            f"64 KiB, {TIMED}\n",
        ),
        (qemu_io_timing, "12 ops; 0:00:01.5 (inf EiB/sec and inf ops/sec)", TIMED),
        (qemu_io_timing, " ops; 0.0 sec (1/0 bytes/sec and 1 ops/sec)", TIMED),
        (qemu_io_timing, "7 ops;  ( /sec and  ops/sec)9 ops; 1 (1 K/sec and 2 ops/sec)", TIMED * 2),
        (qemu_io_timing, "7 ops; (1 K/sec and 2 ops/sec)", "7 ops; (1 K/sec and 2 ops/sec)"),
        (qemu_io_timing, "7 ops; 1(1 K/sec and 2 ops/sec)", "7 ops; 1(1 K/sec and 2 ops/sec)"),
        (qemu_io_timing, "7 ops; 1 (1 Q/sec and 2 ops/sec)", "7 ops; 1 (1 Q/sec and 2 ops/sec)"),
        (chown_ids, "chown 0:1000 chown 1: x", "chown UID:GID chown 1: x"),
        (FILES, "/scratch/a+b/42-x /run/s/42-y", "TEST_DIR/PID-x SOCK_DIR/PID-y"),
        (FILES, "/scratch/a+b/421-x /run/s/x", "/scratch/a+b/421-x /run/s/x"),
        (virtio_scsi_bus, "virtio-scsi-pci,virtio-scsi-ccw-pci", "virtio-scsi,virtio-scsi-pci"),
        (virtio_scsi_bus, "virtio-scsi-device", "virtio-scsi-device"),
        (generated_node_ids, "#block12 #block #block0", "NODE_NAME #block NODE_NAME"),
        (image_format("raw"), "raw draws raw", "IMGFMT dIMGFMTs IMGFMT"),
        (
            nbd_block_sizes,
            "min block: 1\nopt block: 4096\nmax block: 33554432\nmin block: x",
            "min block: XXX\nopt block: XXX\nmax block: XXX\nmin block: x",
        ),
    ],
)  # fmt: skip
def test_a_text_becomes_what_iotests_makes_of_it(
    using: Filter[str], text: str, expected: str
) -> None:
    assert using(text) == expected


def test_a_directory_with_a_slash_at_its_end_holds_the_same_files() -> None:
    assert test_files(test_dir="/t/", sock_dir="/s/", pid=1)("/t/1-a /s/1-b") == (
        "TEST_DIR/PID-a SOCK_DIR/PID-b"
    )


IMAGE_INFO = """\
image: /scratch/a+b/t.qcow2
file format: qcow2
disk size: 196 KiB
"actual-size": 5
backing file: /scratch/a+b/42-base
    cid: 2895
    uuid: 0123-abcd
    iters: 77
"""


def test_information_on_an_image_loses_what_differs() -> None:
    assert image_info("/scratch/a+b/t.qcow2", env=ENV)(IMAGE_INFO) == (
        "image: TEST_IMG\nfile format: IMGFMT\nbacking file: TEST_DIR/PID-base\n"
        "    cid: XXXXXXXXXX\n    uuid: XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX\n    iters: XXX\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\ndisk size: 1", "a"), ("disk size: 1\na", "a"), ("disk size: 1", ""), ("\n\n", "\n\n")],
)
def test_a_line_that_is_left_out_leaves_no_empty_line(text: str, expected: str) -> None:
    assert image_info("/t.qcow2", env=ENV)(text) == expected


def test_an_event_has_no_time_and_the_original_keeps_its_own() -> None:
    event: dict[str, JsonValue] = {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}
    assert event_timestamp(event) == {
        "event": "STOP",
        "timestamp": {"seconds": "SECS", "microseconds": "USECS"},
    }
    assert event["timestamp"] == {"seconds": 1, "microseconds": 2}
    assert event_timestamp({"event": "STOP"}) == {"event": "STOP"}
    assert event_timestamp({"timestamp": None}) == {"timestamp": None}


def test_keys_are_sorted_and_dashed_where_iotests_does_it() -> None:
    message: dict[str, JsonValue] = {
        "b_c": [{"y_z": None, "x_y": 1}],
        "a_b": {"d_e": True, "c_d": 2.5},
    }
    done = ordered()(message)
    assert list(done.items()) == [
        ("a-b", {"c_d": 2.5, "d_e": True}),
        ("b-c", [{"x-y": 1, "y-z": None}]),
    ]
    lower = OrderedDict(c_d=2.5, d_e=True), OrderedDict({"x-y": 1, "y-z": None})
    assert str(done) == str(OrderedDict({"a-b": lower[0], "b-c": [lower[1]]}))
    assert list(ordered(dashes=False)(message)) == ["a_b", "b_c"]
    assert list(message) == ["b_c", "a_b"]


def test_of_two_keys_that_become_one_the_later_in_order_stays() -> None:
    assert ordered()({"a_b": 1, "a-b": 2}) == {"a-b": 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda: test_dir(""),
        lambda: sock_dir(""),
        lambda: image_format(""),
        lambda: image_info("", env=ENV),
        lambda: test_files(test_dir="", sock_dir="/s", pid=1),
        lambda: test_files(test_dir="/t", sock_dir="", pid=1),
        lambda: default_filters(Environment(test_dir="/t", sock_dir="/s", pid=1, format="")),
        lambda: default_filters(Environment(test_dir="", sock_dir="/s", pid=1, format="raw")),
    ],
)
def test_an_empty_path_or_format_matches_nowhere_because_it_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match="is empty"):
        make()


def test_the_default_filters_know_all_that_the_environment_tells() -> None:
    text = (
        "/scratch/a+b/42-x /scratch/a+b /run/s/42-y /run/s chown 1:2 virtio-scsi-pci #block1\r\n"
        "opt block: 1 qcow2 1 ops; 00.00 sec (1 KiB/sec and 2 ops/sec)"
    )
    assert default_filters(ENV)(text) == (
        "TEST_DIR/PID-x TEST_DIR SOCK_DIR/PID-y SOCK_DIR chown UID:GID virtio-scsi NODE_NAME\n"
        f"opt block: XXX IMGFMT {TIMED}"
    )


@pytest.mark.parametrize("inner", ["/t/s", "/t/1-s", "/ts"])
def test_a_directory_inside_or_beside_the_other_is_found_first(inner: str) -> None:
    text = f"{inner}/x {inner}/1-x {inner} /t/y /t/1-y /t"
    env = Environment(test_dir="/t", sock_dir=inner, pid=1, format="raw")
    assert default_filters(env)(text) == (
        "SOCK_DIR/x SOCK_DIR/PID-x SOCK_DIR TEST_DIR/y TEST_DIR/PID-y TEST_DIR"
    )
    env = Environment(test_dir=inner, sock_dir="/t", pid=1, format="raw")
    assert default_filters(env)(text) == (
        "TEST_DIR/x TEST_DIR/PID-x TEST_DIR SOCK_DIR/y SOCK_DIR/PID-y SOCK_DIR"
    )


def test_lifted_filters_do_what_the_filters_of_messages_do() -> None:
    message: dict[str, JsonValue] = {
        "/scratch/a+b/42-": ["/scratch/a+b/42-x", {"driver": "qcow2", "n": 1, "on": True}],
        "bus": "virtio-scsi-pci",
    }
    both = lift(FILES) | lift(virtio_scsi_bus) | lift(image_format("qcow2"))
    assert both(message) == {
        "/scratch/a+b/42-": ["TEST_DIR/PID-x", {"driver": "IMGFMT", "n": 1, "on": True}],
        "bus": "virtio-scsi",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("test_dir", "win32", "qemu_io", "qmp_event", "qmp", "testfiles", "qmp_testfiles"),
        *("virtio_scsi", "qmp_virtio_scsi", "generated_node_ids", "img_info", "imgfmt", "chown"),
        *("qmp_imgfmt", "nbd_exports"),
    ],
)
def test_the_guide_tells_where_each_filter_of_iotests_is(name: str) -> None:
    row = re.search(rf"^\| `filter_{name}`.* \| `(\w+)", FROM_IOTESTS, re.MULTILINE)
    assert row is not None
    assert row[1] in filters.__all__


def test_the_guide_names_all_there_is() -> None:
    assert [name for name in filters.__all__ if not re.search(rf"\b{name}\b", GUIDE)] == []
    assert "| `ordered_qmp` | `ordered(" in FROM_IOTESTS


@pytest.mark.parametrize(
    "using",
    [
        *(test_dir("/scratch"), sock_dir("/run/s"), FILES, carriage_returns, qemu_io_timing),
        *(chown_ids, generated_node_ids, nbd_block_sizes, image_format("qcow2")),
        *(image_info("/t.qcow2", env=ENV), default_filters(ENV)),
    ],
    ids=str,
)
def test_what_is_filtered_stays_as_it_is_when_it_is_filtered_again(using: Filter[str]) -> None:
    text = (
        IMAGE_INFO + "/scratch/x /run/s/y\r\nchown 1:2 #block3 max block: 4 virtio-scsi-ccw\n"
        "64 KiB, 1 ops; 00.00 sec (50.367 MiB/sec and 805.8687 ops/sec)\n"
    )
    once = using(text)
    assert once != text
    assert using(once) == once
