"""The graph of a long chain: made from QEMU's reply, and a path in it asserted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import cast

from qemu_blocksdk.codec import JsonObject, decode
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.wire import XDbgBlockGraph

from .core import Bench, Contestant, Row, timed
from .path_search import Reply, leads_to

_LENGTH = 1000
_PERMISSIONS = ["consistent-read", "write", "write-unchanged", "resize"]


def _reply(length: int) -> Reply:
    """A chain as QEMU tells of it: nodes and edges in the order of their making."""
    edge = {"name": "backing", "perm": _PERMISSIONS[:2], "shared-perm": _PERMISSIONS}
    reply: JsonObject = {
        "nodes": [{"id": n, "type": "block-driver", "name": f"node{n}"} for n in range(length)],
        "edges": [{**edge, "parent": n, "child": n + 1} for n in range(length - 1)],
    }
    return cast("Reply", reply)


def _built(reply: Reply) -> BlockGraph:
    return BlockGraph.from_replies(decode(XDbgBlockGraph, cast("JsonObject", reply)))


def _ask(length: int) -> tuple[str, str, str]:
    return "node0", "/backing" * (length - 1), f"node{length - 1}"


def _together(build: Callable[[], object], times: int) -> Callable[[], object]:
    return lambda: [build() for _ in range(times)]


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    reply, long_reply = _reply(_LENGTH), _reply(5 * _LENGTH)
    graph, question = _built(reply), _ask(_LENGTH)

    def build(of: Reply, length: int) -> BlockGraph:
        graph = _built(of)
        graph.assert_path(*_ask(length))
        return graph

    assert leads_to(reply, *question)
    yield {
        "assert_path": timed(lambda: graph.assert_path(*question), times=20),
        "resolve": timed(lambda: graph.resolve(*question[:2]), times=20),
        "the search": timed(lambda: leads_to(reply, *question)),
        "reply to graph": timed(lambda: _built(reply), times=3),
        "reply to path": timed(lambda: build(reply, _LENGTH), times=3),
        "5,000 nodes": timed(lambda: build(long_reply, 5 * _LENGTH), times=3),
        "5 x 1,000 nodes": timed(_together(lambda: build(reply, _LENGTH), 5), times=3),
    }


BENCH = Bench(
    name="graph",
    rows=[
        Row(
            "graph-assert-path",
            ours="assert_path",
            peer="the search",
            target=0.01,
            note="the full path of a chain of 1,000 nodes asserted, against iotests' search",
        ),
        Row(
            "graph-resolve",
            ours="resolve",
            peer="the search",
            target=0.01,
            note="that path resolved",
        ),
        Row(
            "graph-build",
            ours="reply to graph",
            peer=None,
            kind="time",
            target=0.020,
            note="the graph of that chain made from the JSON of QEMU's reply",
        ),
        Row(
            "graph-build-and-assert",
            ours="reply to path",
            peer="the search",
            note="the graph made for the sake of that one path",
        ),
        Row(
            "graph-linear",
            ours="5,000 nodes",
            peer="5 x 1,000 nodes",
            target=1.2,
            note="made and asserted: one chain of 5,000 nodes, against five times one of 1,000",
        ),
    ],
    rounds=15,
    contestants=_contestants,
    programs=(),
)
