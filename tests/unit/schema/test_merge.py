"""Several schemas become one, and each part knows which of them have it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qemu_blocksdk.schema.config import ConfigError, NameClash, Stale, UnnamedType
from qemu_blocksdk.schema.merged import EnumType, Merged, StructType, UnionType
from qemu_blocksdk.schema.package import exceptions, render

Bind = Callable[..., Merged]

OLD, NEW = "system-1.0", "system-2.0"


def struct(merged: Merged, name: str) -> StructType:
    found = next(each for each in merged.modules[0].types if each.name == name)
    assert isinstance(found, StructType)
    return found


def shape(found: StructType) -> dict[str, tuple[str, bool, int]]:
    return {f.python: (f.annotation, f.optional, f.mask) for f in found.fields}


def test_types_are_the_same_by_path_though_their_masked_names_differ(bind_small: Bind) -> None:
    merged = bind_small(
        {
            OLD: "command query 0 [7]\nobject 7 id:str state:8\nenum 8 on",
            NEW: "command query 0 [3]\nobject 3 id:str state:7\nenum 7 on off",
        },
        {"query.ret[]": "Info", "query.ret[].state": "State"},
    )
    assert [each.name for each in merged.modules[0].types] == ["Info", "State"]
    assert shape(struct(merged, "Info"))["state"] == ("State", False, 0b11)


def test_a_member_that_some_snapshot_lacks_is_optional_and_says_who_has_it(
    bind_small: Bind,
) -> None:
    merged = bind_small(
        {
            OLD: "command query 0 1\nobject 1 gone:int kept:int loose:int",
            NEW: "command query 0 1\nobject 1 kept:int loose?:int fresh:str",
        },
        {"query.ret": "Info"},
    )
    assert shape(struct(merged, "Info")) == {
        "kept": ("int", False, 0b11),
        "loose": ("int", True, 0b11),
        "fresh": ("str", True, 0b10),
        "gone": ("int", True, 0b01),
    }
    assert exceptions(merged) == {"Info.fresh": 0b10, "Info.gone": 0b01}


def test_values_branches_commands_and_events_say_who_has_them(bind_small: Bind) -> None:
    merged = bind_small(
        {
            OLD: "command add 1 0\nunion 1 t t:2 | a=0\nenum 2 a",
            NEW: """
                command add 1 0
                command go 0 0
                event GONE 0
                union 1 t t:2 | a=0 b=3
                enum 2 a b
                object 3 x:int
            """,
        },
        {"add.arg": "U", "add.arg.t": "T"},
    )
    assert exceptions(merged) == {"T=b": 0b10, "UB": 0b10, "Go": 0b10, "Gone": 0b10}
    (union,) = [each for each in merged.modules[0].types if isinstance(each, UnionType)]
    assert [branch.mask for branch in union.branches] == [0b11, 0b10]


def test_a_part_without_an_exception_is_where_its_owner_is(bind_small: Bind) -> None:
    merged = bind_small(
        {OLD: "command old 0 0", NEW: "command query 0 1\nobject 1 a:int"}, {"query.ret": "Info"}
    )
    assert exceptions(merged) == {"Info": 0b10, "Old": 0b01, "Query": 0b10}


def test_an_object_that_became_a_union_is_one_in_all_snapshots(bind_small: Bind) -> None:
    merged = bind_small(
        {
            OLD: "command query 0 1\nobject 1 kind:str size:int",
            NEW: """
                command query 0 1
                union 1 kind kind:2 size:int | disk=3
                enum 2 disk
                object 3 heads:int
            """,
        },
        {"query.ret": "Info", "query.ret.kind": "Kind"},
    )
    (union,) = [each for each in merged.modules[0].types if isinstance(each, UnionType)]
    (disk,) = union.branches
    assert disk.mask == 0b11
    assert [(f.wire, f.optional) for f in disk.fields] == [("size", False), ("heads", True)]


def test_features_are_those_of_the_newest_snapshot(bind_small: Bind) -> None:
    merged = bind_small(
        {
            OLD: "command query 0 1\nobject 1 a:int:unstable b:int c:2\nenum 2 x y:deprecated",
            NEW: "command query 0 1\nobject 1 a:int b:int:deprecated c:2\nenum 2 x",
        },
        {"query.ret": "Info", "query.ret.c": "C"},
    )
    fields = {f.python: f.features for f in struct(merged, "Info").fields}
    assert fields == {"a": frozenset(), "b": {"deprecated"}, "c": frozenset()}
    (enum,) = [each for each in merged.modules[0].types if isinstance(each, EnumType)]
    assert enum.features["y"] == {"deprecated"}


def test_a_type_takes_the_name_of_its_counterpart_where_its_own_path_is_missing(
    bind_small: Bind,
) -> None:
    merged = bind_small(
        {
            OLD: "command more 0 4\nobject 4 x:int",
            NEW: "command query 0 1\ncommand more 0 1\nobject 1 x:int",
        },
        {"query.ret": "Info"},
    )
    assert struct(merged, "Info").mask == 0b11


def test_an_entry_for_newer_versions_leaves_older_ones_alone(bind_small: Bind) -> None:
    merged = bind_small(
        {
            OLD: "command query 0 1\nobject 1 a:int again?:1",
            NEW: "command query 0 1\nobject 1 a:int again?:2\nobject 2 b:int",
        },
        {"query.ret": "Info", "query.ret.again@2.0": "Again"},
    )
    assert shape(struct(merged, "Info"))["again"] == ("Again", True, 0b11)
    assert shape(struct(merged, "Again")) == {"b": ("int", False, 0b10)}


def test_a_type_without_a_name_is_an_error_that_gives_the_path(bind_small: Bind) -> None:
    with pytest.raises(UnnamedType) as caught:
        bind_small("command query 0 [1]\nobject 1 state:2\nenum 2 on", {"query.ret[]": "Info"})
    assert caught.value.subjects == ("query.ret[].state",)


def test_two_types_that_claim_one_name_are_an_error(bind_small: Bind) -> None:
    with pytest.raises(NameClash, match="Info") as caught:
        bind_small(
            "command query 0 1\nobject 1 a:2\nobject 2 b:int",
            {"query.ret": "Info", "query.ret.a": "Info"},
        )
    assert caught.value.subjects == ("query.ret.a",)


def test_two_names_for_one_type_are_an_error(bind_small: Bind) -> None:
    with pytest.raises(NameClash, match="Info and Other"):
        bind_small(
            "command query 0 1\ncommand more 0 1\nobject 1 b:int",
            {"query.ret": "Info", "more.ret": "Other"},
        )


def test_an_entry_that_matches_nothing_is_an_error(bind_small: Bind) -> None:
    for path in ("query.ret.b", "query.ret.a", "gone.ret", "query.ret{a=b}"):
        with pytest.raises(Stale) as caught:
            bind_small("command query 0 1\nobject 1 a:int", {"query.ret": "I", path: "X"})
        assert caught.value.subjects == (path,)


def test_an_event_named_like_a_command_is_an_error_until_renamed(bind_small: Bind) -> None:
    small = "command stop 0 0\nevent STOP 0"
    with pytest.raises(NameClash, match="Stop"):
        bind_small(small, {})
    merged = bind_small(small, {}, rename={"STOP": "StopEvent"})
    assert exceptions(merged) == {}
    assert [event.name for event in merged.modules[0].events] == ["StopEvent"]


def test_a_branch_named_like_another_class_is_an_error(bind_small: Bind) -> None:
    names = {"add.arg": "U", "add.arg.t": "T"}
    for branch in ("add", "struct"):
        small = f"command add 1 0\nunion 1 t t:2 | {branch}=0\nenum 2 {branch}"
        with pytest.raises(NameClash, match=branch.capitalize()):
            bind_small(small, names, branches={"U": "{branch}"})


def test_a_member_that_makes_no_attribute_is_an_error(bind_small: Bind) -> None:
    with pytest.raises(ConfigError, match="9p"):
        bind_small("command add 1 0\nobject 1 9p:int", {})


def test_what_is_generated_does_not_depend_on_the_order_of_anything(bind_small: Bind) -> None:
    small = "command query 0 1\nobject 1 a:2 b:3\nenum 2 x\nenum 3 y"
    names = {"query.ret": "I", "query.ret.a": "A", "query.ret.b": "B"}
    shuffled = "\n".join(reversed(small.splitlines()))
    backwards = dict(reversed(names.items()))
    assert render(bind_small(small, names)) == render(bind_small(shuffled, backwards))
