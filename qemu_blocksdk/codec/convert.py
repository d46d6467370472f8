"""JSON to values and back.

The annotations of a wire class say how its members are decoded. They are read on
first use and compiled to a plan (wire name -> attribute and converter) a class.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin

from qemu_blocksdk.errors import MalformedReply, UsageError
from qemu_blocksdk.sealed import sealed

from .struct import (
    NULL,
    Command,
    Event,
    JsonObject,
    JsonValue,
    Null,
    Struct,
    Unknown,
    UnknownEvent,
    UnstableCommand,
)
from .value import raw_hints

_S = TypeVar("_S", bound=Struct)
_R = TypeVar("_R")
_Converter = Callable[[JsonValue], object]
_SCALARS = frozenset((str, int, bool, float))


# -- encoding ---------------------------------------------------------------------------


@sealed
def encode(value: Struct) -> dict[str, JsonValue]:
    """Return the JSON object of a wire value; absent members are left out.

    Raises UsageError for a member that has no JSON form.
    """
    cls = type(value)
    if cls is Unknown:
        return {**cast("Unknown", value).members, **value.unknown_members}
    names, tags, boxed = _encoding(cls)
    if boxed:
        (only,) = names
        return {**encode(cast("Struct", value.__dict__[only])), **value.unknown_members}
    out: dict[str, JsonValue] = dict(tags)
    for attribute, member in value.__dict__.items():
        if member is None:
            continue
        if type(member) in _SCALARS:
            out[names[attribute]] = member
        elif attribute in names:
            out[names[attribute]] = _encode_member(member, cls.__name__, attribute)
    if cls._rest and isinstance(rest := out.pop(cls._rest, None), Mapping):
        out.update(rest)
    if "_extra" in value.__dict__:
        out.update(value.unknown_members)
    return out


def _encode_member(member: object, owner: str, attribute: str) -> JsonValue:
    if isinstance(member, Struct):
        try:
            return encode(member)
        except RecursionError as error:
            raise UsageError(f"{owner}.{attribute}: nested too deeply") from error
    if member is NULL:
        return None
    if member is None or type(member) in _SCALARS:
        return cast("JsonValue", member)
    if isinstance(member, str):
        return str.__str__(member)  # the value of a StrEnum, not its name
    if isinstance(member, int):
        return int(member)
    if isinstance(member, float):
        return float(member)
    if isinstance(member, Sequence) and not isinstance(member, bytes | bytearray):
        items = cast("Sequence[object]", member)
        return [_encode_member(item, owner, attribute) for item in items]
    if isinstance(member, Mapping):
        members = cast("Mapping[object, object]", member)
        return {str(key): _encode_member(item, owner, attribute) for key, item in members.items()}
    kind: type[object] = type(member)
    raise UsageError(f"{owner}.{attribute}: a {kind.__name__} has no JSON form")


@functools.cache
def _encoding(cls: type[Struct]) -> tuple[dict[str, str], dict[str, JsonValue], bool]:
    """Wire name of each attribute, the fixed discriminators, and whether the class is boxed."""
    names = {attribute: _wire_name(cls, attribute) for attribute in raw_hints(cls)}
    tags: dict[str, JsonValue] = {tag: _tag_value(cls, tag) for tag in cls._tags}
    return names, tags, issubclass(cls, Command) and cls._boxed


# -- decoding ---------------------------------------------------------------------------


class _Mismatch(Exception):
    """A value is not of the kind that its type says; ``path`` grows from the inside out."""

    def __init__(self, expected: str, json: JsonValue) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = _kind(json)
        self.path = ""

    def under(self, step: str) -> _Mismatch:
        self.path = step + self.path
        return self

    def error(self, root: str) -> MalformedReply:
        return MalformedReply(f"{root}{self.path}", expected=self.expected, found=self.found)


_TOO_DEEP = {"expected": "a value", "found": "one that is nested too deeply"}


@sealed
def decode(cls: type[_S], json: JsonValue, *, root: str = "") -> _S:
    """Return the wire value of a JSON object; what is unknown is kept, never refused.

    Raises MalformedReply, which names the path (from ``root``, by default the class), for what
    is not of the kind that the class says. A member that is missing raises when it is read.
    """
    try:
        return _decode(cls, json)
    except _Mismatch as mismatch:
        raise mismatch.error(root or cls.__name__) from None
    except RecursionError:
        raise MalformedReply(
            root or cls.__name__, expected="a value", found="one that is nested too deeply"
        ) from None


def _decode(cls: type[_S], json: JsonValue) -> _S:
    if not isinstance(json, Mapping):
        raise _Mismatch("an object", json)
    value = object.__new__(cls)  # not cls.__new__: a deprecated class warns there
    members = vars(value)
    plan = _plan(cls)
    extra: dict[str, JsonValue] | None = None
    name = ""
    try:
        for name, member in json.items():
            known = plan.get(name)
            if known is not None:
                attribute, accepted, convert = known
                if accepted is None or type(member) in accepted:
                    members[attribute] = member if convert is None else convert(member)
                else:
                    raise _Mismatch(_expected(accepted), member)
            elif name not in cls._tags:
                extra = {} if extra is None else extra
                extra[name] = member
    except _Mismatch as mismatch:
        raise mismatch.under(f".{name}") from None
    if extra:
        members["_extra"] = extra
    return value


@sealed
def decode_reply(command: Command[_R], json: JsonValue) -> _R:
    """Return what a command's reply means, by the type that the command declares.

    Raises MalformedReply for what it cannot mean.
    """
    accepted, convert = _reply_converter(type(command))
    try:
        if accepted is not None and type(json) not in accepted:
            raise _Mismatch(_expected(accepted), json)
        return cast("_R", json if convert is None else convert(json))
    except _Mismatch as mismatch:
        raise mismatch.error(command._name) from None
    except RecursionError:
        raise MalformedReply(
            command._name, expected="a value", found="one that is nested too deeply"
        ) from None


@sealed
def decode_event(cls: type[Event] | None, message: JsonObject) -> Event:
    """Return the value of an event message.

    It is an UnknownEvent when ``cls`` is None, or where the event's data is no object. Raises
    MalformedReply as :func:`decode`.
    """
    data = message.get("data", {})
    event: Event
    if cls is None or not isinstance(data, Mapping):
        event = object.__new__(UnknownEvent)
        vars(event).update(name=message["event"], data=data)
    else:
        event = decode(cls, data, root=cls._name)
    vars(event)["_message"] = message
    return event


_Accepted = frozenset[type] | None
"""The exact types of JSON values that a hint allows; None: any."""
_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def _kind(json: object) -> str:
    return _KINDS.get(type(json), f"a {type(json).__name__}")


def _expected(accepted: frozenset[type]) -> str:
    kinds = [kind for known, kind in _KINDS.items() if known in accepted]
    return " or ".join(kind for kind in kinds if kind != "null") or "null"


@functools.cache
def _plan(cls: type[Struct]) -> dict[str, tuple[str, _Accepted, _Converter | None]]:
    hints = {name: _evaluate(hint, cls.__module__) for name, hint in raw_hints(cls).items()}
    return {
        _wire_name(cls, name): (name, _accepted(hint), _converter(hint))
        for name, hint in hints.items()
    }


@functools.cache
def _reply_converter(cls: type[Command[object]]) -> tuple[_Accepted, _Converter | None]:
    for base in cls.__dict__["__orig_bases__"]:
        if get_origin(base) in (Command, UnstableCommand):
            (hint,) = get_args(base)
            hint = getattr(hint, "__forward_arg__", hint)
            if hint == "None":
                return None, _nothing
            hint = _evaluate(hint, cls.__module__)
            return _accepted(hint), _converter(hint)
    raise TypeError(f"{cls.__name__} does not say what it returns")


def _nothing(_json: JsonValue) -> None:
    return None


def _accepted(hint: object) -> _Accepted:
    """The types of JSON values that the hint allows, looking at the value itself only."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _accepted(get_args(hint)[0])
    if origin is Union or isinstance(hint, types.UnionType):
        kinds = [_accepted(each) for each in get_args(hint)]
        if None in kinds:
            return None
        return frozenset(kind for each in kinds if each is not None for kind in each)
    if origin is Literal:
        return frozenset(map(type, get_args(hint)))
    if origin in (list, Sequence):
        return frozenset((list,))
    if origin is Mapping or (isinstance(hint, type) and issubclass(hint, Struct)):
        return frozenset((dict,))
    if hint is float:
        return frozenset((float, int))
    if hint is Null or hint is type(None):
        return frozenset((type(None),))
    return frozenset((hint,)) if isinstance(hint, type) and hint in _SCALARS else None


