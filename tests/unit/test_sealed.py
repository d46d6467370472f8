"""No frame of ours, and nothing that an error holds, leaves a door."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import qemu_blocksdk
from qemu_blocksdk import aio, blocking
from qemu_blocksdk.blockdev import from_json
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import is_door, sealed, sealed_class
from qemu_blocksdk.testing.event_queue import QueuedQmp
from qemu_blocksdk.testing.images import AsyncImages, Images
from qemu_blocksdk.testing.machines import Machines
from qemu_blocksdk.tools.nbd import NbdUri

SECRET = "hunter2HUNT"
PACKAGE = Path(qemu_blocksdk.__file__).parent
CLASSES: list[type] = [
    *(getattr(aio, name) for name in aio.__all__),
    *(getattr(blocking, name) for name in blocking.__all__),
    *(Secret, QueuedQmp, Machines, Images, AsyncImages),
]
# What does not need it: it takes no arguments, or what it takes is an error.
FREE = {
    "__repr__",
    "__eq__",
    "__hash__",
    "__aiter__",
    "__iter__",
    "__reduce__",
    "__copy__",
    "__deepcopy__",
    "__init_subclass__",
}
# Modules that ask for the environment of a script when they are imported.
DROP_IN = ("images", "servers", "programs", "machine", "vm", "protocols")


def offered(cls: type) -> Iterator[tuple[str, object]]:
    """The functions of ours that users of a class call."""
    for name in dir(cls):
        member: object = inspect.getattr_static(cls, name)
        function: object = getattr(member, "__func__", member)
        if (name[0] == "_" and name[:2] != "__") or name in FREE:
            continue
        if isinstance(function, FunctionType) and function.__module__.startswith("qemu_blocksdk"):
            yield name, function


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_all_that_a_class_offers_is_sealed(cls: type) -> None:
    functions = dict(offered(cls))
    assert functions
    open_ones = [
        name
        for name, function in functions.items()
        if not (isinstance(function, FunctionType) and is_door(function))
        and not inspect.isasyncgenfunction(function)
    ]
    assert open_ones == []


def test_what_is_no_door_takes_nothing_but_numbers() -> None:
    found = {
        str(inspect.signature(function))
        for cls in CLASSES
        for _, function in offered(cls)
        if isinstance(function, FunctionType) and inspect.isasyncgenfunction(function)
    }
    assert all("str" not in signature and "object" not in signature for signature in found)


def test_the_functions_and_classes_of_the_drop_in_are_sealed() -> None:
    found: dict[str, str] = {}
    for module in DROP_IN:
        for node in ast.parse((PACKAGE / "iotests" / f"{module}.py").read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                found[node.name] = " ".join(ast.unparse(each) for each in node.decorator_list)
    open_ones = {name for name, decorators in found.items() if "sealed" not in decorators}
    assert {name for name in open_ones if not name.endswith("Error")} == {
        *("AbnormalShutdown", "get_virtio_scsi_device"),
    }
    assert len(found) > 30


def test_the_frames_of_a_callback_stay() -> None:
    @sealed
    def verb(argument: str) -> None:
        callback()

    def callback() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError) as raised:
        verb(SECRET)
    assert raised.traceback[-1].name == "callback"


def test_a_fault_of_ours_says_where_it_was() -> None:
    with pytest.raises(TypeError) as raised:
        NbdUri.parse(3)  # type: ignore[arg-type]
    assert any("nbd.py" in note for note in raised.value.__notes__)


def test_an_assertion_that_says_something_is_no_fault() -> None:
    with pytest.raises(AssertionError) as raised:
        _assert_in_the_package("no such node")
    assert not hasattr(raised.value, "__notes__")


def _assert_in_the_package(what: str) -> None:
    def verb() -> None:
        raise AssertionError(what)

    sealed(FunctionType(verb.__code__, {"__name__": "qemu_blocksdk.x"}, closure=verb.__closure__))()


def test_what_an_error_of_python_is_about_is_gone() -> None:
    with pytest.raises(UsageError) as raised:
        from_json(f'{{"cookie": "{SECRET}", ')
    cause = raised.value.__cause__
    assert isinstance(cause, json.JSONDecodeError)
    assert cause.doc == ""
    with pytest.raises(UsageError) as refused:
        Secret(f"{SECRET}\ud800")
    about = refused.value.__cause__
    assert isinstance(about, UnicodeEncodeError)
    assert SECRET not in f"{about!r}{about.args}{about.object}{about}"


def test_the_callers_own_errors_stay_as_they_are() -> None:
    with pytest.raises(TypeError) as raised:  # noqa: PT012 - the error that is being handled
        try:
            json.loads(f'{{"mine": "{SECRET}", ')
        except ValueError:
            NbdUri.parse(3)  # type: ignore[arg-type]
    context = raised.value.__context__
    assert isinstance(context, json.JSONDecodeError)
    assert SECRET in context.doc
    assert context.__traceback__ is not None


def test_a_class_of_the_callers_is_not_sealed() -> None:
    class Mine(aio.AsyncVM):
        def verb(self) -> None:
            """Own code: the caller sees its frames."""

    assert not is_door(Mine.verb)
    assert sealed_class(Mine) is Mine
    assert not is_door(Mine.verb)
