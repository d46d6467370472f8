"""Fuzz of QEMU's replies: `python -m tests.fuzz` runs it.

Real replies (`replies.json`, of a QEMU 7.2) are changed in one to three places, decoded, and all
that came of them is read. That may raise errors of the tree, and nothing else.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import attrs

from qemu_blocksdk import wire
from qemu_blocksdk.codec import Command, JsonValue, Struct, decode_reply, encode
from qemu_blocksdk.codec.value import shape
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.graph import BlockGraph

REPLIES = Path(__file__).with_name("replies.json")
_COMMANDS: Mapping[str, Command[object]] = {
    "x-debug-query-block-graph": wire.XDebugQueryBlockGraph(),
    "query-named-block-nodes": wire.QueryNamedBlockNodes(flat=True),
    "query-block": wire.QueryBlock(),
    "query-jobs": wire.QueryJobs(),
    "query-block-jobs": wire.QueryBlockJobs(),
    "query-block-exports": wire.QueryBlockExports(),
    "query-blockstats": wire.QueryBlockstats(),
    "query-iothreads": wire.QueryIothreads(),
    "query-version": wire.QueryVersion(),
    "query-status": wire.QueryStatus(),
    "query-migrate": wire.QueryMigrate(),
    "query-fdsets": wire.QueryFdsets(),
}
_STRANGE: Sequence[JsonValue] = (
    *(None, True, False, 0, -1, 1 << 70, 1.5, "", "text", "\udc80"),
    *([], [None], [[]], {}, {"type": "qcow2"}, {"a": {}}, [{}]),
)


def fuzz_replies(folder: Path, *, seconds: float, seed: int) -> int:
    """Fuzz for a time; return how many replies were read. Raises AssertionError for a fault.

    The ``folder`` is not used.
    """
    choose = random.Random(seed)
    recorded = {
        name: each["return"] for name, each in json.loads(REPLIES.read_text("utf-8")).items()
    }
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = choose.choice(list(_COMMANDS))
        reply = copy.deepcopy(recorded[name])
        holder = {"return": reply}
        for _ in range(choose.randrange(1, 4)):
            change(choose, holder)
        replies = {**recorded, name: holder.get("return")}
        for look in (lambda: _read_reply(name, replies[name]), lambda: _read_graph(replies)):  # noqa: B023
            _fails_well(look, replies[name])
        count += 1
    return count


def _fails_well(read: Callable[[], object], reply: JsonValue) -> None:
    try:
        with contextlib.suppress(BlockSdkError):
            read()
    except Exception as error:
        raise AssertionError(f"{error!r} of {json.dumps(reply)}") from error


def change(choose: random.Random, json: object) -> None:
    """Change one place in a list or object: take it away, or put something strange there."""
    places = list(_places(json))
    if not places:
        return  # all of it has been taken away
    container, key = choose.choice(places)
    if choose.random() < 0.3:
        del container[key]  # type: ignore[attr-defined]
    elif isinstance(container, dict) and choose.random() < 0.1:
        container["x-new"] = choose.choice(_STRANGE)
    else:
        container[key] = copy.deepcopy(choose.choice(_STRANGE))  # type: ignore[index]


def _places(json: object) -> Iterable[tuple[object, object]]:
    if isinstance(json, dict):
        inner: Iterable[tuple[object, object]] = cast("dict[object, object]", json).items()
    elif isinstance(json, list):
        inner = enumerate(cast("list[object]", json))
    else:
        return
    for key, value in list(inner):
        yield json, key
        yield from _places(value)


def _read_reply(name: str, reply: JsonValue) -> None:
    value = decode_reply(_COMMANDS[name], reply)
    repr(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        for each in cast("Sequence[object]", value):
            read(each)
    else:
        read(value)


def read(value: object) -> None:
    """Read all of a value, as its types say that it may be read."""
    if isinstance(value, Struct):
        repr(value)
        json.dumps(encode(value))
        assert value == copy.copy(value)
        for attribute in shape(type(value)).order:
            read(getattr(value, attribute))
        attrs.asdict(value)
        dict(value.unknown_members)
    elif isinstance(value, list | tuple):
        for each in cast("Sequence[object]", value):
            read(each)


def _read_graph(replies: Mapping[str, JsonValue]) -> None:
    graph = BlockGraph.from_replies(
        decode_reply(wire.XDebugQueryBlockGraph(), replies["x-debug-query-block-graph"]),
        decode_reply(wire.QueryNamedBlockNodes(), replies["query-named-block-nodes"]),
        devices=decode_reply(wire.QueryBlock(), replies["query-block"]),
        jobs=decode_reply(wire.QueryJobs(), replies["query-jobs"]),
        exports=decode_reply(wire.QueryBlockExports(), replies["query-block-exports"]),
    )
    repr(graph)
    str(graph)
    for node in graph.nodes:
        repr(node)
    for edge in graph.edges:
        repr(edge)