def _converter(hint: object) -> _Converter | None:
    """The function that decodes what the hint describes; None where JSON is the value.

    It gets values that :func:`_accepted` allows.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        return _converter(get_args(hint)[0])
    if origin in (list, Sequence):
        return _sequence_converter(origin, *get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Struct):
        return functools.partial(_decode, hint)
    if hint is Null:
        return _null
    if origin is Union or isinstance(hint, types.UnionType):
        return _union_converter(get_args(hint))
    return None


def _null(_json: JsonValue) -> Null:
    return NULL


def _sequence_converter(origin: object, item_hint: object) -> _Converter:
    accepted, convert = _accepted(item_hint), _converter(item_hint)

    def sequence(json: JsonValue) -> object:
        items = cast("list[JsonValue]", json)
        if accepted is not None and not accepted.issuperset(map(type, items)):
            index, item = next((i, x) for i, x in enumerate(items) if type(x) not in accepted)
            raise _Mismatch(_expected(accepted), item).under(f"[{index}]")
        if convert is None:
            return list(items) if origin is list else tuple(items)
        decoded: list[object] = []
        try:
            decoded.extend(map(convert, items))
        except _Mismatch as mismatch:
            raise mismatch.under(f"[{len(decoded)}]") from None
        return decoded if origin is list else tuple(decoded)

    return sequence


def _union_converter(hints: tuple[object, ...]) -> _Converter | None:
    """Pick by JSON type: null, list, object (by discriminator), else the value itself."""
    on_null = NULL if Null in hints else None
    structs = [h for h in hints if isinstance(h, type) and issubclass(h, Struct)]
    on_object = _object_converter(structs) if structs else None
    on_list = next((c for h in hints if get_origin(h) is not None and (c := _converter(h))), None)
    if on_null is None and on_object is None and on_list is None:
        return None

    def union(json: JsonValue) -> object:
        if json is None:
            return on_null
        if on_object is not None and isinstance(json, dict):
            return on_object(json)
        return json if on_list is None or not isinstance(json, list) else on_list(json)

    return union


def _object_converter(structs: list[type[Struct]]) -> Callable[[JsonObject], Struct]:
    branches = [cls for cls in structs if cls is not Unknown]
    if len(branches) == 1 and not branches[0]._tags:
        return functools.partial(_decode, branches[0])
    tag = branches[0]._tags[0]
    by_tag: dict[JsonValue, list[type[Struct]]] = {}
    for branch in branches:
        by_tag.setdefault(_tag_value(branch, tag), []).append(branch)

    def discriminate(json: JsonObject) -> Struct:
        which = json.get(tag)
        if which is not None and not isinstance(which, str):
            raise _Mismatch("a string", which).under(f".{tag}")
        for branch in by_tag.get(which, ()):
            if all(json.get(name) == _tag_value(branch, name) for name in branch._tags[1:]):
                return _decode(branch, json)
        return _decode(Unknown, {"tag": which, "members": json})

    return discriminate


# -- what the class says about itself ---------------------------------------------------


def _wire_name(cls: type[Struct], attribute: str) -> str:
    return cls._wire_names.get(attribute) or attribute.rstrip("_").replace("_", "-")


def _tag_value(cls: type[Struct], tag: str) -> str:
    attribute = next((a for a, name in cls._wire_names.items() if name == tag), None)
    return str(getattr(cls, attribute or tag.replace("-", "_")))


class _Names:
    """Names as the module sees them, then as its package offers them (loading on demand)."""

    def __init__(self, module: str) -> None:
        self._module = sys.modules[module]
        self._package = sys.modules.get(module.rpartition(".")[0])

    def __getitem__(self, name: str) -> object:
        for namespace in (self._module, self._package):
            try:
                return getattr(namespace, name)
            except AttributeError:
                continue
        raise KeyError(name)


def _evaluate(hint: object, module: str) -> object:
    if not isinstance(hint, str):
        return hint
    # The annotations are generated source of this package, never anybody's input.
    return eval(hint, {}, cast("Mapping[str, object]", _Names(module)))
