"""The version gate: what a QEMU would refuse is told before it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.schema import Problem, Schema, snapshots

Introspect = Callable[[str], list[dict[str, object]]]

BLOCKDEV = """
    command blockdev-add 1 0
    union 1 driver driver:2 node-name?:str | file=3 qcow2=4
    enum 2 file qcow2
    object 3 filename:str size?:int ratio?:number
    object 4 file:5 backing?:6 flags?:[int] extra?:any pairs?:[[8]]
    alternate 5 1 str
    alternate 6 1 str null
    object 8 key:str
    command device_add 7 0
    object 7 driver:str
    command connect 9 0
    union 9 transport transport:10 | socket=11
    enum 10 socket
    union 11 type type:12 | unix=13
    enum 12 unix
    object 13 path:str
    event STOP 0
"""


@pytest.fixture
def schema(introspect: Introspect) -> Schema:
    return Schema.from_json(introspect(BLOCKDEV))


FILE: dict[str, object] = {"driver": "file", "filename": "x"}


def qcow2(**members: object) -> dict[str, object]:
    return {"driver": "qcow2", "file": FILE, **members}


@pytest.mark.parametrize(
    "arguments",
    [
        FILE,
        {**FILE, "node-name": "a", "size": 1, "ratio": 0.5},
        {**FILE, "ratio": 1},
        qcow2(),
        qcow2(file="node", backing=None),
        qcow2(backing=qcow2(backing="base"), flags=[1, 2]),
        qcow2(flags=(1, 2)),
        qcow2(extra={"anything": [None, 1.5, "at all"]}),
        qcow2(pairs=[[{"key": "a"}], []]),
    ],
)
def test_arguments_that_fit_have_no_problem(schema: Schema, arguments: dict[str, object]) -> None:
    assert schema.problem("blockdev-add", arguments) is None


@pytest.mark.parametrize(
    ("arguments", "kind", "where"),
    [
        ({}, "missing", "driver"),
        ({"driver": "nbd"}, "value", "driver"),
        ({"driver": 1}, "type", "driver"),
        ({"driver": ["file"]}, "type", "driver"),
        ({"driver": "file"}, "missing", "filename"),
        ({**FILE, "locking": "on"}, "member", "locking"),
        ({**FILE, "node_name": "a"}, "member", "node_name"),
        ({**FILE, "size": True}, "type", "size"),
        ({**FILE, "size": "64M"}, "type", "size"),
        ({**FILE, "size": 1.0}, "type", "size"),
        ({**FILE, "node-name": None}, "type", "node-name"),
        (qcow2(filename="x"), "member", "filename"),
        (qcow2(file={**FILE, "locking": "on"}), "member", "file.locking"),
        (qcow2(file=None), "type", "file"),
        (qcow2(backing=qcow2(file={"driver": "file"})), "missing", "backing.file.filename"),
        (qcow2(flags=[1, "2"]), "type", "flags.1"),
        (qcow2(flags={"0": 1}), "type", "flags"),
        (qcow2(pairs=[[], [{"key": "a"}, {"kee": "a"}]]), "member", "pairs.1.1.kee"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(
    schema: Schema, arguments: dict[str, object], kind: str, where: str
) -> None:
    problem = schema.problem("blockdev-add", arguments)
    assert problem is not None
    assert (problem.kind, problem.where) == (kind, f"blockdev-add: {where}")
    assert problem.path == ("blockdev-add", *where.split("."))
    assert str(problem).startswith(f"blockdev-add: {where}: ")


def test_an_unknown_command_is_a_problem(schema: Schema) -> None:
    for name in ("blockdev-del", "STOP", "1"):
        problem = schema.problem(name, {})
        assert problem is not None
        assert (problem.kind, problem.path) == ("command", (name,))


def test_a_union_inside_a_union_is_followed(schema: Schema) -> None:
    address = {"transport": "socket", "type": "unix"}
    assert schema.problem("connect", {**address, "path": "/p"}) is None
    assert str(schema.problem("connect", address)) == "connect: path: mandatory member is missing"
    assert "'inet' is none of unix" in str(schema.problem("connect", {**address, "type": "inet"}))


def test_device_add_takes_the_properties_of_the_device(schema: Schema) -> None:
    assert schema.problem("device_add", {"driver": "virtio-blk", "drive": "d"}) is None
    problem = schema.problem("device_add", {"drive": "d"})
    assert problem is not None
    assert problem.kind == "missing"


def test_no_value_but_an_unknown_enum_value_is_repeated(schema: Schema) -> None:
    problem = schema.problem("blockdev-add", {"driver": "file", "filename": ["geheim"]})
    assert str(problem) == "blockdev-add: filename: expected string, found array"
    assert "geheim" not in repr(problem)


def test_a_chain_deeper_than_the_stack_of_python_is_walked(schema: Schema) -> None:
    chain: object = {"driver": "file", "filename": "x", "oops": 1}
    for _ in range(5_000):
        chain = {"driver": "qcow2", "file": "f", "backing": chain}
    assert isinstance(chain, dict)
    problem = schema.problem("blockdev-add", chain)
    assert problem is not None
    assert len(problem.path) == 5_002
    assert problem.path[-1] == "oops"


def test_questions_about_commands_and_events(introspect: Introspect) -> None:
    entries = introspect("command go 0 0\ncommand urgent 0 0\nevent STOP 0")
    entries[1]["allow-oob"] = True
    schema = Schema.from_json(entries)
    assert schema.has_command("go")
    assert not schema.has_command("STOP")
    assert schema.has_event("STOP")
    assert not schema.has_event("go")
    assert schema.supports_oob("urgent")
    assert not schema.supports_oob("go")
    assert not schema.supports_oob("gone")


def test_enums_of_old_qemu_have_values_but_no_members() -> None:
    # QEMU before 6.2 sends no `members`; there is no snapshot that old.
    schema = Schema.from_json(
        [
            {"meta-type": "command", "name": "go", "arg-type": "1", "ret-type": "1"},
            {"meta-type": "object", "name": "1", "members": [{"name": "a", "type": "2"}]},
            {"meta-type": "enum", "name": "2", "values": ["on", "off"]},
        ]
    )
    assert schema.problem("go", {"a": "on"}) is None
    assert schema.problem("go", {"a": "auto"}) is not None


@pytest.mark.parametrize("reply", [None, {}, "text", [1], [{}], [{"name": 1}]])
def test_what_is_no_introspection_reply_is_refused(reply: object) -> None:
    with pytest.raises(UsageError):
        Schema.from_json(reply)


def test_a_kind_of_entity_that_is_not_asked_for_does_no_harm(introspect: Introspect) -> None:
    newer = {"meta-type": "from-the-future", "name": "x"}
    schema = Schema.from_json([newer, *introspect("command go 0 0")])
    assert schema.problem("go", {}) is None


def test_snapshots_are_listed_oldest_first_and_loaded_once() -> None:
    assert snapshots.available() == (
        "storage-daemon-7.2",
        "system-7.2",
        "storage-daemon-10.0",
        "system-10.0",
        "storage-daemon-11.1",
        "system-11.1",
    )
    assert snapshots.load("system-7.2") is snapshots.load("system-7.2")
    with pytest.raises(UsageError, match="system-10\\.0"):
        snapshots.load("system-1.0")


@pytest.mark.parametrize("name", snapshots.available())
def test_every_snapshot_says_which_binary_answered(name: str) -> None:
    content = json.loads((snapshots.DIRECTORY / f"{name}.json").read_text())
    binary, _, release = name.rpartition("-")
    assert content["meta"]["binary"] == binary
    assert content["meta"]["version"].startswith(f"{release}.")


def test_versions_tell_apart_what_they_take() -> None:
    arguments: dict[str, object] = {"driver": "qcow2", "file": "f", "discard-no-unref": True}
    found = {
        name: snapshots.load(name).problem("blockdev-add", arguments)
        for name in snapshots.available()
    }
    accepting = [name for name, problem in found.items() if problem is None]
    assert accepting == list(snapshots.available()[2:])
    refusal = found["system-7.2"]
    assert isinstance(refusal, Problem)
    assert str(refusal) == "blockdev-add: discard-no-unref: no such member"
