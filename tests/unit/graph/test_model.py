"""The block graph as a value, from replies written by hand."""

from __future__ import annotations

import pytest

from qemu_blocksdk.codec import JsonObject, decode
from qemu_blocksdk.errors import GraphError
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.wire import BlockDeviceInfo, XDbgBlockGraph


def vertex(number: int, name: str, kind: str = "block-driver") -> JsonObject:
    return {"id": number, "type": kind, "name": name}


def edge(parent: int, child: int, name: str) -> JsonObject:
    return {"parent": parent, "child": child, "name": name, "perm": [], "shared-perm": ["write"]}


def graph(nodes: list[JsonObject], edges: list[JsonObject], *infos: JsonObject) -> BlockGraph:
    reply = decode(XDbgBlockGraph, {"nodes": nodes, "edges": edges})
    return BlockGraph.from_replies(reply, [decode(BlockDeviceInfo, info) for info in infos])


CHAIN = graph(
    [vertex(1, "", "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(4, "file")],
    [edge(1, 2, "root"), edge(2, 4, "file"), edge(2, 3, "backing")],
    {"node-name": "disk", "drv": "qcow2", "file": "json:{}"},
    {"node-name": "file", "drv": "file", "file": "/tmp/disk"},
)


def test_the_tree_shows_names_drivers_and_the_files_of_leaves() -> None:
    assert CHAIN.draw() == (
        "unnamed [block-backend]\n"
        "└─ root: disk [qcow2]\n"
        "   ├─ file: file [file] /tmp/disk\n"
        "   └─ backing: base [block-driver]"
    )


def test_a_shared_subtree_is_unfolded_once() -> None:
    shared = graph(
        [vertex(1, "a"), vertex(2, "b"), vertex(3, "shared"), vertex(4, "leaf")],
        [edge(1, 3, "file"), edge(2, 3, "file"), edge(3, 4, "file")],
    )
    assert shared.draw().count("leaf") == 1
    assert "shared [block-driver] (see above)" in shared.draw()


def test_roots_are_what_nothing_uses() -> None:
    assert [node.type for node in CHAIN.roots] == ["block-backend"]


def test_children_come_in_the_order_that_qemu_gave() -> None:
    (disk,) = (node for node in CHAIN.nodes if node.name == "disk")
    assert [(e.name, e.child.name) for e in CHAIN.children(disk)] == [
        ("file", "file"),
        ("backing", "base"),
    ]


def test_an_empty_graph_draws_nothing() -> None:
    assert graph([], []).draw() == ""


def test_a_node_is_found_by_name_and_a_backend_of_that_name_is_none() -> None:
    picture = graph([vertex(1, "disk", "block-backend"), vertex(2, "disk")], [edge(1, 2, "root")])
    assert picture.find("disk").id == 2
    with pytest.raises(GraphError, match="looked for node 'nowhere', found disk"):
        picture.find("nowhere")
    with pytest.raises(GraphError, match="found none"):
        graph([], []).find("nowhere")


def test_an_error_lists_ten_names() -> None:
    picture = graph([vertex(n, f"n{n:02}") for n in range(12)], [])
    with pytest.raises(GraphError, match="n09 and 2 more"):
        picture.find("nowhere")


def test_parents_are_what_uses_a_node() -> None:
    (parent,) = CHAIN.parents(CHAIN.find("base"))
    assert (parent.parent.name, parent.name) == ("disk", "backing")
    assert [each.parent.type for each in CHAIN.parents(CHAIN.find("disk"))] == ["block-backend"]
