"""Masks of snapshots: in words, and as the table of what not every snapshot has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .merged import CommandType, EnumType, EventType, Field, Merged, Module, NamedType, UnionType
from .snapshots import version

_KINDS = {"system": "the system emulator", "storage-daemon": "the storage daemon"}


def describe(mask: int, snapshots: Sequence[str]) -> str:
    """`QEMU 10.0`, `the system emulator`, `the system emulator of QEMU 10.0`."""
    having = {name for index, name in enumerate(snapshots) if mask >> index & 1}
    kinds = list(dict.fromkeys(name.rpartition("-")[0] for name in snapshots))
    versions = sorted(
        {name.rpartition("-")[2] for name in snapshots}, key=lambda v: version(f"-{v}")
    )
    its_kinds = [kind for kind in kinds if any(f"{kind}-{v}" in having for v in versions)]
    its_versions = [v for v in versions if any(f"{kind}-{v}" in having for kind in kinds)]
    if having != {f"{k}-{v}" for k in its_kinds for v in its_versions} & set(snapshots):
        return " and ".join(
            f"{_KINDS.get(name.rpartition('-')[0], name)} of QEMU {name.rpartition('-')[2]}"
            for name in snapshots
            if name in having
        )
    program = " and ".join(_KINDS.get(kind, kind) for kind in its_kinds)
    release = "QEMU " + " and ".join(its_versions)
    if its_versions == versions:
        return program
    return release if its_kinds == kinds else f"{program} of {release}"


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
