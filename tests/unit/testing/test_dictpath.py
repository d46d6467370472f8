"""Paths into messages: they find what is there, and say what is not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing.dictpath import dictpath

REPLY: JsonObject = {
    "return": [
        {"device": "drive0", "inserted": {"image": {"format": "qcow2", "backing": None}}},
        {"device": "drive1", "empty": {}},
    ]
}

names = st.text(min_size=1, max_size=5).filter(lambda name: not set(name) & set("[]/"))
leaves = st.none() | st.booleans() | st.integers() | st.text()
members = st.recursive(
    leaves,
    lambda inner: st.dictionaries(names, inner | st.lists(inner, max_size=3), max_size=4),
    max_leaves=20,
)


def places(json: JsonValue, way: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Every place of a message, by each of its paths."""
    for name, value in json.items() if isinstance(json, dict) else ():
        path = f"{way}/{name}" if way else name
        yield path, value
        yield from places(value, path)
        items = value if isinstance(value, list) else []
        for index, item in enumerate(items):
            for at in (index, index - len(items)):
                yield f"{path}[{at}]", item
                yield from places(item, f"{path}[{at}]")


@given(members)
def test_every_place_of_a_message_is_found(message: JsonValue) -> None:
    for path, value in places(message):
        assert dictpath(message, path) is value


@given(members, names)
def test_nothing_else_is(message: JsonValue, name: str) -> None:
    if not isinstance(message, dict) or name not in message:
        with pytest.raises(AssertionError, match="is not there"):
            dictpath(message, name)


def test_a_null_is_there() -> None:
    assert dictpath(REPLY, "return[0]/inserted/image/backing") is None
    with pytest.raises(AssertionError):
        dictpath(REPLY, "return[0]/inserted/backing")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("error/class", "the message has no 'error', only 'return'"),
        ("return[2]/device", "'return' has no [2], it is a list of 2"),
        ("return[-3]", "'return' has no [-3], it is a list of 2"),
        ("return/device", "'return' has no 'device', it is a list of 2"),
        ("return[1]/empty/x", "'return[1]/empty' has no 'x', nothing at all"),
        ("return[0]/device/x", "'return[0]/device' has no 'x', it is \"drive0\""),
        ("return[0]/device[0]", "'return[0]/device' has no [0], it is \"drive0\""),
        ("return[0]/inserted/image/backing/x", "backing' has no 'x', it is null"),
        (
            "return[0]/inserted/imag/format",
            "'return[0]/inserted' has no 'imag', only 'image'; did you mean 'image'?",
        ),
    ],
)
def test_what_is_not_there_is_explained(path: str, what: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(what)) as caught:
        dictpath(REPLY, path)
    assert str(caught.value).startswith(f"'{path}' is not there: ")
    assert '"drive1"' in str(caught.value), "the message is shown"


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "a[x]", "a[]", "a[1", "a]", "[0]", "a[0]b", "a[0][1]", "a[1.0]"],
)
def test_what_is_no_path_is_refused_whatever_the_message(path: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(path))) as caught:
        dictpath({}, path)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_like_none_is_not_guessed() -> None:
    with pytest.raises(AssertionError, match=r"the message has no 'a', only 'b'\n"):
        dictpath({"b": 1}, "a")


@pytest.mark.parametrize("message", [None, 5, "text", [1], True])
def test_what_is_no_object_has_nothing(message: JsonValue) -> None:
    with pytest.raises(AssertionError, match="the message has no 'a'"):
        dictpath(message, "a")


def test_a_large_message_is_cut_and_a_secret_not_shown() -> None:
    large = {f"name{number}": "x" * 100 for number in range(1000)}
    with pytest.raises(AssertionError) as caught:
        dictpath({**large, "password": "hush"}, "a")
    assert len(str(caught.value)) < 1000
    with pytest.raises(AssertionError) as caught:
        dictpath({"password": "hush"}, "a")
    assert "hush" not in str(caught.value)
