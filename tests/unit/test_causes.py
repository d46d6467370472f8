"""No error is its own cause: whoever prints one, or walks its causes, comes to an end."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import qemu_blocksdk
from qemu_blocksdk import Qmp
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import BlockSdkError, CommandError, ConnectionLost, Unsupported
from qemu_blocksdk.testing import ReplayServer
from qemu_blocksdk.testing.pytest_plugin import _leave_out_ours
from qemu_blocksdk.testing.replay import Exchange
from qemu_blocksdk.wire import QomGet, QueryJobs

pytestmark = pytest.mark.timeout(20)

PACKAGE = Path(qemu_blocksdk.__file__).parent
MODULES = {
    path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))
}


def _functions() -> dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for tree in MODULES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, []).append(node)
    return found


FUNCTIONS = _functions()


def _calls(expression: ast.expr) -> Iterator[ast.Call]:
    return (node for node in ast.walk(expression) if isinstance(node, ast.Call))


def _name(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _returns_an_argument(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = {each.arg for each in [*function.args.args, *function.args.kwonlyargs]}
    return any(
        isinstance(node, ast.Return)
        and isinstance(node.value, ast.Name)
        and node.value.id in arguments
        for node in ast.walk(function)
    )


def _may_be(raised: ast.expr, cause: ast.expr, scope: ast.AST) -> str:
    """Say why the raised error may be its cause; empty where it cannot be."""
    if ast.dump(raised) == ast.dump(cause):
        return "it is"
    if isinstance(raised, ast.Name) and raised.id[0].isupper():
        return ""  # a class
    if isinstance(raised, ast.Name):
        values = [
            node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == raised.id for t in node.targets)
        ]
        if not values:
            return f"where {raised.id} comes from is not seen here"
        return next(filter(None, (_may_be(value, cause, scope) for value in values)), "")
    calls = list(_calls(raised))
    if not calls:
        return "it is made somewhere else"
    for call in calls:
        given = {
            node.id for each in call.args for node in ast.walk(each) if isinstance(node, ast.Name)
        }
        if isinstance(cause, ast.Name) and cause.id in given:
            for function in FUNCTIONS.get(_name(call), []):
                if _returns_an_argument(function):
                    return f"{function.name}() may return what it was given"
    return ""


def test_no_error_is_raised_from_itself() -> None:
    found: list[str] = []
    seen = 0
    for path, tree in MODULES.items():
        for scope in ast.walk(tree):
            if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(scope):
                if isinstance(node, ast.Raise) and node.exc is not None and node.cause is not None:
                    seen += 1
                    if why := _may_be(node.exc, node.cause, scope):
                        found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {why}")
    assert seen > 50
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    try: pass\n    except E as e: raise e from e",
        "def f(first, e): raise first from e",
        "def f(e):\n    x = e\n    raise x from e",
    ],
)
def test_the_check_finds_them(source: str) -> None:
    scope = ast.parse(source)
    (node,) = (each for each in ast.walk(scope) if isinstance(each, ast.Raise))
    assert node.exc is not None
    assert node.cause is not None
    assert _may_be(node.exc, node.cause, scope)


def assert_no_circle(error: BaseException) -> None:
    """Fail where an error, its causes, contexts and members lead back to one of them."""
    above: list[BaseException] = []

    def walk(each: BaseException | None) -> None:
        if each is None:
            return
        assert all(each is not other for other in above), f"a circle at {each!r}"
        above.append(each)
        walk(each.__cause__)
        walk(each.__context__)
        for member in getattr(each, "exceptions", ()):
            walk(member)
        above.pop()

    walk(error)
    traceback.format_exception(error)


_REFUSED: JsonObject = {"error": {"class": "GenericError", "desc": "Invalid parameter 'x'"}}
_MISSING: JsonObject = {"error": {"class": "CommandNotFound", "desc": "no such command"}}
_CALLS: dict[str, Callable[[Qmp], object]] = {
    "typed": lambda qmp: qmp.execute(QueryJobs()),
    "with arguments": lambda qmp: qmp.execute(QomGet(path="/", property="x")),
    "raw": lambda qmp: qmp.execute_raw("query-jobs"),
}


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("reply", [_REFUSED, _MISSING], ids=["refused", "missing"])
def test_a_refusal_has_no_circle(call: str, reply: JsonObject) -> None:
    session = [
        Exchange(execute="query-jobs", says=[reply]),
        Exchange(execute="qom-get", arguments={"path": "/", "property": "x"}, says=[reply]),
    ]
    with (
        ReplayServer(session, in_order=False) as server,
        Qmp.connect(server.address) as qmp,
    ):
        for _ in range(2):
            with pytest.raises((CommandError, Unsupported)) as caught:
                _CALLS[call](qmp)
            assert_no_circle(caught.value)


def test_the_end_of_a_connection_is_another_error_for_each_caller() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        qmp.close()
        errors: list[BlockSdkError] = []
        for _ in range(3):
            with pytest.raises(ConnectionLost) as caught:
                qmp.execute(QueryJobs())
            errors.append(caught.value)
            try:
                raise LookupError from errors[0]
            except LookupError as error:
                assert_no_circle(error)
    assert len(set(map(id, errors))) == 3


def test_the_report_of_a_failed_test_comes_to_an_end_even_in_a_circle() -> None:
    first, second = UsageErrorOfOurs("first"), AssertionError("second")
    first.__cause__, second.__cause__ = second, first
    _leave_out_ours(first)


class UsageErrorOfOurs(BlockSdkError):
    """Any error of the tree."""
