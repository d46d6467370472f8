"""Small schemas, written as text, and the code that the generator makes of them.

One entity a line; arrays, builtins and the empty object `0` need no line of their own:

    command NAME ARG RET [feature...]
    event NAME ARG [feature...]
    enum NAME value value:feature
    object NAME member:TYPE optional?:TYPE marked:TYPE:feature
    union NAME TAG member:TYPE ... | value=TYPE ...
    alternate NAME TYPE TYPE
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from qemu_blocksdk.schema import Schema
from qemu_blocksdk.schema.bind import bind
from qemu_blocksdk.schema.config import Config, Domain
from qemu_blocksdk.schema.merged import Merged
from qemu_blocksdk.schema.output import write
from qemu_blocksdk.schema.package import render

Entry = dict[str, object]
Introspect = Callable[[str], list[Entry]]
Bind = Callable[..., Merged]
Generate = Callable[..., ModuleType]

BUILTINS = {
    "str": "string",
    "int": "int",
    "number": "number",
    "bool": "boolean",
    "null": "null",
    "any": "value",
}
_counter = itertools.count()


def _member(text: str) -> Entry:
    name, type_, *features = text.split(":")
    entry: Entry = {"name": name.rstrip("?"), "type": type_, "features": features}
    return entry | ({"default": None} if name.endswith("?") else {})


def _entry(line: str) -> Entry:
    kind, name, *words = line.split()
    entry: Entry = {"meta-type": kind, "name": name}
    match kind:
        case "command":
            arg, ret, *features = words
            return entry | {"arg-type": arg, "ret-type": ret, "features": features}
        case "event":
            arg, *features = words
            return entry | {"arg-type": arg, "features": features}
        case "enum":
            values = [word.split(":") for word in words]
            return entry | {"members": [{"name": v, "features": f} for v, *f in values]}
        case "object":
            return entry | {"members": [_member(word) for word in words]}
        case "union":
            tag, *words = words
            bar = words.index("|")
            cases = [word.split("=") for word in words[bar + 1 :]]
            variants = [{"case": case, "type": type_} for case, type_ in cases]
            members = [_member(word) for word in words[:bar]]
            union = {"meta-type": "object", "tag": tag, "members": members, "variants": variants}
            return entry | union
        case "alternate":
            return entry | {"members": [{"type": word} for word in words]}
        case _:
            raise AssertionError(line)


def _introspect(text: str) -> list[Entry]:
    entries = [_entry(line) for line in text.splitlines() if line.strip()]
    for name, json_type in BUILTINS.items():
        entries.append({"meta-type": "builtin", "name": name, "json-type": json_type})
    entries.append({"meta-type": "object", "name": "0", "members": []})
    pending = re.findall(r"\[\S+\]", text)
    while pending:
        array = pending.pop()
        entries.append({"meta-type": "array", "name": array, "element-type": array[1:-1]})
        if array.startswith("[["):
            pending.append(array[1:-1])
    return entries


@pytest.fixture
def introspect() -> Introspect:
    """Turn the text of a small schema into an introspection reply."""
    return _introspect


@pytest.fixture
def bind_small() -> Bind:
    """Merge small schemas, by snapshot name; everything in them is bound, in one domain."""

    def run(
        snapshots: Mapping[str, str] | str, names: Mapping[str, str], **config: object
    ) -> Merged:
        texts = {"system-1.0": snapshots} if isinstance(snapshots, str) else snapshots
        models = {name: Schema.from_json(_introspect(text)) for name, text in texts.items()}
        found = dict.fromkeys(re.findall(r"(command|event) (\S+)", " ".join(texts.values())))
        domain = Domain(
            "everything",
            "All of a small schema.",
            tuple(name for kind, name in found if kind == "command"),
            tuple(name for kind, name in found if kind == "event"),
        )
        settings: dict[str, object] = {"domains": (domain,), "names": names, **config}
        return bind(models, Config(**settings))  # type: ignore[arg-type]  # whatever the test says

    return run


@pytest.fixture
def generate(
    bind_small: Bind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Generate]:
    """Merge small schemas as above, write the package and import it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    loaded: list[str] = []

    def run(*args: object, **config: object) -> ModuleType:
        name = f"small_wire_{next(_counter)}"
        write(render(bind_small(*args, **config)), tmp_path / name)
        importlib.invalidate_caches()
        loaded.append(name)
        return importlib.import_module(name)

    yield run
    for module in list(sys.modules):
        if module.partition(".")[0] in loaded:
            del sys.modules[module]
