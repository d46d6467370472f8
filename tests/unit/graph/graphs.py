"""Graphs for the tests, from replies written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qemu_blocksdk.codec import JsonObject, JsonValue, decode
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.wire import BlockDeviceInfo, BlockExportInfo, BlockInfo, JobInfo, XDbgBlockGraph

ALL = ("consistent-read", "write", "write-unchanged", "resize")


def vertex(number: int, name: str, kind: str = "block-driver") -> JsonObject:
    return {"id": number, "type": kind, "name": name}


def edge(
    parent: int, child: int, name: str, perm: Sequence[str] = (), shared: Sequence[str] = ALL
) -> JsonObject:
    return {
        "parent": parent,
        "child": child,
        "name": name,
        "perm": list(perm),
        "shared-perm": list(shared),
    }


def info(name: str, driver: str, file: str = "json:{}", **more: JsonValue) -> JsonObject:
    members: dict[str, JsonValue] = {"node-name": name, "drv": driver, "file": file, "ro": False}
    return members | more


def graph(
    nodes: Sequence[JsonObject],
    edges: Sequence[JsonObject],
    *infos: JsonObject,
    devices: Iterable[JsonObject] = (),
    jobs: Iterable[JsonObject] = (),
    exports: Iterable[JsonObject] = (),
) -> BlockGraph:
    return BlockGraph.from_replies(
        decode(XDbgBlockGraph, {"nodes": nodes, "edges": edges}),
        [decode(BlockDeviceInfo, each) for each in infos],
        devices=[decode(BlockInfo, each) for each in devices],
        jobs=[decode(JobInfo, each) for each in jobs],
        exports=[decode(BlockExportInfo, each) for each in exports],
    )


def chain_reply(length: int) -> JsonObject:
    """A node ``n0`` on ``n1`` on ``n2``, ..., over ``backing``."""
    return {
        "nodes": [vertex(number, f"n{number}") for number in range(length)],
        "edges": [edge(number, number + 1, "backing") for number in range(length - 1)],
    }
