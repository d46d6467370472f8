"""Options as the Python that builds them: the source of an expression, or of a small module.

Here lives the writing; reading is Python's. What fits in a line is one, all else is a member a
line, as ruff has it. Nothing recurses along the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from qemu_blocksdk.codec import NULL, JsonObject, Struct, Unknown
from qemu_blocksdk.codec.value import shape
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.schema.layout import WIDTH, import_line, import_order
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.wire import BlockdevOptions

from .forms import from_json
from .layers import assert_options

_DEEPEST: Final = 64
"""Python reads 200 brackets in each other, nobody else so many."""
_DEEPEST_IN_MODULE: Final = 8


@sealed
def to_python(options: BlockdevOptions | str | JsonObject, *, module: bool = False) -> str:
    """Return the Python expression that builds options, given as they are or as JSON.

    With ``module`` it is assigned to ``options``, below the imports that it needs; what is
    nested very deeply is assigned before that, under a name of its own. A secret that the
    options hold is in the text. Raises UsageError for JSON that is no options, for what this
    package has no class for, and for an expression that is too deep.
    """
    value = from_json(options) if isinstance(options, str | Mapping) else options
    assert_options(value)
    names = _names(value)
    named: list[tuple[str, object]] = [("options", value)]
    blocks: list[str] = []
    for name, part in named:  # _lines adds to it
        prefix, deepest = (f"{name} = ", _DEEPEST_IN_MODULE) if module else ("", _DEEPEST)
        blocks.append("\n".join(_lines(prefix, part, named, deepest)))
    if module:
        imports = import_line("qemu_blocksdk.blockdev", sorted(names, key=import_order), "")
        return "\n".join([imports, "", *reversed(blocks), ""])
    if len(blocks) > 1:
        raise UsageError(f"more than {_DEEPEST} nodes in each other are no expression")
    return blocks[0]


def _names(options: BlockdevOptions) -> set[str]:
    """What all that is in the options is built with. Raises UsageError where that is nothing."""
    found: set[str] = set()
    todo: list[object] = [options]
    while todo:
        value = todo.pop()
        if isinstance(value, Struct):
            unknown = [value.tag] if isinstance(value, Unknown) else list(value.unknown_members)
            if unknown:
                raise UsageError(f"{unknown[0]!r} is known to no class of this package")
            found.add(type(value).__name__)
        elif value is NULL:
            found.add("NULL")
        elif isinstance(value, bytes) or not isinstance(value, str | int | float | Sequence):
            raise UsageError(f"{value!r} has no JSON form")
        todo += (item for _, item in _parts(cast("object", value))[1])
    return found


def _lines(
    prefix: str, value: object, named: list[tuple[str, object]], deepest: int
) -> Iterator[str]:
    """Write one value; what is too deep in it is referred to by a name, and added to ``named``."""
    todo: list[tuple[int, str, object, str] | str] = [(0, prefix, value, "")]
    while todo:
        entry = todo.pop()
        if isinstance(entry, str):
            yield entry
            continue
        depth, prefix, value, end = entry
        indent = "    " * depth
        text = _on_one_line(value, WIDTH - len(indent + prefix + end))
        if text is None:
            text, items, closing = _parts(value)
            if not items:
                text += closing
            elif depth == deepest:
                text = f"options_{len(named)}"
                named.append((text, value))
            else:
                todo.append(f"{indent}{closing}{end}")
                todo += [(depth + 1, name, item, ",") for name, item in reversed(items)]
                end = ""
        yield f"{indent}{prefix}{text}{end}"


def _on_one_line(value: object, room: int) -> str | None:
    """Write a value where it has room, which bounds the recursion as well."""
    text, items, closing = _parts(value)
    for number, (prefix, item) in enumerate(items):
        text += (", " if number else "") + prefix
        inner = _on_one_line(item, room - len(text + closing))
        if inner is None:
            return None
        text += inner
    text += closing
    return text if len(text) <= room else None


def _parts(value: object) -> tuple[str, Sequence[tuple[str, object]], str]:
    """How a value begins, what is in it with its prefix, how it ends."""
    if isinstance(value, Struct):
        names = sorted(shape(type(value)).order, key=lambda name: name != "node_name")
        members = [
            (f"{name}=", item) for name in names if (item := getattr(value, name)) is not None
        ]
        return f"{type(value).__name__}(", members, ")"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[", [("", item) for item in cast("Sequence[object]", value)], "]"
    text = repr(value)
    if isinstance(value, str):
        text = str.__repr__(value)  # of a StrEnum, the value
        text = text if '"' in text else f'"{text[1:-1]}"'
    return text, (), ""
