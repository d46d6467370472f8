"""`log`: strings and QMP messages, after filters, over standard logging."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from types import MappingProxyType

import pytest

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing import log


def logged(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    return record.getMessage()


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_string_is_logged_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    log("100%s of {a}\n\r")
    assert logged(caplog) == "100%s of {a}\n\r"
    assert caplog.records[0].name == "qemu_blocksdk.testing"


def test_a_message_is_one_line_with_its_keys_sorted(caplog: pytest.LogCaptureFixture) -> None:
    log({"return": {"z": None, "a": [1, True, 0.5, "ü"]}, "id": "1"})
    assert logged(caplog) == (r'{"id": "1", "return": {"a": [1, true, 0.5, "\u00fc"], "z": null}}')


def test_an_ordered_message_keeps_its_order(caplog: pytest.LogCaptureFixture) -> None:
    message: JsonObject = OrderedDict((("execute", "stop"), ("arguments", {"b": 1, "a": 2})))
    log(message)
    assert logged(caplog) == '{"execute": "stop", "arguments": {"b": 1, "a": 2}}'


def test_what_a_filter_orders_keeps_its_order(caplog: pytest.LogCaptureFixture) -> None:
    def reverse(message: JsonObject) -> JsonObject:
        return OrderedDict(sorted(message.items(), reverse=True))

    log({"a": 1, "b": 2}, filters=[reverse])
    assert logged(caplog) == '{"b": 2, "a": 1}'


def test_a_list_and_other_mappings_are_messages_too(caplog: pytest.LogCaptureFixture) -> None:
    log([MappingProxyType({"b": (1, 2), "a": {}})])
    assert logged(caplog) == '[{"a": {}, "b": [1, 2]}]'


def test_an_indented_message_is_several_lines(caplog: pytest.LogCaptureFixture) -> None:
    log({"b": [1], "a": {}}, indent=2)
    assert logged(caplog) == '{\n  "a": {},\n  "b": [\n    1\n  ]\n}'


def test_filters_run_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    log("a", filters=(lambda text: text + "b", lambda text: text * 2))
    assert logged(caplog) == "abab"


def test_the_logger_is_an_argument(caplog: pytest.LogCaptureFixture) -> None:
    log("a", logger=logging.getLogger("qemu.iotests.diff_io"))
    assert caplog.records[0].name == "qemu.iotests.diff_io"


def circular() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


def deep() -> list[object]:
    items: list[object] = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"a": b"x"}, "a bytes in it has none"),
        ({"a": 1, 2: 3}, "no JSON form"),
        (circular(), "Circular"),
        (deep(), "nested too deeply"),
        (b"text", "a bytes is no message"),
        (None, "a NoneType is no message"),
    ],
    ids=["bytes", "keys", "circular", "deep", "no text", "nothing"],
)
def test_what_has_no_json_form_is_a_clear_error(
    message: Sequence[JsonValue], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match=what):
        log(message)
    assert caplog.records == []
