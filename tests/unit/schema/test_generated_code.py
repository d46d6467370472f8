"""What the generator makes of small schemas: the code is imported and used."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import get_args

import pytest

from qemu_blocksdk.codec import NULL, Unknown, decode, decode_reply, encode

Generate = Callable[..., ModuleType]

TREE = """
    command add 1 0
    object 1 root:2
    object 2 name:str children?:[2] parent?:2
"""


def test_a_type_that_contains_itself_is_one_class(generate: Generate) -> None:
    wire = generate(TREE, {"add.arg.root": "Node"})
    node = wire.Node(name="a", children=[wire.Node(name="b")])
    assert encode(wire.Add(root=node)) == {
        "root": {"name": "a", "children": [{"name": "b"}]},
    }
    assert decode(wire.Node, encode(node)) == node


def test_a_package_tells_which_of_its_own_snapshots_have_what(generate: Generate) -> None:
    wire = generate(
        {
            "system-1.0": "command go 1 0\nobject 1 a:int",
            "system-2.0": "command go 1 0\nobject 1 a:int b?:2\nenum 2 x",
        },
        {"go.arg.b": "B"},
    )
    assert wire.available_in(wire.Go) == ("system-1.0", "system-2.0")
    assert wire.available_in(wire.Go, "b") == wire.available_in("B", "x") == ("system-2.0",)


def test_a_union_is_one_class_a_branch_with_the_common_members(generate: Generate) -> None:
    wire = generate(
        """
        command add 1 0
        union 1 kind kind:2 name?:str | disk=3 empty=4
        enum 2 disk empty
        object 3 size:int
        object 4
        """,
        {"add.arg": "Thing", "add.arg.kind": "Kind"},
    )
    thing = wire.ThingDisk(size=1, name="x")
    assert encode(thing) == {"kind": "disk", "size": 1, "name": "x"}
    assert encode(wire.ThingEmpty()) == {"kind": "empty"}
    assert encode(wire.Add(options=thing)) == encode(thing)
    assert get_args(wire.Thing) == (wire.ThingDisk, wire.ThingEmpty)
    assert get_args(wire.Kind) == ("disk", "empty")


NESTED = """
    command query 0 [1]
    union 1 transport transport:2 | socket=3 exec=6
    enum 2 socket exec
    union 3 type type:4 timeout?:int | unix=5 fd=7
    enum 4 unix fd
    object 5 path:str
    object 6 argv:[str]
    object 7 str:str
