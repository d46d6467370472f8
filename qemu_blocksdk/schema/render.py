"""From the merged model to the text of a domain.

Here lives how generated Python looks, and no decision about what there is. The text is
laid out the way ruff would leave it, but ruff is not asked: the generator runs where
there is none.

The one mechanism: a module is rendered as a list of blocks; which names it takes from
`codec`, `typing` and the other domains is then found by looking for them in the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from . import composing
from .layout import HEADER, PYRIGHT, WIDTH, docstring, import_line, import_order, natural_order
from .merged import (
    AlternateType,
    Branch,
    CommandType,
    EnumType,
    EventType,
    Field,
    Merged,
    Module,
    NamedType,
    StructType,
    UnionType,
)
from .prose import limits, notes, quoted

# Ruff does not see the use of a name in the quoted type that a command returns.
NOQA: Final = "# ruff: noqa: F401\n"

_CODEC: Final = (
    "Command",
    "Deprecated",
    "Event",
    "EventSelector",
    "JsonValue",
    "Null",
    "Struct",
    "Unknown",
    "Unstable",
    "UnstableCommand",
    "evolve",
)
_TYPING: Final[tuple[str, ...]] = ("ClassVar", "Literal", "Self", "Unpack", "cast")
_WORD: Final = re.compile(r"@?[A-Za-z_]\w*")


def module_text(module: Module, homes: Mapping[str, str], merged: Merged) -> str:
    """The source of one domain; `homes` tells in which domain each name is."""
    # Aliases are evaluated on import, so they come after what they are made of.
    order = (EnumType, StructType, UnionType, AlternateType)
    types = sorted(module.types, key=lambda each: (order.index(type(each)), each.name))
    blocks = [_type(each, merged) for each in types]
    blocks += [_command(command, merged) for command in module.commands]
    blocks += [_event(event, merged) for event in module.events]
    code = "\n\n".join(blocks)
    words = _words(code)
    homes = {**homes, **dict.fromkeys(composing.change_names(module), composing.CHANGES)}
    foreign = {word: homes[word] for word in words if homes.get(word, module.name) != module.name}
    is_quoted_only = foreign.keys() - _words(re.sub(r'Command\["[^"]*"\]', "", code))
    return "\n".join(
        [
            HEADER + PYRIGHT + (NOQA if is_quoted_only else "") + docstring([module.doc], ""),
            "from __future__ import annotations\n",
            _imports(words, foreign),
            _exports(module),
            # Two empty lines before a class, one before anything else.
            ("\n" if code.startswith(("class", "@")) else "") + code,
        ]
    )


def _exports(module: Module) -> str:
    names = {*module.exported(), *(composing.NAMES if composing.drivers(module) else ())}
    listed = "".join(f'    "{name}",\n' for name in sorted(names, key=natural_order))
    return f"__all__ = [\n{listed}]\n"


def _words(code: str) -> set[str]:
    """Every name that the code mentions, docstrings aside."""
    return set(_WORD.findall(re.sub(r'"""[\s\S]*?"""', "", code)))


def _imports(words: set[str], foreign: Mapping[str, str]) -> str:
    by_module: dict[str, list[str]] = {}
    for name in sorted(foreign, key=import_order):
        by_module.setdefault(foreign[name], []).append(name)
    typing = [name for name in _TYPING if name in words]
    lines: list[str] = []
    if "version_info" in words:
        lines.append("import sys")
    if not words.isdisjoint(("Mapping", "Sequence")):
        names = [name for name in ("Mapping", "Sequence") if name in words]
        lines.append(f"from collections.abc import {', '.join(names)}")
    if foreign:
        typing = ["TYPE_CHECKING", *typing]
    if typing:
        lines.append(f"from typing import {', '.join(typing)}")
    lines.append("")
    if "@deprecated" in words:
        lines += ["from typing_extensions import deprecated", ""]
    codec = [name for name in _CODEC if name in words]
    if codec:
        lines += [import_line("qemu_blocksdk.codec", codec, ""), ""]
    if foreign:
        lines.append("if TYPE_CHECKING:")
        lines += [import_line(f".{home}", by_module[home], "    ") for home in sorted(by_module)]
        lines.append("")
    return "\n".join(lines)


def _type(each: NamedType, merged: Merged) -> str:
    match each:
        case EnumType():
            return _enum(each, merged)
        case StructType():
            doc = [
                f"QMP object `{each.name}`.",
                *notes(each.mask, each.features, each.fields, merged),
            ]
            return _class(each.name, "Struct", doc, [], each.fields)
        case UnionType():
            return _union(each, merged)
        case AlternateType():
            doc = [f"QMP alternate `{each.name}`.", *notes(each.mask, frozenset(), (), merged)]
            return _alias(each.name, each.annotations, doc)


def _enum(each: EnumType, merged: Merged) -> str:
    doc = [f"QMP enum `{each.name}`.", *limits(each.mask, each.values, merged)]
    for feature in ("deprecated", "unstable"):
        if marked := [v for v, features in each.features.items() if feature in features]:
            doc.append(f"{feature.capitalize()}: {quoted(marked)}.")
    values = [f'"{value}"' for value in each.values]
    line = f"{each.name} = Literal[{', '.join(values)}]"
    if len(line) > WIDTH:
        line = f"{each.name} = Literal[\n" + "".join(f"    {v},\n" for v in values) + "]"
    return f"{line}\n{docstring(doc, '')}"


def _union(each: UnionType, merged: Merged) -> str:
    blocks = [_branch(branch, each, merged) for branch in each.branches]
    if each.name == composing.COMPOSED:
        blocks.insert(0, composing.BASE)
    doc = [f"QMP union `{each.name}`.", *notes(each.mask, frozenset(), (), merged)]
    parts = [branch.name for branch in each.branches]
    if each.is_output:
        parts.append("Unknown")
        doc.insert(1, "`Unknown` is a branch that only a newer QEMU has.")
    return "\n\n".join([*blocks, _alias(each.name, parts, doc)])


def _alias(name: str, parts: Iterable[str], doc: list[str]) -> str:
    parts = list(parts)
    line = f"{name} = {' | '.join(parts)}"
    if len(line) > WIDTH:
        inner = f"    {' | '.join(parts)}"
        inner = inner if len(inner) <= WIDTH else "    " + "\n    | ".join(parts)
        line = f"{name} = (\n{inner}\n)"
    return f"{line}\n{docstring(doc, '')}"


def _branch(branch: Branch, union: UnionType, merged: Merged) -> str:
    where = ", ".join(f"{tag}={value}" for tag, value in branch.tags)
    doc = [
        f"QMP union `{union.name}`, branch `{where}`.",
        *notes(branch.mask, branch.features, branch.fields, merged),
    ]
    attributes = [
        f'{tag.replace("-", "_")}: ClassVar[Literal["{value}"]] = "{value}"'
        for tag, value in branch.tags
    ]
    tags = "".join(f'"{tag}", ' for tag, _ in branch.tags)
    tags = tags.removesuffix(" ") if len(branch.tags) == 1 else tags.removesuffix(", ")
    attributes.append(f"_tags: ClassVar[tuple[str, ...]] = ({tags})")
    names = {tag: tag.replace("-", "_") for tag, _ in branch.tags}
    is_composed = union.name == composing.COMPOSED
    base = composing.base_of(branch) if is_composed else "Struct"
    text = _class(branch.name, base, doc, attributes, branch.fields, names)
    if is_composed:
        text += composing.evolve_signature(branch.name)
    if "deprecated" in branch.features:
        return f'@deprecated("QEMU deprecates `{where}`.")\n{text}'
    return text


def _command(command: CommandType, merged: Merged) -> str:
    returned = "nothing" if command.returns == "None" else f"`{command.returns}`"
    doc = [
        f"Run QMP's `{command.wire}`; it returns {returned}.",
        *notes(command.mask, command.features, command.fields, merged),
    ]
    attributes = [f'_name: ClassVar[str] = "{command.wire}"']
    if command.boxed is not None:
        attributes += ["_boxed: ClassVar[bool] = True", f"options: {command.boxed}"]
    fields = command.fields
    if command.rest is not None:
        attributes.append(f'_rest: ClassVar[str] = "{command.rest}"')
        doc.append(f"`{command.rest}` holds members that QEMU's schema does not list.")
        rest = Field("", command.rest, "Mapping[str, JsonValue]", True, frozenset(), command.mask)
        fields = (*fields, rest)
    base = "UnstableCommand" if "unstable" in command.features else "Command"
    text = _class(command.name, f'{base}["{command.returns}"]', doc, attributes, fields)
    if "deprecated" in command.features:
        hint = f"; use `{command.replaced_by}`" if command.replaced_by else ""
        return f'@deprecated("QEMU deprecates `{command.wire}`{hint}.")\n{text}'
    return text


def _event(event: EventType, merged: Merged) -> str:
    doc = [
        f"QMP event `{event.wire}`.",
        *notes(event.mask, event.features, event.fields, merged),
    ]
    name = f'_name: ClassVar[str] = "{event.wire}"'
    text = _class(event.name, "Event", doc, [name], event.fields) + _where(event, merged)
    if "deprecated" in event.features:
        return f'@deprecated("QEMU deprecates `{event.wire}`.")\n{text}'
    return text


def _where(event: EventType, merged: Merged) -> str:
    """The method that selects events by those members that are scalars, if there are any."""
    enums = {t.name for m in merged.modules for t in m.types if isinstance(t, EnumType)}
    fields = [f for f in event.fields if f.annotation in {"str", "int", "bool", "float"} | enums]
    if not fields:
        return ""
    parameters = ["cls", "*", *(f"{f.python}: {f.annotation} | None = None" for f in fields)]
    head = f"    def where({', '.join(parameters)}) -> EventSelector[Self]:"
    if len(head) > WIDTH:
        lines = "".join(f"        {each},\n" for each in parameters)
        head = f"    def where(\n{lines}    ) -> EventSelector[Self]:"
    arguments = [f"{f.python}={f.python}" for f in fields]
    call = f"        return cls._select({', '.join(arguments)})"
    if len(call) > WIDTH:
        inner = "".join(f"            {each},\n" for each in arguments)
        call = f"        return cls._select(\n{inner}        )"
    doc = docstring(["Select the events whose members have these values."], "        ")
    return f"\n    @classmethod\n{head}\n{doc}{call}\n"


def _class(
    name: str,
    base: str,
    doc: list[str],
    attributes: list[str],
    fields: Iterable[Field],
    names: Mapping[str, str] | None = None,
) -> str:
    irregular = {f.wire: f.python for f in fields if f.wire} | dict(names or {})
    irregular = {w: p for w, p in irregular.items() if p.rstrip("_").replace("_", "-") != w}
    lines = list(attributes)
    if irregular:
        lines.append("_wire_names: ClassVar[Mapping[str, str]] = {")
        lines += [f'    "{python}": "{wire}",' for wire, python in irregular.items()]
        lines.append("}")
    lines += [_field(each) for each in fields]
    head = f"class {name}({base}):\n{docstring(doc, '    ')}"
    body = "".join(f"    {line}\n" for line in lines)
    return f"{head}\n{body}" if body else head


def _field(each: Field) -> str:
    return f"{each.python}: {each.hint}" + (" = None" if each.optional else "")
