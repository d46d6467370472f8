"""The block graph as a value, from replies written by hand."""

from __future__ import annotations

import copy
import pickle

import pytest

from qemu_blocksdk.codec import JsonObject, decode
from qemu_blocksdk.errors import GraphError, UsageError
from qemu_blocksdk.graph import BlockGraph, GraphNode
from qemu_blocksdk.wire import XDbgBlockGraph
from tests.unit.graph.graphs import chain_reply, edge, graph, info, vertex

PATH = "/machine/peripheral/d0/virtio-backend"
DISK = graph(
    [vertex(1, PATH, "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(4, "file")],
    [edge(1, 2, "root"), edge(2, 4, "file"), edge(2, 3, "backing")],
    info("disk", "qcow2", image={"virtual-size": 512}),
    info("file", "file", "/tmp/disk", ro=True),
)


def names(nodes: tuple[GraphNode, ...]) -> list[str]:
    return [node.name for node in nodes]


def long_chain(length: int = 5000) -> BlockGraph:
    return BlockGraph.from_replies(decode(XDbgBlockGraph, chain_reply(length)))


# -- by name ------------------------------------------------------------------------------


def test_a_node_tells_what_qemu_said_of_it() -> None:
    disk, file = DISK["disk"], DISK["file"]
    assert (disk.driver, disk.virtual_size, disk.read_only) == ("qcow2", 512, False)
    assert (file.filename, file.read_only) == ("/tmp/disk", True)
    assert (DISK["base"].driver, DISK["base"].filename, DISK["base"].virtual_size) == (None,) * 3


def test_a_device_is_found_by_its_id_and_by_its_path() -> None:
    assert DISK["d0"] is DISK[PATH]
    assert (str(DISK["d0"]), DISK["d0"].kind) == ("device 'd0'", "device")


def test_a_legacy_drive_knows_its_device() -> None:
    picture = graph(
        [vertex(1, "drive0", "block-backend"), vertex(2, "empty", "block-backend")],
        [],
        devices=[{"device": "drive0", "qdev": PATH}, {"device": "empty"}],
    )
    assert picture["drive0"] is picture["d0"]
    assert str(picture["empty"]) == "backend 'empty'"


def test_a_device_without_a_medium_is_known() -> None:
    picture = graph(
        [vertex(1, "cd0", "block-backend")], [], devices=[{"device": "", "qdev": "cd0"}]
    )
    assert picture["cd0"].kind == "device"
    assert picture["cd0"].children == ()


def test_a_node_comes_before_a_device_of_its_name() -> None:
    picture = graph([vertex(1, "disk", "block-backend"), vertex(2, "disk")], [edge(1, 2, "root")])
    assert picture["disk"].id == 2


def test_a_name_of_several_users_is_ambiguous() -> None:
    picture = graph([vertex(1, "x", "block-backend"), vertex(2, "x", "block-job")], [])
    assert "x" in picture
    with pytest.raises(GraphError, match="looked for node 'x', found backend 'x', job 'x'"):
        picture["x"]


def test_what_is_not_there_is_told_with_what_is() -> None:
    assert "disk" in DISK
    assert "nowhere" not in DISK
    with pytest.raises(GraphError, match=r"looked for node 'nowhere', found .*base, d0, disk"):
        DISK["nowhere"]
    with pytest.raises(GraphError, match="found none"):
        graph([], [])["nowhere"]


def test_an_error_lists_ten_names() -> None:
    picture = graph([vertex(n, f"n{n:02}") for n in range(12)], [])
    with pytest.raises(GraphError, match="n09 and 2 more"):
        picture["nowhere"]


def test_nodes_are_found_by_driver_and_file_name() -> None:
    assert names(DISK.find(driver="qcow2")) == ["disk"]
    assert names(DISK.find(kind="device")) == [PATH]
    assert names(DISK.find(driver="file", filename="/tmp/disk")) == ["file"]
    assert names(DISK.find(driver="qcow2", filename="/tmp/disk")) == ["disk"]  # by its file's
    assert DISK.find(driver="raw", filename="/tmp/disk") == ()


def test_a_file_name_is_found_where_filters_go_round() -> None:
    loop = graph([vertex(1, "t")], [edge(1, 1, "file")], info("t", "throttle"))
    assert loop.find(filename="x") == ()


# -- exports and jobs -----------------------------------------------------------------------

EXPORT: JsonObject = {"id": "e0", "type": "nbd", "node-name": "disk", "shutting-down": False}
NO_WRITERS = ("write-unchanged",)


def test_the_one_backend_that_can_be_an_exports_is_its() -> None:
    picture = graph(
        [vertex(1, "disk"), vertex(2, "", "block-backend"), vertex(3, "", "block-backend")],
        [edge(2, 1, "root", ["write"]), edge(3, 1, "root", shared=NO_WRITERS)],
        exports=[EXPORT],
    )
    assert picture["e0"].id == 2
    assert str(picture["e0"]) == "export 'e0'"
    (other,) = picture.find(kind="backend")
    assert (other.id, str(other)) == (3, "unnamed backend")


def test_which_of_two_exports_a_backend_is_stays_open() -> None:
    picture = graph(
        [vertex(1, "disk"), vertex(2, "", "block-backend"), vertex(3, "", "block-backend")],
        [edge(2, 1, "root"), edge(3, 1, "root")],
        exports=[EXPORT, dict(EXPORT) | {"id": "e1"}],
    )
    assert "e0" not in picture
    assert {str(each) for each in picture.find(kind="backend")} == {
        "unnamed backend (perhaps of export 'e0' or export 'e1')"
    }


def test_a_backend_beside_a_job_may_be_the_jobs() -> None:
    picture = graph(
        [
            vertex(1, "disk"),
            vertex(2, "", "block-backend"),
            vertex(3, "m", "block-job"),
            vertex(4, "", "block-backend"),
        ],
        [edge(2, 1, "root"), edge(3, 1, "target"), edge(4, 1, "root")],
        exports=[EXPORT],
    )
    assert picture.nodes[1].export is None
    assert picture.nodes[1].candidates == ("export 'e0'", "job 'm'")


def test_a_job_has_its_type_and_status() -> None:
    job = {"id": "m", "type": "mirror", "status": "running"}
    picture = graph([vertex(1, "m", "block-job")], [], jobs=[job])
    assert picture["m"].job is not None
    assert (picture["m"].job.type, picture["m"].job.status) == ("mirror", "running")


# -- walks ----------------------------------------------------------------------------------


def test_roots_are_what_nothing_uses() -> None:
    assert names(DISK.roots) == [PATH]


def test_children_come_in_the_order_that_qemu_gave() -> None:
    assert [(e.name, e.child.name) for e in DISK["disk"].children] == [
        ("file", "file"),
        ("backing", "base"),
    ]
    assert DISK["disk"].child("backing") is DISK["base"]


def test_a_child_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(GraphError) as failure:
        DISK["disk"].child("oops")
    assert str(failure.value) == "looked for child 'oops' at node 'disk', found backing, file"


def test_parents_are_what_uses_a_node() -> None:
    (parent,) = DISK["base"].parents
    assert (parent.parent.name, parent.name) == ("disk", "backing")
    assert [each.parent.kind for each in DISK["disk"].parents] == ["device"]


DIAMOND = graph(
    [vertex(n, name) for n, name in enumerate("abcde")],
    [edge(0, 1, "x"), edge(0, 2, "y"), edge(1, 3, "x"), edge(2, 3, "y"), edge(2, 4, "z")],
)


def test_walks_meet_each_node_once_the_nearest_first() -> None:
    assert names(DIAMOND["a"].descendants) == ["b", "c", "d", "e"]
    assert names(DIAMOND["d"].ancestors) == ["b", "c", "a"]


def test_common_ancestors_use_all_of_the_nodes() -> None:
    assert names(DIAMOND.common_ancestors("d", "e")) == ["c", "a"]
    assert names(DIAMOND.common_ancestors("b", "e")) == ["a"]
    assert names(DIAMOND.common_ancestors("a", "e")) == []
    assert names(DIAMOND.common_ancestors("d")) == ["b", "c", "a"]
    assert DIAMOND.common_ancestors() == ()


def test_a_chain_goes_through_backing_nodes_and_filters() -> None:
    picture = graph(
        [
            vertex(1, "d0", "block-backend"),
            *(vertex(n, f"n{n}") for n in range(2, 7)),
        ],
        [
            edge(1, 2, "root"),
            edge(2, 3, "file"),
            edge(3, 6, "file"),
            edge(3, 4, "backing"),
            edge(4, 5, "image"),
        ],
        info("n2", "throttle"),
        info("n3", "qcow2"),
        info("n4", "blkdebug"),
        info("n5", "raw"),
        info("n6", "file"),
    )
    assert names(picture.chain("n2")) == ["n2", "n3", "n4", "n5"]
    assert picture.chain("d0") == picture.chain("n2")


def test_walks_go_to_the_end_of_five_thousand_nodes() -> None:
    chain = long_chain()
    assert len(chain.chain("n0")) == 5000
    assert len(chain["n0"].descendants) == len(chain["n4999"].ancestors) == 4999
    assert chain.resolve("n0", "/backing" * 4999).name == "n4999"
    assert chain.draw().count("\n") == 4999
    assert chain.mermaid().count("-->") == chain.dot().count(" -> ") == 4999
    assert not chain.diff(long_chain())


# -- replies that are not as they should be -------------------------------------------------


def test_an_edge_to_nowhere_is_refused() -> None:
    with pytest.raises(GraphError, match=r"both ends of edge 'file' from node 1 to 7, .*no node 7"):
        graph([vertex(1, "disk")], [edge(1, 7, "file")])


def test_an_id_of_two_nodes_is_refused() -> None:
    with pytest.raises(GraphError, match="looked for one node of each id, found 1 ids of 2 nodes"):
        graph([vertex(1, "a"), vertex(1, "b")], [])


def test_a_circle_can_be_walked_and_drawn_but_is_no_chain() -> None:
    loop = graph([vertex(1, "a"), vertex(2, "b")], [edge(1, 2, "backing"), edge(2, 1, "backing")])
    assert names(loop["a"].descendants) == names(loop["a"].ancestors) == ["b"]
    assert loop.roots == ()
    assert loop.resolve("a", "/backing" * 3).name == "b"
    assert "a [block-driver] (see above)" in loop.draw()
    with pytest.raises(GraphError, match=r"the end of the chain of 'a', found a loop at node 'a'"):
        loop.chain("a")


def test_a_type_that_is_new_in_qemu_is_called_what_qemu_calls_it() -> None:
    picture = graph([vertex(1, "x", "block-of-tomorrow"), vertex(2, "n")], [edge(1, 2, "root")])
    assert str(picture["x"]) == "block-of-tomorrow 'x'"
    assert "x [block-of-tomorrow]" in picture.draw()
    assert "other user" in picture.dot()


# -- as a value -----------------------------------------------------------------------------


def test_graphs_of_one_content_are_equal_and_hash_alike() -> None:
    assert (
        graph(
            [vertex(n, name) for n, name in enumerate("abcde")],
            [edge(0, 1, "x"), edge(0, 2, "y"), edge(1, 3, "x"), edge(2, 3, "y"), edge(2, 4, "z")],
        )
        == DIAMOND
    )
    assert len({DIAMOND["a"], DIAMOND["a"], DIAMOND["b"]}) == 2
    assert repr(DIAMOND["a"]) == "<node 'a'>"


def test_a_long_chain_can_be_pickled_and_copied() -> None:
    chain = long_chain(3000)
    for other in (pickle.loads(pickle.dumps(chain)), copy.deepcopy(chain)):
        assert isinstance(other, BlockGraph)
        assert other.resolve("n0", "/backing/backing") is other["n2"]
        assert other == chain


def test_a_graph_is_frozen() -> None:
    with pytest.raises(AttributeError, match="set"):
        DISK["disk"].name = "other"  # type: ignore[misc]  # the point of the test


# -- why not --------------------------------------------------------------------------------


def test_who_does_not_share_a_permission_is_named() -> None:
    picture = graph(
        [
            vertex(1, "disk"),
            vertex(2, PATH, "block-backend"),
            vertex(3, "m", "block-job"),
            vertex(4, "top"),
        ],
        [
            edge(2, 1, "root", ["write"], ["consistent-read", "write-unchanged"]),
            edge(3, 1, "target", [], ["consistent-read"]),
            edge(4, 1, "backing", ["consistent-read"]),
        ],
    )
    assert [str(each) for each in picture.why_blocked("disk", "write")] == [
        "device 'd0' (uses node 'disk' as 'root') does not share 'write'",
        "job 'm' (uses node 'disk' as 'target') does not share 'write'",
    ]
    assert [each.parent.name for each in picture.why_blocked("disk", "write-unchanged")] == ["m"]
    assert picture.why_blocked("disk", "consistent-read") == ()


def test_what_is_in_the_way_below_a_filter_is_in_the_way() -> None:
    picture = graph(
        [vertex(1, "t"), vertex(2, "r"), vertex(3, "file"), vertex(4, "d0", "block-backend")],
        [
            edge(1, 2, "file", shared=[]),
            edge(2, 3, "file", shared=[]),
            edge(4, 3, "root", shared=[]),
        ],
        info("t", "throttle"),
        info("r", "raw"),
    )
    assert [str(each.parent) for each in picture.why_blocked("t", "write")] == ["backend 'd0'"]


def test_a_permission_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        UsageError, match="no permission 'rw': expected one of consistent-read, write, write-u"
    ):
        DISK.why_blocked("disk", "rw")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(GraphError, match="looked for node 'nowhere'"):
        DISK.why_blocked("nowhere", "write")
