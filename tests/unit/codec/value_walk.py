"""A program: every value class of the package, before and after its attrs metadata is read.

For each property, a process of its own computes it for all classes, then reads the metadata of all
classes, computes it again, and reports where the two differ.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import inspect
import json
import os
import pickle
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import cast

import qemu_blocksdk
from qemu_blocksdk.codec import Command, Event, Struct, Value, evolve
from qemu_blocksdk.codec.value import shape
from qemu_blocksdk.errors import UsageError

Make = Callable[..., Value]
FRAGILE = {"BlockGraph"}
"""Classes whose constructor examines its members."""


def value_classes() -> list[type[Value]]:
    """Every concrete value class of the package."""
    for module in pkgutil.walk_packages(qemu_blocksdk.__path__, "qemu_blocksdk."):
        # What runs scripts of iotests reads their environment when it is imported.
        with contextlib.suppress(UsageError):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found = dict[type[Value], None]()
    todo = [Value]
    while todo:
        for each in todo.pop().__subclasses__():
            todo.append(each)
            if "_is_base" not in vars(each):
                found[each] = None
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def value_of(cls: type[Value], text: str = "a") -> Value:
    """A value of the class: constructors do not examine types."""
    members = dict.fromkeys(shape(cls).required, () if cls.__name__ in FRAGILE else text)
    return cast("Make", cls)(**members)


def first_member(cls: type[Value]) -> str | None:
    return next(iter(shape(cls).order), None)


def refusals(cls: type[Value]) -> object:
    value = value_of(cls)
    found = list[object]()
    for change in (
        functools.partial(setattr, value, "x", 1),
        functools.partial(delattr, value, "x"),
    ):
        try:
            change()
        except AttributeError as error:
            found += [type(error).__name__ == "FrozenInstanceError", str(error)]
    return found


def equality(cls: type[Value]) -> object:
    value, same = value_of(cls), value_of(cls)
    return [value == same, value != same, value == value_of(cls, "b"), value == "a"]


def matched(cls: type[Value]) -> object:
    value: object = value_of(cls)
    match value:
        case cls():
            return [True, cls.__match_args__ == ()]
        case _:
            return [False]


def bases(cls: type[Value]) -> object:
    return [
        *(issubclass(cls, base) for base in (Struct, Command, Event)),
        *(base.__qualname__ for base in cls.__mro__),
        type(cls).__qualname__,
        *dir(cls),
        *dir(value_of(cls)),
    ]


def restored(again: Value, cls: type[Value]) -> object:
    return [type(again) is cls, again == value_of(cls), repr(again) == repr(value_of(cls))]


def pickled(cls: type[Value]) -> object:
    try:
        text = pickle.dumps(value_of(cls))
    except TypeError as error:
        return str(error)  # of what has a Secret by default
    return restored(pickle.loads(text), cls)


def known_to_attrs(cls: type[Value]) -> object:
    import attrs

    # pytest, for one, asks the instance.
    return [attrs.has(cls), hasattr(value_of(cls), "__attrs_attrs__")]


def fields(cls: type[Value]) -> object:
    import attrs

    fields = attrs.fields(cls)
    names = [field.name for field in fields]
    order = [*shape(cls).order, *(("unknown_members",) if issubclass(cls, Struct) else ())]
    return [
        names == order == [*inspect.signature(cls).parameters],
        attrs.fields(cls) is fields,
        [str((field.default, field.type, field.kw_only, field.alias)) for field in fields],
    ]


def as_dictionary(cls: type[Value]) -> object:
    import attrs

    value = value_of(cls)
    found = attrs.asdict(value, recurse=False)
    return [found == {field.name: getattr(value, field.name) for field in attrs.fields(cls)}]


def evolved_by(change: Callable[..., Value], cls: type[Value]) -> object:
    """What a function of the kind of ``attrs.evolve`` makes of a value."""
    value, name = value_of(cls), first_member(cls)
    changes = {} if name is None or cls.__name__ in FRAGILE else {name: "changed"}
    other = change(value, **changes)
    try:
        misspelt: object = change(value, misspelt=1)
    except TypeError as error:
        misspelt = str(error)
    found: list[object] = [
        type(other) is cls,
        all(getattr(other, name) == member for name, member in changes.items()),
        (other == value) == (not changes),
        value == value_of(cls),
        misspelt,
    ]
    if issubclass(cls, Struct):
        newer = change(value, unknown_members={"from-newer": {"a": 1}})
        after = change(newer, **changes)
        found += [after != other, cast("Struct", after).unknown_members == {"from-newer": {"a": 1}}]
        found += [change(after, unknown_members={}) == other]
    return found


def evolved_by_attrs(cls: type[Value]) -> object:
    import attrs

    return evolved_by(cast("Callable[..., Value]", attrs.evolve), cls)


def evolved_by_us(cls: type[Value]) -> object:
    return evolved_by(evolve, cls)


def replaced(cls: type[Value]) -> object:
    """What ``copy.replace`` does, since Python 3.13."""
    method = "__replace__"

    def replace(value: Value, **changes: object) -> Value:
        return cast("Make", getattr(value, method))(**changes)

    return evolved_by(replace, cls)


PROPERTIES: dict[str, Callable[[type[Value]], object]] = {
    "frozen": refusals,
    "equality": equality,
    "hash": lambda cls: [
        hash(value_of(cls)) == hash(value_of(cls)),
        len({value_of(cls), value_of(cls)}),
    ],
    "pickle": pickled,
    "copy": lambda cls: restored(copy.copy(value_of(cls)), cls),
    "deepcopy": lambda cls: restored(copy.deepcopy(value_of(cls)), cls),
    "repr": lambda cls: repr(value_of(cls)),
    "pattern matching": matched,
    "signature": lambda cls: str(inspect.signature(cls)),
    "bases": bases,
    "attrs.has": known_to_attrs,
    "attrs.fields": fields,
    "attrs.asdict": as_dictionary,
    "attrs.evolve": evolved_by_attrs,
    "evolve": evolved_by_us,
    "copy.replace": replaced,
}


def differences(name: str, classes: list[type[Value]]) -> Iterator[str]:
    """The classes of which a property changes when the metadata is read."""
    compute = PROPERTIES[name]
    assert not any("_attrs_class" in vars(cls) for cls in classes), "somebody has read it"
    before = [compute(cls) for cls in classes]
    import attrs

    for cls in classes:
        attrs.fields(cls)
    assert all("_attrs_class" in vars(cls) for cls in classes)
    for cls, first in zip(classes, before, strict=True):
        if (second := compute(cls)) != first:
            yield f"{name} of {cls.__qualname__}: {first} before, {second} after"
        wrong = isinstance(first, list) and False in first and name not in ("bases", "equality")
        if wrong:
            yield f"{name} of {cls.__qualname__}: {first}"


def main() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # of options that QEMU deprecates
    classes = value_classes()
    assert "attr" not in sys.modules, "the walk is to start without attrs"
    report: dict[str, object] = {"classes": len(classes)}
    for name in PROPERTIES:
        source, target = os.pipe()
        if os.fork() == 0:
            with os.fdopen(target, "w") as out:
                try:
                    json.dump([*differences(name, classes)], out)
                except BaseException as error:
                    json.dump([f"{name}: {error!r}"], out)
                    raise
            os._exit(0)
        os.close(target)
        with os.fdopen(source) as lines:
            report[name] = json.load(lines)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
