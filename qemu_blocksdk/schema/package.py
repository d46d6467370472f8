"""All files of `wire/`: the domains, and the two that are about all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from . import composing
from .layout import HEADER, PYRIGHT, docstring, import_line, import_order, natural_order
from .merged import CommandType, EnumType, EventType, Field, Merged, Module, NamedType, UnionType
from .render import module_text

# The one name in `wire` that is none of QEMU's; `bind` reserves it.
_FUNCTION: Final = "available_in"

# No f-string: it is full of braces.
_AVAILABLE_IN: Final = '''

def available_in(thing: type[Struct] | str, name: str | None = None) -> tuple[str, ...]:
    """Return the snapshots (`system-10.0`) that have a wire class, or one of its members.

    `thing` is a class of `wire`, or the name of a class or enum; `name` a member's
    attribute, or a value of the enum: `available_in(Qcow2, "discard_no_unref")`,
    `available_in("JobType", "mirror")`. A branch of a union is asked for by its class,
    `available_in(Nbd)`, not by union and discriminator value. Raises UsageError when
    there is no such thing.
    """
    owner = thing if isinstance(thing, str) else thing.__name__
    # Every name that `wire` exports is a type's, but that of this function.
    home = None if owner == "available_in" else _HOMES.get(owner)
    found: object = home and getattr(import_module(f".{home}", __package__), owner)
    is_class = isinstance(found, type)
    names: object = found.__annotations__ if is_class else get_args(found)
    if home is None or (name is not None and name not in cast("Collection[str]", names)):
        raise UsageError(f"wire has no {owner if name is None else f'{owner}: {name}'}")
    entry = f"{owner}{'.' if is_class else '='}{name}"
    mask = EXCEPTIONS.get(entry, EXCEPTIONS.get(owner, (1 << len(SNAPSHOTS)) - 1))
    return tuple(snapshot for bit, snapshot in enumerate(SNAPSHOTS) if mask >> bit & 1)
'''


def render(merged: Merged) -> dict[str, str]:
    """The files of `wire/`: name -> text."""
    homes = {name: module.name for module in merged.modules for name in module.exported()}
    files = {f"{m.name}.py": module_text(m, homes, merged) for m in merged.modules}
    files["_availability.py"] = _availability(merged)
    if drivers := [branch for m in merged.modules for branch in composing.drivers(m)]:
        files[f"{composing.CHANGES}.py"] = composing.changes_text(drivers, merged)
    files["__init__.py"] = _package(merged, homes)
    return files


def _availability(merged: Merged) -> str:
    names = "".join(f'    "{name}",\n' for name in merged.snapshots)
    rows = "".join(f'    "{key}": {mask},\n' for key, mask in exceptions(merged).items())
    return f'''{HEADER}"""Which snapshots of QEMU have a command, an event, a member or a value.

`EXCEPTIONS` holds what not every snapshot has. Its keys are class names, `Class.attribute` for
members and `Alias=value` for enum values; a value has bit N set where `SNAPSHOTS[N]` has the
thing. A member or value without an entry of its own is wherever its class or alias is; what
has no entry at all is everywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import cast, get_args

from qemu_blocksdk.codec import Struct
from qemu_blocksdk.errors import UsageError

from . import _HOMES

SNAPSHOTS: tuple[str, ...] = (
{names})
EXCEPTIONS: dict[str, int] = {{
{rows}}}
{_AVAILABLE_IN}'''


def _package(merged: Merged, homes: Mapping[str, str]) -> str:
    homes = {**homes, _FUNCTION: "_availability"}
    by_module = {m.name: sorted(m.exported(), key=import_order) for m in merged.modules}
    by_module["_availability"] = [_FUNCTION]
    typed = "\n".join(
        import_line(f".{name}", by_module[name], "    ") for name in sorted(by_module)
    )
    everything = sorted(homes, key=natural_order)
    listed = "".join(f'    "{name}",\n' for name in everything)
    index = "".join(f'    "{name}": "{homes[name]}",\n' for name in everything)
    doc = docstring(
        ["Every bound command, event and type of QMP; a domain loads on first use."], ""
    )
    return f"""{HEADER}{PYRIGHT}{doc}
from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.lazy import loader

if TYPE_CHECKING:
{typed}

__all__ = [
{listed}]

_HOMES = {{
{index}}}

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
"""


def exceptions(merged: Merged) -> dict[str, int]:
    """The masks that say more than that of their owner."""
    found: dict[str, int] = {}
    for module in merged.modules:
        for name, mask, parts in _owners(module):
            if mask != merged.everywhere:
                found[name] = mask
            found.update((part, its) for part, its in parts if its != mask)
    return dict(sorted(found.items()))


def _owners(module: Module) -> Iterator[tuple[str, int, Iterable[tuple[str, int]]]]:
    for type_ in module.types:
        yield from _type_owners(type_)
    bound: tuple[CommandType | EventType, ...] = (*module.commands, *module.events)
    for each in bound:
        yield each.name, each.mask, _members(each.name, each.fields)


def _type_owners(each: NamedType) -> Iterator[tuple[str, int, Iterable[tuple[str, int]]]]:
    if isinstance(each, EnumType):
        yield each.name, each.mask, [(f"{each.name}={v}", mask) for v, mask in each.values.items()]
        return
    yield each.name, each.mask, _members(each.name, getattr(each, "fields", ()))
    if isinstance(each, UnionType):
        for branch in each.branches:
            yield branch.name, branch.mask, _members(branch.name, branch.fields)


def _members(owner: str, fields: Iterable[Field]) -> list[tuple[str, int]]:
    return [(f"{owner}.{field.python}", field.mask) for field in fields]
