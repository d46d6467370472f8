"""Values: immutable, compared by content, attrs classes."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import cast

import attrs
import pytest
from attrs.exceptions import FrozenInstanceError

from qemu_blocksdk.blockdev import NULL, File, Qcow2
from qemu_blocksdk.codec import Event, Struct, Value, decode, encode, evolve
from qemu_blocksdk.filters import Pipeline, replace
from qemu_blocksdk.wire import BlockdevAdd, JobStatusChange

# mypy's plug-in takes only classes that attrs' own decorators made.
EVOLVE = cast("Callable[..., Struct]", attrs.evolve)


class Point(Value):
    x: int
    y: int = 0


class Cache(StrEnum):
    SAFE = "unmap"


def test_a_value_is_compared_hashed_and_shown_by_content() -> None:
    assert Point(x=1) == Point(x=1, y=0) != Point(x=2)
    assert len({Point(x=1), Point(x=1)}) == 1
    assert repr(Point(x=1)) == "Point(x=1, y=0)"


def test_a_list_and_a_tuple_are_the_same_content() -> None:
    assert JobStatusChange(id="a", status="ready") == JobStatusChange(id="a", status="ready")


def test_a_value_cannot_be_changed() -> None:
    point = Point(x=1)
    with pytest.raises(FrozenInstanceError, match=r"^Point is frozen: cannot set 'x'; evolve\(\)"):
        point.x = 2  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(FrozenInstanceError, match=r"^Point is frozen: cannot delete 'x'"):
        del point.x  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.timeout(120)
def test_attrs_metadata_changes_no_value_class_of_the_package() -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("value_walk.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = cast("dict[str, object]", json.loads(done.stdout))
    assert cast("int", report.pop("classes")) > 500
    assert report.pop("frozen") == []  # there is a report
    assert not any(report.values()), report


def test_a_value_can_be_copied_and_pickled() -> None:
    options = Qcow2(file=File(filename="a"), backing=NULL)
    for again in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert again == options
        assert again.backing is NULL


def test_a_value_is_an_attrs_class() -> None:
    assert [field.name for field in attrs.fields(Point)] == ["x", "y"]
    assert attrs.asdict(Point(x=1)) == {"x": 1, "y": 0}
    assert EVOLVE(Point(x=1), y=2) == Point(x=1, y=2)
    assert EVOLVE(File(filename="a"), discard="unmap") == File(filename="a", discard="unmap")
    assert File(filename="b").discard is None
    assert attrs.has(Point)
    assert not attrs.has(Value)


def test_evolve_returns_a_copy_with_other_members() -> None:
    point = Point(x=1)
    assert point.evolve(y=2) == Point(x=1, y=2)
    assert point == Point(x=1)
    assert evolve(point, x=3) == Point(x=3)


def test_evolve_computes_again_what_is_computed_once() -> None:
    pipeline = Pipeline(parts=(replace("a", by="b"), replace("c", by="d")))
    assert pipeline("ac") == "bd"
    assert pipeline.evolve(parts=(replace("a", by="B"),))("ac") == "Bc"


@pytest.mark.parametrize("evolve", [evolve, EVOLVE], ids=["our evolve", "attrs.evolve"])
def test_members_of_a_newer_qemu_survive(evolve: Callable[..., Struct]) -> None:
    newer = decode(File, {"driver": "file", "filename": "a", "colour": "green"})
    changed = evolve(newer, filename="b")
    assert changed.unknown_members == {"colour": "green"}
    assert encode(changed) == {"driver": "file", "filename": "b", "colour": "green"}
    assert repr(changed) == "File(filename='b', unknown_members={'colour': 'green'})"
    assert evolve(changed, unknown_members={}) == File(filename="b")


def test_members_of_a_newer_qemu_can_be_given() -> None:
    given = File(filename="a", unknown_members={"colour": "green"})
    assert given == decode(File, encode(given)) != File(filename="a")
    assert encode(BlockdevAdd(options=given, unknown_members={"size": 1})) == {
        **encode(given),
        "size": 1,
    }
    assert File(filename="a", unknown_members={}) == File(filename="a")


def test_a_value_shows_its_members_in_the_order_of_its_class() -> None:
    assert repr(Point(y=2, x=1)) == "Point(x=1, y=2)"
    assert str(inspect.signature(Point)) == "(*, x: 'int', y: 'int' = 0)"


def test_a_wrong_call_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^Point needs x$"):
        Point()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match=r"^Point has no member 'z'$"):
        Point(x=1, z=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="'node-nam'; did you mean 'node_name'"):
        File(filename="a", **{"node-nam": "disk"})  # type: ignore[arg-type] # pyright: ignore
    with pytest.raises(TypeError, match=r"'filenam'; did you mean 'filename'\?$"):
        File(filename="a").evolve(filenam="b")  # type: ignore[call-arg] # pyright: ignore
    with pytest.raises(TypeError, match=r"^Point has no member 'unknown_members'$"):
        Point(x=1, unknown_members={})  # type: ignore[call-arg] # pyright: ignore
    with pytest.raises(TypeError, match="positional argument"):
        Point(1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("base", [Struct, Event, Value])
def test_a_base_cannot_be_made(base: type[Value]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        base()
    assert JobStatusChange(id="a", status="running").id == "a"


def test_a_value_class_cannot_be_extended() -> None:
    with pytest.raises(TypeError, match="Point is final"):
        type("Sub", (Point,), {})


def test_threads_that_need_a_class_first_at_once_all_get_it_whole() -> None:
    for _ in range(20):

        class Fresh(Value):
            name: str
            size: int | None = None

        def make(number: int, cls: type[Fresh] = Fresh) -> Fresh:
            return cls(name=str(number))

        with ThreadPoolExecutor(8) as pool:
            assert [value.size for value in pool.map(make, range(8))] == [None] * 8


def test_a_member_of_a_string_enum_is_its_value() -> None:
    options = Qcow2(file="f", discard=Cache.SAFE)  # type: ignore[arg-type] # pyright: ignore
    assert encode(options)["discard"] == "unmap"
    assert type(encode(options)["discard"]) is str