"""
NESTED_NAMES = {
    "query.ret[]": "Address",
    "query.ret[].transport": "Transport",
    "query.ret[]{transport=socket}.type": "SocketType",
}


def test_a_union_inside_a_union_has_a_class_for_each_combination(generate: Generate) -> None:
    wire = generate(NESTED, NESTED_NAMES)
    unix = wire.AddressSocketUnix(path="/p", timeout=3)
    assert encode(unix) == {"transport": "socket", "type": "unix", "path": "/p", "timeout": 3}
    reply = [encode(unix), encode(wire.AddressExec(argv=["a"]))]
    assert decode_reply(wire.Query(), reply) == [unix, wire.AddressExec(argv=["a"])]


def test_a_branch_that_no_snapshot_has_is_kept_in_a_reply(generate: Generate) -> None:
    wire = generate(NESTED, NESTED_NAMES)
    (found,) = decode_reply(wire.Query(), [{"transport": "carrier-pigeon", "wings": 2}])
    assert isinstance(found, Unknown)
    assert found.members == {"transport": "carrier-pigeon", "wings": 2}


def test_a_union_that_is_only_sent_takes_no_unknown_branch(generate: Generate) -> None:
    wire = generate(
        "command add 1 0\nunion 1 t t:2 | a=0\nenum 2 a", {"add.arg": "U", "add.arg.t": "T"}
    )
    assert wire.U is wire.UA


def test_an_alternate_takes_each_of_its_types(generate: Generate) -> None:
    wire = generate(
        """
        command add 1 0
        object 1 backing?:2
        alternate 2 3 str null
        object 3 file:str backing?:2
        """,
        {"add.arg.backing": "RefOrNull", "add.arg.backing<object>": "Definition"},
    )
    inner = wire.Definition(file="x", backing=NULL)
    assert encode(wire.Add(backing=inner)) == {"backing": {"file": "x", "backing": None}}
    assert encode(wire.Add(backing="node")) == {"backing": "node"}
    assert encode(wire.Add()) == {}
    assert decode(wire.Add, {"backing": {"file": "x", "backing": None}}).backing == inner


def test_arrays_of_arrays_keep_their_shape(generate: Generate) -> None:
    wire = generate(
        "command query 1 [[2]]\nobject 1 grid:[[int]]\nobject 2 x:int", {"query.ret[][]": "Cell"}
    )
    assert encode(wire.Query(grid=[[1], [2, 3]])) == {"grid": [[1], [2, 3]]}
    (row,) = decode_reply(wire.Query(grid=[]), [[{"x": 1}]])
    assert list(row) == [wire.Cell(x=1)]


def test_keywords_and_irregular_names_become_attributes_and_go_back(generate: Generate) -> None:
    wire = generate("command add 1 0\nobject 1 from:str node-name:str iops_rd?:int str?:bool", {})
    command = wire.Add(from_="a", node_name="b", iops_rd=1, str_=True)
    assert encode(command) == {"from": "a", "node-name": "b", "iops_rd": 1, "str": True}
    assert decode(wire.Add, encode(command)) == command


def test_a_command_and_its_argument_type_of_one_name_are_one_class(generate: Generate) -> None:
    wire = generate(
        """
        command bitmap-add 1 0
        command transaction 2 0
        object 1 node:str
        object 2 actions:[3]
        union 3 type type:4 | bitmap-add=5
        enum 4 bitmap-add
        object 5 data:1
        """,
        {
            "transaction.arg.actions[]": "Action",
            "transaction.arg.actions[].type": "ActionKind",
            "transaction.arg.actions[]{type=bitmap-add}.data": "BitmapAdd",
        },
    )
    action = wire.ActionBitmapAdd(data=wire.BitmapAdd(node="n"))
    assert encode(action) == {"type": "bitmap-add", "data": {"node": "n"}}


def test_an_empty_reply_is_none_and_an_empty_type_elsewhere_a_class(generate: Generate) -> None:
    wire = generate("command go 1 0\nobject 1 data:2\nobject 2", {"go.arg.data": "Nothing"})
    assert decode_reply(wire.Go(data=wire.Nothing()), {}) is None
    assert encode(wire.Go(data=wire.Nothing())) == {"data": {}}


def test_a_deprecated_command_warns_who_constructs_it(generate: Generate) -> None:
    wire = generate("command old 0 0 deprecated", {}, replaced={"old": "new"})
    with pytest.warns(DeprecationWarning, match="QEMU deprecates `old`; use `new`"):
        wire.Old()


def test_marks_of_members_and_values_are_in_docstring_and_annotation(generate: Generate) -> None:
    wire = generate(
        """
        command add 1 0 unstable
        object 1 x-a?:int:unstable b?:str:deprecated c?:2
        enum 2 fine poor:deprecated
        """,
        {"add.arg.c": "Quality"},
    )
    annotations = wire.Add.__annotations__
    assert annotations["x_a"] == "Unstable[int | None]"
    assert annotations["b"] == "Deprecated[str | None]"
    assert "Unstable: `x_a`." in wire.Add.__doc__
    assert "Deprecated: `b`." in wire.Add.__doc__
    assert "Unstable: QEMU may change" in wire.Add.__doc__


def test_a_command_that_is_open_has_a_field_for_the_rest(generate: Generate) -> None:
    wire = generate(
        "command device_add 1 0\nobject 1 driver:str", {}, open={"device_add": "properties"}
    )
    assert wire.DeviceAdd._rest == "properties"
    assert wire.DeviceAdd(driver="x", properties={"a": 1}).properties == {"a": 1}


def test_events_are_classes_with_their_data(generate: Generate) -> None:
    wire = generate("event JOB_DONE 1\nobject 1 id:str", {})
    assert wire.JobDone._name == "JOB_DONE"
    assert decode(wire.JobDone, {"id": "j"}) == wire.JobDone(id="j")


def test_the_package_loads_a_domain_when_first_asked_for_a_name(generate: Generate) -> None:
    wire = generate("command go 0 0", {})
    assert "everything" not in vars(wire)
    assert wire.Go is wire.Go
    assert dir(wire) == ["Go", "available_in"]
    with pytest.raises(AttributeError, match="Stop"):
        _ = wire.Stop
