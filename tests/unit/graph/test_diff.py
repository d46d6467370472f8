"""What differs between two pictures, in words and drawn."""

from __future__ import annotations

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.graph import BlockGraph
from tests.unit.graph.graphs import edge, graph, info, vertex

READ = ("consistent-read",)
BEFORE = graph(
    [vertex(1, "d0", "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(4, "copy")],
    [edge(1, 2, "root", READ), edge(2, 3, "backing", READ)],
    info("disk", "qcow2"),
)


def after(nodes: list[JsonObject], edges: list[JsonObject]) -> BlockGraph:
    return graph(nodes, edges, info("disk", "qcow2"))


def test_pictures_of_the_same_do_not_differ_whatever_the_ids() -> None:
    other = after(
        [vertex(9, "copy"), vertex(8, "d0", "block-backend"), vertex(7, "disk"), vertex(6, "base")],
        [edge(7, 6, "backing", READ), edge(8, 7, "root", READ)],
    )
    diff = BEFORE.diff(other)
    assert not diff
    assert str(diff) == "no difference"
    assert diff.draw().splitlines()[-1] == "+ added, - removed, ~ changed"
    assert {line[0] for line in diff.draw().splitlines()[:-1]} == {" "}


def test_what_was_added_and_removed_is_told() -> None:
    other = after(
        [vertex(1, "d0", "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(5, "new")],
        [edge(1, 2, "root", READ), edge(5, 3, "backing", READ), edge(2, 3, "backing", READ)],
    )
    diff = BEFORE.diff(other)
    assert diff
    assert [node.name for node in diff.nodes_added] == ["new"]
    assert [node.name for node in diff.nodes_removed] == ["copy"]
    assert str(diff) == (
        "node 'new' was added\nnode 'copy' was removed\nnode 'new' -backing-> node 'base' was added"
    )
    assert str(other.diff(BEFORE)).endswith("node 'new' -backing-> node 'base' was removed")


def test_a_parent_that_has_another_child_has_moved() -> None:
    other = after(
        [vertex(1, "d0", "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(4, "copy")],
        [edge(1, 4, "root", READ), edge(2, 3, "backing", READ)],
    )
    diff = BEFORE.diff(other)
    assert [(c.before.child.name, c.after.child.name) for c in diff.moved] == [("disk", "copy")]
    assert (diff.edges_added, diff.edges_removed) == ((), ())
    assert str(diff) == ("backend 'd0' -root-> node 'disk' is now backend 'd0' -root-> node 'copy'")


def test_a_child_that_has_another_parent_has_moved() -> None:
    other = after(
        [vertex(1, "d0", "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(4, "copy")],
        [edge(1, 2, "root", READ), edge(4, 3, "backing", READ)],
    )
    diff = BEFORE.diff(other)
    assert [(c.before.parent.name, c.after.parent.name) for c in diff.moved] == [("disk", "copy")]


def test_a_node_put_between_two_has_moved_the_edge_of_the_upper() -> None:
    other = after(
        [
            vertex(1, "d0", "block-backend"),
            *(vertex(n, name) for n, name in ((2, "disk"), (3, "base"), (4, "copy"), (5, "f"))),
        ],
        [edge(1, 5, "root", READ), edge(5, 2, "file"), edge(2, 3, "backing", READ)],
    )
    assert str(BEFORE.diff(other)) == (
        "node 'f' was added\n"
        "node 'f' -file-> node 'disk' was added\n"
        "backend 'd0' -root-> node 'disk' is now backend 'd0' -root-> node 'f'"
    )


def test_permissions_that_changed_are_told_whatever_their_order() -> None:
    other = after(
        [vertex(1, "d0", "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(4, "copy")],
        [
            edge(1, 2, "root", ["write"], ["resize", "consistent-read"]),
            edge(2, 3, "backing", READ, ["resize", "write-unchanged", "write", "consistent-read"]),
        ],
    )
    diff = BEFORE.diff(other)
    assert len(diff.permissions) == 1
    assert str(diff) == (
        "backend 'd0' -root-> node 'disk' holds now write; holds no longer consistent-read; "
        "shares no longer write, write-unchanged"
    )
    assert "~ └─ root r/rwus → w/rs: disk [qcow2]" in diff.draw()
    assert "root r/rwus → w/rs" in diff.dot()
    assert "holds/shares" in diff.mermaid()


def test_unnamed_users_are_matched_by_what_they_use() -> None:
    def picture(first: str, second: str) -> BlockGraph:
        return graph(
            [
                vertex(1, "a"),
                vertex(2, "b"),
                vertex(3, "", "block-backend"),
                vertex(4, "", "block-backend"),
            ],
            [edge(3, {"a": 1, "b": 2}[first], "root"), edge(4, {"a": 1, "b": 2}[second], "root")],
        )

    assert not picture("a", "b").diff(picture("b", "a"))
    assert not picture("a", "a").diff(picture("a", "a"))
    diff = picture("a", "a").diff(picture("a", "b"))
    assert (len(diff.nodes_removed), len(diff.nodes_added)) == (1, 1)


def test_an_export_is_followed_to_another_node() -> None:
    def picture(node: str) -> BlockGraph:
        return graph(
            [vertex(1, "a"), vertex(2, "b"), vertex(3, "", "block-backend")],
            [edge(3, {"a": 1, "b": 2}[node], "root")],
            exports=[{"id": "e", "type": "nbd", "node-name": node}],
        )

    diff = picture("a").diff(picture("b"))
    assert str(diff) == "export 'e' -root-> node 'a' is now export 'e' -root-> node 'b'"


def test_two_edges_of_one_name_are_matched_one_by_one() -> None:
    def picture(count: int) -> BlockGraph:
        return graph([vertex(1, "a"), vertex(2, "b")], [edge(1, 2, "x")] * count)

    assert not picture(2).diff(picture(2))
    assert len(picture(1).diff(picture(3)).edges_added) == 2
    assert len(picture(3).diff(picture(1)).edges_removed) == 2


def test_a_difference_is_drawn_as_one_picture() -> None:
    other = after(
        [vertex(1, "d0", "block-backend"), vertex(3, "base"), vertex(4, "copy"), vertex(5, "new")],
        [edge(1, 4, "root", READ), edge(4, 5, "file")],
    )
    diff = BEFORE.diff(other)
    assert diff.draw() == (
        "  d0 [block-backend]\n"
        "~ ├─ root: copy [block-driver]\n"
        "+ │  └─ file: new [block-driver]\n"
        "- └─ root: disk [qcow2]\n"
        "-    └─ backing: base [block-driver]\n"
        "+ added, - removed, ~ changed"
    )
    lines = diff.mermaid().splitlines()
    assert '  n4["disk<br/>qcow2"]:::removed' in lines
    assert '  n0 -.->|"root"| n4' in lines
    assert '    removed_[" removed "]:::removed' in lines
    assert sum(line.startswith("  linkStyle") for line in lines) == 4
    dot = diff.dot()
    assert dot.count("style=dashed]") == 2
    assert all(f">{word}<" in dot for word in ("unchanged", "added", "removed", "changed"))
