"""What filters compose to."""

from collections.abc import Callable, Iterator
from typing import assert_type, final

from qemu_blocksdk.codec import JsonValue
from qemu_blocksdk.filters import (
    Filter,
    Message,
    Pipeline,
    chown_ids,
    event_timestamp,
    lift,
    ordered,
    stream,
    test_dir,
    value_at,
)

texts = chown_ids | test_dir("scratch")
assert_type(texts, Pipeline[str])
assert_type(texts("chown 1:2"), str)
assert_type(stream(["chown 1:2\n"], texts), Iterator[str])

messages = lift(texts) | event_timestamp | ordered() | value_at("data/offset", by=None)
assert_type(messages, Pipeline[Message])
event: dict[str, JsonValue] = {"event": "STOP"}
assert_type(messages(event), Message)
either: list[Filter[str]] = [texts, chown_ids]
plain: Callable[[str], str] = texts


@final
class Upper(Filter[str]):
    """One's own."""

    def __call__(self, value: str) -> str:
        """Return it in upper case."""
        return value.upper()


assert_type(Upper() | texts, Pipeline[str])
