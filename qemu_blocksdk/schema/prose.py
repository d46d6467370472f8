"""The words of generated docstrings: what a reader must know beyond names and types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from .merged import Field, Merged
from .model import Features

_PROGRAMS: Final = {"system": "the system emulator", "storage-daemon": "the storage daemon"}


def describe(mask: int, snapshots: Sequence[str], within: int = -1) -> str:
    """`QEMU 10.0`, `the system emulator`, `the system emulator of QEMU 10.0`.

    Told in contrast to the snapshots `within`, all if not given.
    """
    parts = [name.rpartition("-") for name in snapshots]
    known = [(1 << index, program, release) for index, (program, _, release) in enumerate(parts)]
    others = [(program, release) for bit, program, release in known if (mask | within) & bit]
    chosen = [(program, release) for bit, program, release in known if mask & bit]
    programs = list(dict.fromkeys(program for program, _ in chosen))
    releases = list(dict.fromkeys(release for _, release in chosen))
    if any((p, r) in others and (p, r) not in chosen for p in programs for r in releases):
        return " and ".join(f"{_PROGRAMS.get(p, p)} of QEMU {r}" for p, r in chosen)
    program = " and ".join(_PROGRAMS.get(p, p) for p in programs)
    release = f"QEMU {' and '.join(releases)}"
    if {r for _, r in others} == set(releases):
        return program
    return release if {p for p, _ in others} == set(programs) else f"{program} of {release}"


def notes(mask: int, features: Features, fields: Iterable[Field], merged: Merged) -> Iterator[str]:
    """What a reader must know beyond names and types."""
    fields = list(fields)
    if "unstable" in features:
        yield "Unstable: QEMU may change or remove it without notice."
    yield from limits(mask, {field.python: field.mask for field in fields}, merged)
    for feature in ("unstable", "deprecated"):
        if marked := [field.python for field in fields if feature in field.features]:
            yield f"{feature.capitalize()}: {quoted(marked)}."


def limits(mask: int, parts: Mapping[str, int], merged: Merged) -> Iterator[str]:
    """Say which snapshots have the whole, and which have its parts where that is less."""
    if mask != merged.everywhere:
        yield f"Only in {describe(mask, merged.snapshots)}."
    by_mask: dict[int, list[str]] = {}
    for name, each in parts.items():
        if each != mask:
            by_mask.setdefault(each, []).append(name)
    for each, names in by_mask.items():
        yield f"Only in {describe(each, merged.snapshots, mask)}: {quoted(names)}."


def quoted(names: Iterable[str]) -> str:
    """`a`, `b`, each in backticks."""
    return ", ".join(f"`{name}`" for name in names)
