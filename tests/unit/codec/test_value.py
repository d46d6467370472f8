"""Values: frozen, compared by content, attrs classes for who looks for that."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import cast

import attrs
import pytest

from qemu_blocksdk.blockdev import NULL, File, Qcow2
from qemu_blocksdk.codec import Event, Struct, Value, encode
from qemu_blocksdk.wire import JobStatusChange


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
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError):
        del point.x  # pyright: ignore[reportAttributeAccessIssue]


def test_a_value_can_be_copied_and_pickled() -> None:
    options = Qcow2(file=File(filename="a"), backing=NULL)
    for again in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert again == options
        assert again.backing is NULL


def test_a_value_is_an_attrs_class() -> None:
    assert [field.name for field in attrs.fields(Point)] == ["x", "y"]
    assert attrs.asdict(Point(x=1)) == {"x": 1, "y": 0}
    # mypy's plug-in knows attrs' own decorators only.
    evolve = cast("Callable[..., object]", attrs.evolve)
    assert evolve(Point(x=1), y=2) == Point(x=1, y=2)
    assert evolve(File(filename="a"), discard="unmap") == File(filename="a", discard="unmap")
    assert File(filename="b").discard is None
    assert attrs.has(Point)


def test_a_value_shows_its_members_in_the_order_of_its_class() -> None:
    assert repr(Point(y=2, x=1)) == "Point(x=1, y=2)"
    assert str(inspect.signature(Point)) == "(*, x: 'int', y: 'int' = 0)"


def test_a_wrong_call_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^Point needs x$"):
        Point()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match=r"^Point has no member 'z'$"):
        Point(x=1, z=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
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
