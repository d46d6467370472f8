"""JSON to values and back.

The annotations of a wire class say how its members are decoded. They are read on
first use and compiled to a plan (wire name -> attribute and converter) a class.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar, Union, cast, get_args, get_origin

from qemu_blocksdk.errors import BlockSdkError, UsageError

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
from .value import raw_hints, shape

_S = TypeVar("_S", bound=Struct)
_R = TypeVar("_R")
_Converter = Callable[[JsonValue], object]
_SCALARS = frozenset((str, int, bool, float))


# -- encoding ---------------------------------------------------------------------------


def encode(value: Struct) -> dict[str, JsonValue]:
    """Return the JSON object of a wire value; absent members are left out.

    Raises UsageError for a member that has no JSON form.
    """
    cls = type(value)
    if cls is Unknown:
        return dict(cast("Unknown", value).members)
    names, tags, boxed = _encoding(cls)
    if boxed:
        return encode(cast("Struct", next(iter(value.__dict__.values()))))
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


def decode(cls: type[_S], json: JsonValue) -> _S:
    """Return the wire value of a JSON object; what is unknown is kept, never refused.

    Raises BlockSdkError when the JSON is no object at all.
    """
    if not isinstance(json, Mapping):
        raise BlockSdkError(f"{cls.__name__}: expected an object, not {type(json).__name__}")
    value = object.__new__(cls)  # a deprecated class warns whoever constructs it, not us
    members = vars(value)
    plan, absent = _plan(cls)
    members.update(absent)
    extra: dict[str, JsonValue] | None = None
    for name, member in json.items():
        known = plan.get(name)
        if known is not None:
            attribute, convert = known
            members[attribute] = member if convert is None else convert(member)
        elif name not in cls._tags:
            extra = {} if extra is None else extra
            extra[name] = member
    if extra:
        members["_extra"] = extra
    return value


def decode_reply(command: Command[_R], json: JsonValue) -> _R:
    """Return what a command's reply means, by the type that the command declares."""
    convert = _reply_converter(type(command))
    return cast("_R", json if convert is None else convert(json))


def decode_event(cls: type[Event] | None, message: JsonObject) -> Event:
    """Return the value of an event message.

    It is an UnknownEvent when ``cls`` is None, or where the event's data is no object.
    """
    data = message.get("data", {})
    event: Event
    if cls is None or not isinstance(data, Mapping):
        event = decode(UnknownEvent, {"name": message["event"], "data": data})
    else:
        event = decode(cls, data)
    vars(event)["_message"] = message
    return event


@functools.cache
def _plan(
    cls: type[Struct],
) -> tuple[dict[str, tuple[str, _Converter | None]], dict[str, None]]:
    hints = {name: _evaluate(hint, cls.__module__) for name, hint in raw_hints(cls).items()}
    plan = {_wire_name(cls, name): (name, _converter(hint)) for name, hint in hints.items()}
    return plan, dict.fromkeys(shape(cls).required)


@functools.cache
def _reply_converter(cls: type[Command[object]]) -> _Converter | None:
    for base in cls.__dict__["__orig_bases__"]:
        if get_origin(base) in (Command, UnstableCommand):
            (hint,) = get_args(base)
            hint = getattr(hint, "__forward_arg__", hint)
            return _nothing if hint == "None" else _converter(_evaluate(hint, cls.__module__))
    raise TypeError(f"{cls.__name__} does not say what it returns")


def _nothing(_json: JsonValue) -> None:
    return None


def _converter(hint: object) -> _Converter | None:
    """The function that decodes what the hint describes; None where JSON is the value."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _converter(get_args(hint)[0])
    if origin in (list, Sequence):
        return _sequence_converter(origin, *get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Struct):
        return functools.partial(_decode_if_object, hint)
    if hint is Null:
        return _null
    if origin is Union or isinstance(hint, types.UnionType):
        return _union_converter(get_args(hint))
    return None


def _decode_if_object(cls: type[Struct], json: JsonValue) -> object:
    return decode(cls, json) if isinstance(json, Mapping) else json


def _null(_json: JsonValue) -> Null:
    return NULL


def _sequence_converter(origin: object, item_hint: object) -> _Converter:
    convert = _converter(item_hint)

    def sequence(json: JsonValue) -> object:
        if not isinstance(json, list):
            return json
        items = json if convert is None else map(convert, json)
        return list(items) if origin is list else tuple(items)

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
        return json if on_list is None else on_list(json)

    return union


def _object_converter(structs: list[type[Struct]]) -> Callable[[JsonObject], Struct]:
    branches = [cls for cls in structs if cls is not Unknown]
    if len(branches) == 1 and not branches[0]._tags:
        return functools.partial(decode, branches[0])
    tag = branches[0]._tags[0]
    by_tag: dict[JsonValue, list[type[Struct]]] = {}
    for branch in branches:
        by_tag.setdefault(_tag_value(branch, tag), []).append(branch)

    def discriminate(json: JsonObject) -> Struct:
        for branch in by_tag.get(str(json.get(tag)), ()):
            if all(json.get(name) == _tag_value(branch, name) for name in branch._tags[1:]):
                return decode(branch, json)
        return decode(Unknown, {"tag": json.get(tag), "members": json})

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
