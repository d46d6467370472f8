"""What QEMU would refuse, said before it is asked, with the place inside the options.

Here lives the walk through the nodes of some options; what each driver insists on is in
``constraints``, what a QEMU has in ``reading``. Nothing is refused that some QEMU takes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple, cast

from qemu_blocksdk.codec import NULL, JsonObject, JsonValue, Null, encode
from qemu_blocksdk.codec.json_text import root_of
from qemu_blocksdk.codec.typed import hints_of, kinds_of
from qemu_blocksdk.codec.value import shape
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.wire import BlockdevOptions

from .constraints import Node, complaint
from .layers import assert_options, child_members, name_of
from .reading import assert_known, by_driver, problem_of

_Path = tuple["_Path | None", str, JsonValue]
"""The way to a node, from it upwards: the member that it is, and its node name."""


@sealed
def check(options: BlockdevOptions, *, qemu: str | None = None) -> dict[str, JsonValue]:
    """Return options as ``blockdev-add`` takes them, unless they are wrong in any case.

    ``qemu`` is a release (``"7.2"``) or one of its binaries (``"storage-daemon-7.2"``); without
    it, any that this package knows will do. Raises Unsupported for a driver, member or value
    that it lacks, UsageError for two nodes of one name, a node that is inside itself, and what
    a driver cannot have. Errors begin with the place: ``disk.backing.file``.
    """
    members = _plainly_right(options) if qemu is None else None
    if members is None:
        assert_options(options)
        members = encode(options)
        assert_known(members, qemu=qemu)
        assert_sound(members)
    return members


def sound_name(options: BlockdevOptions) -> str:
    """Return the node name of options. Raises as :func:`name_of` and :func:`assert_sound`.

    What is in no schema that this package knows is left to the QEMU that is going to get it.
    """
    name = name_of(options)
    if _plainly_right(options) is None:
        members = encode(options)
        if problem_of(members) is None:
            assert_sound(members)
    return name


def assert_sound(members: JsonObject) -> None:
    """Raise UsageError for the JSON of known options that QEMU would not take together."""
    children = _children()
    places: dict[JsonValue, _Path] = {}
    todo: list[tuple[Node, _Path | None, str, bool]] = [(members, None, root_of(members), False)]
    while todo:
        node, above, member, is_direct = todo.pop()
        name = node.get("node-name")
        path = (above, member, name)
        if name is not None and places.setdefault(name, path) is not path:
            raise UsageError(f"{_text(path)}.node-name: {name!r} is {_text(places[name])} already")
        if wrong := complaint(node):
            raise UsageError(f"{_text(path)}.{wrong[0]}: {wrong[1]}")
        if "cache" in node:
            is_direct = bool(cast("JsonObject", node["cache"]).get("direct", is_direct))
        if "aio" in node and node["aio"] == "native" and not is_direct:
            raise UsageError(f"{_text(path)}.aio: native needs cache.direct=on")
        for child_member in children[node["driver"]]:
            child = node.get(child_member)
            if isinstance(child, dict):
                todo.append((child, path, child_member, is_direct))
            elif isinstance(child, str):
                _assert_no_loop(child, path, child_member)
            elif isinstance(child, list):
                for number, each in enumerate(child):
                    at = f"{child_member}.{number}"
                    if isinstance(each, dict):
                        todo.append((each, path, at, is_direct))
                    else:
                        _assert_no_loop(each, path, at)


def _plainly_right(options: BlockdevOptions) -> dict[str, JsonValue] | None:
    """Return the JSON of options that need no second look, as most do; None of any others.

    They have scalars and nodes inside, and refer to nothing by name.
    """
    try:
        return _plain(options, set())
    except RecursionError:  # encode says so
        return None


def _plain(options: object, names: set[JsonValue]) -> dict[str, JsonValue] | None:
    plan = _plans().get(type(options))
    if plan is None:
        return None
    members: dict[str, JsonValue] = {"driver": plan.driver}
    for attribute, member in vars(options).items():
        if member is None:
            continue
        wire, kinds = plan.members.get(attribute, _NO_MEMBER)
        if type(member) not in kinds:
            return None
        if member is NULL:
            members[wire] = None
        elif isinstance(member, str | int):
            members[wire] = member
        elif (below := _plain(member, names)) is not None:
            members[wire] = below
        else:
            return None
    name = members.get("node-name")
    if name in names or complaint(members):
        return None
    if name is not None:
        names.add(name)
    return members


def _assert_no_loop(name: JsonValue, path: _Path, member: str) -> None:
    above: _Path | None = path
    while above is not None:
        if above[2] == name:
            raise UsageError(f"{_text(path)}.{member}: {name!r} is {_text(above)}, which it is in")
        above = above[0]


def _text(path: _Path) -> str:
    members: list[str] = []
    above: _Path | None = path
    while above is not None:
        above, member, _ = above
        members.append(member)
    return ".".join(reversed(members))


_Member = tuple[str, frozenset[object]]
_NO_MEMBER: _Member = "", frozenset()


class _Plan(NamedTuple):
    """By attribute: what a member is called on the wire, and of which types it is plain."""

    driver: str
    members: Mapping[str, _Member]


@functools.cache
def _plans() -> Mapping[type, _Plan]:
    plain = frozenset[object]((bool, int, str, Null, *by_driver().values()))
    plans: dict[type, _Plan] = {}
    for kind in by_driver().values():
        members: dict[str, _Member] = {}
        for attribute, (wire, hint) in zip(shape(kind).order, hints_of(kind).items(), strict=True):
            kinds = plain & frozenset(kinds_of(hint))
            # A text in a node's place is its name.
            members[attribute] = wire, kinds - {str} if attribute in child_members(kind) else kinds
        plans[kind] = _Plan(kind.driver, members)
    return plans


@functools.cache
def _children() -> Mapping[JsonValue, tuple[str, ...]]:
    """The members of each driver that stand for other nodes, as on the wire."""
    return {driver: tuple(child_members(kind).values()) for driver, kind in by_driver().items()}
