"""Filters of messages: every value, paths, order; what they were given stays as it is."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.codec import JsonValue
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.filters import (
    Filter,
    Message,
    Pipeline,
    chown_ids,
    each_value,
    event_timestamp,
    lift,
    ordered,
    replace,
    value_at,
    without,
)

KEYS = st.sampled_from(["a", "b_c", "timestamp", "data", "0"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab/\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)
MESSAGES = st.dictionaries(KEYS, VALUES, max_size=5)
AB = lift(replace("a", by="b"))
BC = lift(replace("b", by="cc"))
FILTERS = [
    *(AB, BC, AB | BC, event_timestamp, ordered(), ordered(dashes=False)),
    *(value_at("*/a", by=1), value_at("data", by="x"), without("data"), without("*/0")),
    each_value(lambda key, value: [key, str(type(value))]),
]


def plainly(value: JsonValue) -> JsonValue:
    """What lifting does, by recursion."""
    if isinstance(value, str):
        return value.replace("a", "b")
    if isinstance(value, Mapping):
        return {key: plainly(inner) for key, inner in value.items()}
    return [plainly(item) for item in value] if isinstance(value, list) else value


@given(message=MESSAGES)
def test_every_string_value_is_filtered_and_nothing_else(message: Message) -> None:
    assert AB(message) == plainly(message)


@given(message=MESSAGES, using=st.sampled_from(FILTERS))
def test_the_original_stays_as_it_is(message: Message, using: Filter[Message]) -> None:
    before = copy.deepcopy(message)
    using(message)
    assert message == before


@given(message=MESSAGES, parts=st.lists(st.sampled_from(FILTERS), max_size=5))
def test_a_pipeline_does_what_its_parts_do_one_after_the_other(
    message: Message, parts: list[Filter[Message]]
) -> None:
    done = message
    for part in parts:
        done = part(done)
    assert Pipeline(parts=tuple(parts))(message) == done


@given(message=MESSAGES)
def test_what_is_ordered_stays_so(message: Message) -> None:
    # A list's objects have their dashes by then, the outermost one's keys as well.
    once = ordered()(message)
    assert ordered()(once) == once
    assert list(once) == sorted(once)


def test_lifted_filters_walk_the_message_once() -> None:
    both = AB | BC
    assert isinstance(both, Pipeline)
    assert both._steps == (lift(replace("a", by="b") | replace("b", by="cc")),)
    assert both({"x": "a"}) == {"x": "cc"}
    apart = AB | event_timestamp | BC
    assert isinstance(apart, Pipeline)
    assert len(apart._steps) == 3


def test_a_message_nested_deeper_than_pythons_stack_is_filtered() -> None:
    depth = 100_000
    message: JsonValue = "a"
    for level in range(depth):
        message = [message] if level % 2 else {"a": message}
    for using in (AB, ordered(), each_value(lambda _key, _value: "b")):
        inner: object = using(cast("Message", message))
        for level in reversed(range(depth)):
            inner = (
                cast("list[object]", inner)[0]
                if level % 2
                else cast("dict[str, object]", inner)["a"]
            )
        assert inner == ("a" if using == ordered() else "b")


def test_a_list_of_messages_and_tuples_are_filtered_and_order_is_kept() -> None:
    done: object = AB(cast("Message", [{"x": "a"}, ("a",)]))
    assert done == [{"x": "b"}, ["b"]]
    assert isinstance(AB(OrderedDict(b="a", a="a")), OrderedDict)
    assert AB(MappingProxyType({"x": MappingProxyType({"a": "a"})})) == {"x": {"a": "b"}}


def test_keys_that_are_no_strings_stay_and_only_ordering_refuses_them() -> None:
    odd = cast("Message", {1: "a", None: ["a"]})
    done: object = AB(odd)
    assert done == {1: "b", None: ["b"]}
    with pytest.raises(UsageError, match="keys of a message are strings, not int: 1"):
        ordered()(odd)


def test_each_value_is_given_with_its_key_or_index() -> None:
    seen: list[tuple[object, object]] = []

    def note(key: str | int, value: JsonValue) -> JsonValue:
        seen.append((key, value))
        return value

    message: Message = {"a": [None, True], "b": {"c": 1.5}, "d": "x"}
    assert each_value(note)(message) == message
    assert sorted(seen, key=str) == [("c", 1.5), ("d", "x"), (0, None), (1, True)]


AT_PATHS: list[tuple[Filter[Message], Message]] = [
    (value_at("data/offset", by="OFFSET"), {"data": {"offset": "OFFSET", "l": [{"n": 1}, {}]}}),
    (value_at("data/none", by=0), {"data": {"offset": 512, "l": [{"n": 1}, {}]}}),
    (value_at("data/offset/x", by=0), {"data": {"offset": 512, "l": [{"n": 1}, {}]}}),
    (value_at("data/l/*/n", by=None), {"data": {"offset": 512, "l": [{"n": None}, {}]}}),
    (value_at("*", by=[]), {"data": []}),
    (without("data/l/0"), {"data": {"offset": 512, "l": [{}]}}),
    (without("data/l/*"), {"data": {"offset": 512, "l": []}}),
    (without("data/offset"), {"data": {"l": [{"n": 1}, {}]}}),
]


@pytest.mark.parametrize(("using", "expected"), AT_PATHS)
def test_a_path_leads_to_what_is_replaced_or_taken_out(
    using: Filter[Message], expected: Message
) -> None:
    message: Message = {"data": {"offset": 512, "l": [{"n": 1}, {}]}}
    assert using(message) == expected
    assert message == {"data": {"offset": 512, "l": [{"n": 1}, {}]}}


@pytest.mark.parametrize("path", ["", "/", "a//b", "/a", "a/"])
def test_a_path_with_an_empty_part_is_refused(path: str) -> None:
    message = f"the path '{path}' has an empty part"
    with pytest.raises(UsageError, match=message):
        without(path)
    with pytest.raises(UsageError, match=message):
        value_at(path, by=1)


@pytest.mark.parametrize("wrong", ["chown", b"x", None, 1])
def test_what_is_no_message_is_refused_by_name(wrong: object) -> None:
    for using in (lift(chown_ids), ordered(), event_timestamp, without("a")):
        with pytest.raises(
            UsageError, match=f"filter of messages was given {type(wrong).__name__}"
        ):
            using(cast("Message", wrong))


def test_a_text_filter_among_filters_of_messages_says_so_when_it_is_called() -> None:
    mixed = event_timestamp | cast("Filter[Message]", chown_ids)
    with pytest.raises(UsageError, match="a filter of text was given dict, not str"):
        mixed({})
