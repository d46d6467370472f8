"""Options in words: the tree of nodes that they describe, with what differs from the default.

Here lives the picture; what the defaults are is in ``defaults``, what a child inherits in
``layers``. Nothing recurses along the nodes: a chain may be longer than Python's stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from qemu_blocksdk.codec import NULL, JsonObject, JsonValue, Struct, encode, evolve, redact
from qemu_blocksdk.codec.dotted import leaves
from qemu_blocksdk.codec.typed import hints_of
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.wire import BlockdevOptions

from .defaults import COMMON, OF_DRIVER
from .layers import assert_options, child_members, children_of, handed_down, in_effect


@sealed
def explain(options: BlockdevOptions) -> str:
    """Return the tree of nodes, one a line, for the terminal.

    A node shows its name, its driver, and the members that are told and are neither QEMU's
    default nor what a child inherits, in QEMU's words: ``disk [qcow2] discard=unmap``. A child
    by name is the end of its branch. Secrets show as ``***``. Raises UsageError for what is no
    options.
    """
    assert_options(options)
    lines: list[str] = []
    nothing: Mapping[str, object] = {}
    todo: list[tuple[str, str, BlockdevOptions | str, Mapping[str, object]]] = [
        ("", "", options, nothing)
    ]
    while todo:
        lead, below, node, inherited = todo.pop()
        if isinstance(node, str):
            lines.append(f"{lead}{_readable(node)} (by name)")
            continue
        lines.append(lead + " ".join(_words(node, inherited)))
        own = in_effect(node, inherited)
        children = list(children_of(node))
        branch, trunk = "└─", "   "
        for role, child in reversed(children):
            for_child = handed_down(own, to=role)
            todo.append((f"{below}{branch} {role}: ", below + trunk, child, for_child))
            branch, trunk = "├─", "│  "
    return "\n".join(lines)


def _words(node: BlockdevOptions, inherited: Mapping[str, object]) -> Iterator[str]:
    """What one node says of itself: its name, its driver, what is out of the ordinary."""
    children = {name: None for name in child_members(type(node)) if getattr(node, name) is not NULL}
    members = encode(evolve(node, **children))
    driver = str(members.pop("driver", None))
    name = members.pop("node-name", None)
    if name is not None:
        yield _readable(str(name))
    yield f"[{driver}]"
    usual = {**COMMON, **OF_DRIVER.get(driver, {}), **_inherited(inherited)}
    order = (*hints_of(type(node)), *members)
    told = {member: members[member] for member in order if member in members}
    for place, value in leaves(cast("JsonObject", redact(told, of=driver))):
        if place and usual.get(_INDEX.sub("", place), _NOTHING) != value:
            yield f"{place}={_text(value)}"


def _inherited(members: Mapping[str, object]) -> dict[str, JsonValue]:
    """The same under the dotted names of the wire."""
    told = {
        name.replace("_", "-"): encode(value) if isinstance(value, Struct) else value
        for name, value in members.items()
        if value is not None
    }
    return dict(leaves(cast("JsonObject", told)))


def _text(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return _readable(value) if isinstance(value, str) else json.dumps(value)


def _readable(text: str) -> str:
    """The text itself where nobody can mistake where it ends."""
    is_word = text.isprintable() and not re.search("[ '\"]", text)
    return text if text and is_word else repr(text)


_NOTHING = object()
_INDEX = re.compile(r"\.\d+(?=\.|$)")
