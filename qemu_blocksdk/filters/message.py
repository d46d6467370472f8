"""Filters of QMP messages: of every value in them, of what a path leads to, of the order of keys.

A filter copies what it changes, and every walk keeps its own stack: a message may be nested
deeper than Python's goes. Where a message is asked for, a list of messages does as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias, cast, final

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import UsageError

from .filter import Filter
from .text import of_each

Message: TypeAlias = JsonObject
"""A QMP message as decoded JSON: a command, a reply, an event, or a part of one."""
_Container: TypeAlias = dict[str | int, JsonValue]
"""An object; or a list, which is used like one whose keys are the indices."""
_Change: TypeAlias = Callable[[str | int, JsonValue], JsonValue]


class MessageFilter(Filter[Message]):
    """Base of the filters of messages."""

    _is_base: ClassVar[bool] = True

    def __call__(self, value: Message) -> Message:
        copy = _copy(value)
        if copy is None:
            raise UsageError(f"a filter of messages was given {type(value).__name__}")
        return cast("Message", self._changed(copy))

    def _changed(self, message: _Container) -> _Container:
        """Return the message, which is a shallow copy already, with its changes."""
        raise NotImplementedError


@final
class _Lifted(MessageFilter):
    text: Filter[str]

    def _changed(self, message: _Container) -> _Container:
        places = [
            (holder, key, value)
            for holder, key, value in _scalars(message)
            if isinstance(value, str)
        ]
        texts = list(dict.fromkeys([text for _, _, text in places]))
        changed = dict(zip(texts, of_each(texts, self.text), strict=True))
        for holder, key, text in places:
            holder[key] = changed[text]
        return message

    def _fused(self, following: Filter[Message]) -> Filter[Message] | None:
        return _Lifted(text=self.text | following.text) if isinstance(following, _Lifted) else None


@final
class _EachValue(MessageFilter):
    change: _Change

    def _changed(self, message: _Container) -> _Container:
        for holder, key, value in _scalars(message):
            holder[key] = self.change(key, value)
        return message


@final
class _ValueAt(MessageFilter):
    path: str
    by: JsonValue

    def _changed(self, message: _Container) -> _Container:
        for holder, key in _places(message, self.path):
            holder[key] = self.by
        return message


@final
class _Without(MessageFilter):
    path: str

    def _changed(self, message: _Container) -> _Container:
        # The last first: what stands behind it in a list moves up.
        for holder, key in reversed(list(_places(message, self.path))):
            del holder[key]
        return message


@final
class EventTimestamp(MessageFilter):
    """The time at which an event was sent."""

    def _changed(self, message: _Container) -> _Container:
        for holder, key in _places(message, "timestamp"):
            time = _copy(holder[key])
            if isinstance(time, dict):
                holder[key] = cast(
                    "JsonObject", {**time, "seconds": "SECS", "microseconds": "USECS"}
                )
        return message


@final
class _Ordered(MessageFilter):
    dashes: bool

    def _changed(self, message: _Container) -> _Container:
        whole: _Container = {}
        todo: list[tuple[_Container, str | int, JsonValue, bool]] = [
            (whole, 0, cast("JsonValue", message), self.dashes)
        ]
        for holder, key, value, dashes in todo:  # grows while it is walked
            part = _copy(value)
            if part is None:
                holder[key] = value
            elif isinstance(value, Mapping):
                new = OrderedDict[str, JsonValue]()
                holder[key] = new
                for name in sorted(map(_name, part)):
                    written = name.replace("_", "-") if dashes else name
                    todo.append((cast("_Container", new), written, part[name], False))
            else:
                holder[key] = cast("JsonValue", part)
                todo += [(part, index, item, True) for index, item in _items(part)]
        return cast("_Container", whole[0])


def lift(text_filter: Filter[str]) -> Filter[Message]:
    """Return a filter of every string value of a message, at any depth; keys stay as they are.

    Lifted filters that follow each other walk the message once.
    """
    return _Lifted(text=text_filter)


def each_value(change: Callable[[str | int, JsonValue], JsonValue]) -> Filter[Message]:
    """Return a filter that puts ``change(key, value)`` in place of each value.

    The key of a list's item is its index. Objects and lists are not given to ``change``, but what
    is in them is.
    """
    return _EachValue(change=change)


def value_at(path: str, *, by: JsonValue) -> Filter[Message]:
    """Return a filter that puts a value at a path (``data/offset``), where there is one already.

    A part of the path is a key or an index; ``*`` stands for all of them. Raises UsageError for an
    empty part.
    """
    return _ValueAt(path=_checked(path), by=by)


def without(path: str) -> Filter[Message]:
    """Return a filter that takes out key and value at a path, as of :func:`value_at`."""
    return _Without(path=_checked(path))


def ordered(*, dashes: bool = True) -> Filter[Message]:
    """Return a filter that sorts the keys, at any depth, into ``OrderedDict``.

    With ``dashes``, underscores in the keys of the outermost object become dashes; in objects
    that are items of a list they always do, as in iotests. The filter raises UsageError for keys
    that are no strings.
    """
    return _Ordered(dashes=dashes)


def _checked(path: str) -> str:
    if not all(path.split("/")):
        raise UsageError(f"the path {path!r} has an empty part")
    return path


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise UsageError(f"keys of a message are strings, not {type(key).__name__}: {key!r}")
    return key


def _copy(value: object) -> _Container | None:
    """Return an object or list of its own with the same content; None for what is neither."""
    if isinstance(value, dict):
        return cast("_Container", value).copy()  # an ordered one stays ordered
    if isinstance(value, Mapping):
        return dict(cast("_Container", value))
    if isinstance(value, list | tuple):
        return cast("_Container", list(cast("Sequence[JsonValue]", value)))
    return None


def _items(of: _Container) -> Iterator[tuple[str | int, JsonValue]]:
    content = cast("_Container | list[JsonValue]", of)
    return iter(content.items()) if isinstance(content, dict) else enumerate(content)


def _scalars(message: _Container) -> Iterator[tuple[_Container, str | int, JsonValue]]:
    """What holds each value that is no object or list, its key there, and the value.

    The parts of the message, itself a copy, become copies on the way.
    """
    todo = [message]
    while todo:
        holder = todo.pop()
        for key, value in _items(holder):
            part = None if isinstance(value, str) else _copy(value)
            if part is None:
                yield holder, key, value
            else:
                holder[key] = cast("JsonValue", part)
                todo.append(part)


def _places(message: _Container, path: str) -> Iterator[tuple[_Container, str | int]]:
    """What holds each value that a path leads to, and its key there; copied on the way."""
    *steps, last = path.split("/")
    holders = [message]
    for step in steps:
        parts: list[_Container] = []
        for holder in holders:
            for key in _keys(holder, step):
                part = _copy(holder[key])
                if part is not None:
                    holder[key] = cast("JsonValue", part)
                    parts.append(part)
        holders = parts
    for holder in holders:
        for key in _keys(holder, last):
            yield holder, key


def _keys(holder: _Container, step: str) -> list[str | int]:
    return [key for key, _ in _items(holder) if step in ("*", str(key))]
