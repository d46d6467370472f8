"""Loops that Ctrl-C may interrupt stand where Python 3.13 still runs the clean-up around them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import qemu_blocksdk

PACKAGE = Path(qemu_blocksdk.__file__).parent
_GUARDS = (ast.With, ast.Try)


def _guarded_loops(node: ast.AST, *, is_guarded: bool = False) -> Iterator[int]:
    """Yield the lines of ``while condition`` inside a ``with`` or ``try`` of the same function.

    Not those of coroutines: Ctrl-C cancels these, and raises nothing in them.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.AsyncFunctionDef):
            continue
        if isinstance(child, (ast.FunctionDef, ast.Lambda)):
            yield from _guarded_loops(child)
            continue
        if isinstance(child, ast.While) and is_guarded and not isinstance(child.test, ast.Constant):
            yield child.lineno
        yield from _guarded_loops(child, is_guarded=is_guarded or isinstance(child, _GUARDS))


def test_no_loop_with_a_condition_stands_in_a_block_that_cleans_up() -> None:
    # Python 3.13: what is raised at the jump back of such a loop passes by the `with` and `try`
    # around it in the same function. Those of a caller see it.
    found = [
        f"{file.relative_to(PACKAGE)}:{line}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if " while " in (text := file.read_text())
        for line in _guarded_loops(ast.parse(text))
    ]
    assert found == []
