"""Paths: as iotests' `assert_block_path` sees them, and what is said of a wrong one."""

from __future__ import annotations

import contextlib
from typing import cast

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from benchmarks.path_search import Reply, leads_to
from qemu_blocksdk.codec import JsonObject, decode
from qemu_blocksdk.errors import GraphError, UsageError
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.wire import XDbgBlockGraph
from tests.unit.graph.graphs import chain_reply, edge, graph, info, vertex

NAMES = ("disk", "base", "file", "")
EDGES = ("backing", "file", "children.0", "")
TYPES = ("block-driver", "block-backend", "block-job", "block-of-tomorrow")


@st.composite
def graphs(draw: st.DrawFn) -> Reply:
    """Any graph: names twice, edges twice, circles, users without a name."""
    ids = draw(st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=6))
    nodes = [vertex(i, draw(st.sampled_from(NAMES)), draw(st.sampled_from(TYPES))) for i in ids]
    end = st.sampled_from(ids)
    ends = draw(st.lists(st.tuples(end, end, st.sampled_from(EDGES)), min_size=3, max_size=9))
    return cast("Reply", {"nodes": nodes, "edges": [edge(*each) for each in ends]})


@st.composite
def questions(draw: st.DrawFn) -> tuple[Reply, str, str, str | None]:
    """A graph, and a path that is there, or nearly, and where it leads, or nearly."""
    reply = draw(graphs())
    start = draw(st.sampled_from(reply["nodes"]))
    here, path = start["id"], ""
    for _ in range(draw(st.sampled_from([0, 1, 2, 3, 5]))):
        below = [each for each in reply["edges"] if each["parent"] == here]
        if not below:
            break
        chosen = draw(st.sampled_from(below))
        path, here = f"{path}/{chosen['name']}", chosen["child"]
    path += draw(st.sampled_from(["", "", "", "", "/", "/oops", "//", "/file"]))
    path = path[draw(st.sampled_from([0, 0, 0, 1])) :]
    root = draw(st.sampled_from([start["name"], start["name"], start["name"], "nowhere", ""]))
    there = [node["name"] for node in reply["nodes"] if node["id"] == here]
    expected = draw(st.sampled_from([*there * 4, None, None, *NAMES]))
    return reply, root, path, expected


@settings(max_examples=1000, deadline=None)
@given(questions())
def test_a_path_is_asserted_as_iotests_do(question: tuple[Reply, str, str, str | None]) -> None:
    reply, root, path, expected = question
    picture = BlockGraph.from_replies(decode(XDbgBlockGraph, cast("JsonObject", reply)))
    is_right = leads_to(reply, root, path, expected)
    event(f"{is_right}, {path.count('/')} parts")
    with contextlib.nullcontext() if is_right else pytest.raises(AssertionError):
        picture.assert_path(root, path, expected)


DISK = graph(
    [vertex(1, "disk"), vertex(2, "base"), vertex(3, "file"), vertex(4, "quorum")],
    [edge(1, 2, "backing"), edge(2, 3, "file"), edge(4, 1, "children.0"), edge(4, 2, "children.1")],
    info("disk", "qcow2"),
)


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("disk", "/backing/file", "file"),
        ("quorum", "/children.1/file", "file"),
        ("quorum", "/children.2", None),
        ("disk", "/backing/backing", None),
        ("disk", "/", None),  # nothing is called ""
        ("disk", "/backing/", None),
        ("disk", "", "disk"),
    ],
)
def test_a_path_that_is_there_passes(root: str, path: str, expected: str | None) -> None:
    DISK.assert_path(root, path, expected)


@pytest.mark.parametrize(
    ("root", "path", "expected", "message"),
    [
        ("disk", "backing", "base", "the path has to begin with a slash: 'backing'"),
        ("disk", "backing", None, "the path has to begin with a slash"),
        ("oops", "/backing", None, "no node 'oops' to begin at; there are: base, disk, file"),
        ("disk", "/oops/file", None, "breaks off at 'oops', before its end"),
        ("disk", "/file", "base", "found nothing, expected 'base'"),
        ("disk", "/backing", None, "found 'base', expected nothing"),
        ("disk", "/backing", "disk", "found 'base', expected 'disk'"),
        ("disk", "//backing", "base", "breaks off at ''"),
        ("disk", "/", "disk", "found nothing, expected 'disk'"),
        ("disk", "", "base", "found 'disk', expected 'base'"),
        ("disk", "", None, "found 'disk', expected nothing"),
    ],
)
def test_a_path_that_is_not_there_fails(
    root: str, path: str, expected: str | None, message: str
) -> None:
    with pytest.raises(AssertionError) as failure:
        DISK.assert_path(root, path, expected)
    assert message in str(failure.value)


def test_a_failure_draws_the_way_to_where_it_breaks_off() -> None:
    with pytest.raises(AssertionError) as failure:
        DISK.assert_path("quorum", "/children.0/backing/backing/file", "file")
    assert str(failure.value) == (
        "quorum/children.0/backing/backing/file: it breaks off at 'backing', before its end\n"
        "  quorum\n"
        "  /children.0: node 'disk'\n"
        "  /backing: node 'base'\n"
        "  /backing: <-- not there\n"
        "the children of node 'base' are: file (file)"
    )


def test_a_failure_at_the_end_marks_it_and_lists_what_is_beside_it() -> None:
    with pytest.raises(AssertionError) as failure:
        DISK.assert_path("quorum", "/children.0", "base")
    assert str(failure.value).splitlines()[1:] == [
        "  quorum",
        "  /children.0: node 'disk' <-- found 'disk', expected 'base'",
        "the children of node 'quorum' are: children.0 (disk), children.1 (base)",
    ]


def test_of_a_long_way_only_the_ends_are_drawn() -> None:
    chain = BlockGraph.from_replies(decode(XDbgBlockGraph, chain_reply(1000)))
    chain.assert_path("n0", "/backing" * 999, "n999")
    with pytest.raises(AssertionError) as failure:
        chain.assert_path("n0", "/backing" * 1000, "n1000")
    lines = str(failure.value).splitlines()
    assert len(lines) == 1 + 6 + 1 + 6 + 1 + 1
    assert "988 more" in str(failure.value)
    assert "'n999'" in lines[-3]


def test_resolve_finds_the_node_at_the_end() -> None:
    assert DISK.resolve("quorum", "/children.0/backing/file") is DISK["file"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("backing", "path has to begin with a slash: 'backing'"),
        ("", "path has to begin with a slash"),
        ("/", "path '/' has an empty part"),
        ("/backing//file", "path '/backing//file' has an empty part"),
        ("/backing/", "has an empty part"),
    ],
)
def test_resolve_refuses_what_is_no_path(path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DISK.resolve("disk", path)


def test_resolve_says_what_it_looked_for_what_is_there_and_how_far_it_came() -> None:
    with pytest.raises(GraphError) as failure:
        DISK.resolve("quorum", "/children.0/oops/file")
    error = failure.value
    assert (error.looked_for, error.found) == ("child 'oops'", "backing")
    assert error.path == "node 'quorum'/children.0"
    with pytest.raises(GraphError, match="looked for node 'oops', found base, disk, file, quorum"):
        DISK.resolve("oops", "/file")


def test_the_name_of_a_child_is_no_path() -> None:
    with pytest.raises(UsageError, match=r"'backing/file' .*resolve"):
        DISK["disk"].child("backing/file")
