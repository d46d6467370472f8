"""Filters of a long log, of a stream and of a deep message, against iotests' way.

The peers do what iotests does: six functions in sequence, for each message that is logged or for a
whole log; and a walk of the message for each filter.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from random import Random
from typing import cast

from qemu_blocksdk.codec import JsonValue
from qemu_blocksdk.filters import (
    Filter,
    carriage_returns,
    chown_ids,
    generated_node_ids,
    image_format,
    lift,
    qemu_io_timing,
    test_dir,
    test_files,
    virtio_scsi_bus,
)

from .core import Bench, Contestant, Row, timed

_SCRATCH = "/var/tmp/blocksdk/scratch/qcow2-file-041"
_SOCKETS = "/tmp/tmp.Xq3vA9"
_TIMING = re.compile(
    r"[0-9]* ops; [0-9\/:. sec]* \([0-9\/.inf]* [EPTGMKiBbytes]*\/sec and [0-9\/.inf]* ops\/sec\)"
)
_EXPRESSIONS = (
    (re.compile(_SCRATCH), "TEST_DIR"),
    (re.compile(r"\r"), ""),
    (_TIMING, "X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)"),
    (re.compile(r"chown [0-9]+:[0-9]+"), "chown UID:GID"),
    (re.compile(r"#block[0-9]+"), "NODE_NAME"),
)
_FILES = test_files(test_dir=_SCRATCH, sock_dir=_SOCKETS, pid=os.getpid())
_Text = Callable[[str], str]


def six() -> Filter[str]:
    """The six in question."""
    return (
        _FILES
        | test_dir(_SCRATCH)
        | carriage_returns
        | qemu_io_timing
        | chown_ids
        | generated_node_ids
    )


def log() -> Iterator[str]:
    """What qemu-io prints, without an end: two lines a request, here and there an error."""
    random = Random(6)
    while True:
        size, offset = 512 << random.randrange(12), 512 * random.randrange(1 << 24)
        verb = random.choice(("read", "wrote"))
        yield f"{verb} {size}/{size} bytes at offset {offset}\n"
        rate, ops = random.uniform(1, 900), random.uniform(100, 9999)
        seconds = "00.00" if random.random() < 0.9 else f"{random.uniform(0.01, 9):05.2f}"
        speed = f"{rate:.3f} MiB/sec and {ops:.4f} ops/sec"
        yield f"{size / 1024:g} KiB, 1 ops; {seconds} sec ({speed})\n"
        if random.random() < 0.01:
            name = f"{_SCRATCH}/{os.getpid()}-test.img"
            yield f"qemu-io: can't open device {name}: Could not open '{name}': No such file\n"
            yield f"node #block{offset % 1000}: chown 1000:1000\r\n"


def _log(size: int) -> list[str]:
    lines = log()
    done: list[str] = []
    while size > 0:
        done += (some := list(islice(lines, 1000)))
        size -= sum(map(len, some))
    return done


def _files_in_sequence(text: str) -> str:
    pid = os.getpid()
    scratch = os.path.join(_SCRATCH, f"{pid}-")  # noqa: PTH118 - what the peer does
    sockets = os.path.join(_SOCKETS, f"{pid}-")  # noqa: PTH118
    return text.replace(scratch, "TEST_DIR/PID-").replace(sockets, "SOCK_DIR/PID-")


def _in_sequence(text: str) -> str:
    text = _files_in_sequence(text)
    for expression, by in _EXPRESSIONS:
        text = expression.sub(by, text)
    return text


def _walked(message: object, change: Callable[[object, object], object]) -> object:
    # A list is used like an object whose keys are indices.
    holder = cast("dict[object, object]", message)
    items = (
        enumerate(cast("list[object]", message)) if isinstance(message, list) else holder.items()
    )
    for key, value in items:
        is_nested = type(value) in (dict, list)
        holder[key] = _walked(value, change) if is_nested else change(key, value)
    return holder


def _on_strings(change: _Text) -> Callable[[object, object], object]:
    return lambda _key, value: change(value) if isinstance(value, str) else value


def _three_walks(message: object) -> object:
    message = _walked(message, _on_strings(_files_in_sequence))
    message = _walked(
        message, _on_strings(lambda text: re.sub(r"(virtio-scsi)-(ccw|pci)", r"\1", text))
    )
    return _walked(message, _on_strings(lambda text: text.replace("qcow2", "IMGFMT")))


def _message(strings: int) -> dict[str, JsonValue]:
    """A chain as `query-named-block-nodes` tells of it, five strings a level, a hundred deep."""
    branches: list[JsonValue] = []
    for branch in range(strings // 500):
        inner: dict[str, JsonValue] = {}
        for level in range(100):
            name = f"{_SCRATCH}/{os.getpid()}-{branch}-{level}.img"
            inner = {
                "node-name": f"node{level}",
                "drv": "qcow2",
                "file": name,
                "bus": "virtio-scsi-pci",
                "cache": "writeback",
                "size": 512 * level,
                "backing": inner,
            }
        branches.append(inner)
    return {"return": branches}


def _lines(lines: list[str], each: _Text) -> str:
    return "".join([each(line) for line in lines])


@contextmanager
def _contestants(quick: bool) -> Generator[Mapping[str, Contestant]]:
    lines = _log(2_000_000 if quick else 20_000_000)
    text = "".join(lines)
    using = six()
    lifted = lift(_FILES) | lift(virtio_scsi_bus) | lift(image_format("qcow2"))
    message = _message(10_000)
    assert using(text) == _in_sequence(text)
    # The peer changes what it is given, and once changed there is less to do.
    assert lifted(message) == _three_walks(_message(10_000))
    yield {
        "one pass": timed(partial(using, text)),
        "each line": timed(partial(_lines, lines, _in_sequence)),
        "whole text": timed(partial(_in_sequence, text)),
        "lifted": timed(partial(lifted, message), times=3),
        "three walks": lambda: timed(partial(_three_walks, _message(10_000)))(),
    }


@contextmanager
def _streams(quick: bool) -> Generator[Mapping[str, Contestant]]:
    size = 100_000_000 if quick else 1_000_000_000
    argv = [sys.executable, "-m", "benchmarks.children.stream", str(size)]
    yield {"stream": lambda: float(subprocess.check_output(argv))}


BENCH = Bench(
    name="filters",
    rows=[
        Row(
            "filters-log",
            ours="one pass",
            peer="each line",
            target=1 / 8,
            note="six filters, a log of qemu-io of 20 MB (--quick: 2 MB): as one text, against the"
            " six functions for each line that is logged",
        ),
        Row(
            "filters-text",
            ours="one pass",
            peer="whole text",
            note="the same, against the six functions over the whole text",
        ),
        Row(
            "filters-message",
            ours="lifted",
            peer="three walks",
            target=1 / 3,
            note="three lifted filters, a message with 10,000 strings, a hundred levels deep",
        ),
    ],
    rounds=5,
    contestants=_contestants,
    programs=(),
)
STREAM = Bench(
    name="filters-memory",
    rows=[
        Row(
            "filters-stream",
            ours="stream",
            peer=None,
            kind="growth",
            target=50_000_000 / 1024,
            note="peak memory of a process that filters a stream of 1 GB (--quick: 100 MB)",
        )
    ],
    rounds=1,
    contestants=_streams,
    programs=(),
    warm_up=False,
)
