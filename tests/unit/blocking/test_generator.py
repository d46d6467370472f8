"""The generator of the blocking face, on small sources written for the purpose."""

from __future__ import annotations

import ast
import subprocess
import sys

from qemu_blocksdk import blocking
from qemu_blocksdk.blocking import __main__ as generator

NODE = '''
from collections.abc import AsyncIterator
from typing import Self

class AsyncNode:
    """A node, used with ``async for``."""

    def __init__(self, qmp: object, name: str) -> None: ...

    @property
    def name(self) -> str:
        """The name."""

    async def query(self, *, deep: bool = False) -> int:
        """Ask; see :class:`AsyncNode`."""

    async def copy(self, target: "AsyncNode | None" = None) -> object: ...

    async def clone(self, target: AsyncNode, other: AsyncNode | None = None) -> AsyncNode: ...

    async def children(self) -> list[AsyncNode]: ...

    async def adopt(self, nodes: Sequence[AsyncNode | str] = ()) -> None: ...

    async def parent(self) -> AsyncNode | None: ...

    def plain(self) -> int: ...

    async def watch(self, interval: float) -> AsyncIterator[int]:
        yield 1

    async def fast(self, x: int) -> int: ...

    def fast_from_thread(self, x: int) -> int: ...

    @classmethod
    async def make(cls, name: str) -> Self: ...

    async def __aenter__(self) -> Self: ...

    async def _hidden(self) -> None: ...
'''
DAEMON = '''
class AsyncDaemon:
    """A daemon."""

    def __init__(self, program: str = "p", *, timeout: float = 1.0) -> None:
        """Describe it."""
'''


def generated(sources: dict[str, str]) -> str:
    """All generated files, one after the other."""
    return "\n".join(generator.generate(sources).values())


def methods(source: str, cls: str) -> dict[str, str]:
    """The text of each method of a generated class, without its docstring."""
    module = ast.parse(generated({"objects/node.py": source}))
    (found,) = (n for n in module.body if isinstance(n, ast.ClassDef) and n.name == cls)
    result: dict[str, str] = {}
    for node in found.body:
        if isinstance(node, ast.FunctionDef):
            body = [s for s in node.body if not isinstance(s, ast.Expr) or _is_code(s)]
            result[node.name] = "\n".join(ast.unparse(statement) for statement in body)
    return result


def _is_code(statement: ast.Expr) -> bool:
    return not isinstance(statement.value, ast.Constant)


def test_a_coroutine_is_one_call_into_the_loop() -> None:
    assert (
        methods(NODE, "Node")["query"] == "return background_loop.run(self._async.query(deep=deep))"
    )


def test_a_plain_method_runs_in_the_loops_thread() -> None:
    assert (
        methods(NODE, "Node")["plain"] == "return background_loop.call(lambda: self._async.plain())"
    )


def test_a_property_is_read_directly() -> None:
    assert methods(NODE, "Node")["name"] == "return self._async.name"


def test_async_arguments_are_unwrapped_and_results_wrapped() -> None:
    assert methods(NODE, "Node")["clone"] == (
        "work = self._async.clone(target._async, None if other is None else other._async)\n"
        "return Node._of(background_loop.run(work))"
    )


def test_lists_and_absent_results_are_wrapped() -> None:
    found = methods(NODE, "Node")
    assert found["children"] == (
        "return [Node._of(item) for item in background_loop.run(self._async.children())]"
    )
    assert found["parent"] == (
        "work = self._async.parent()\n"
        "return None if (found := background_loop.run(work)) is None else Node._of(found)"
    )


def test_what_is_no_face_in_a_sequence_is_passed_as_it_is() -> None:
    assert methods(NODE, "Node")["adopt"] == (
        "work = self._async.adopt("
        "[item._async if isinstance(item, Node) else item for item in nodes])\n"
        "return background_loop.run(work)"
    )


def test_an_async_generator_becomes_an_iterator() -> None:
    text = generated({"objects/node.py": NODE})
    assert "def watch(self, interval: float) -> Iterator[int]:" in text
    assert "yield from background_loop.iterate(self._async.watch(interval))" in text


def test_the_way_from_a_thread_is_preferred_and_not_shown() -> None:
    found = methods(NODE, "Node")
    assert found["fast"] == "return self._async.fast_from_thread(x)"
    assert "fast_from_thread" not in found


def test_context_managers_and_class_methods_are_translated() -> None:
    found = methods(NODE, "Node")
    assert found["__enter__"] == "background_loop.run(self._async.__aenter__())\nreturn self"
    assert found["make"] == "return cls._of(background_loop.run(AsyncNode.make(name)))"


def test_private_methods_have_no_face() -> None:
    assert "_hidden" not in methods(NODE, "Node")


def test_only_a_documented_constructor_has_a_twin() -> None:
    assert "__init__" not in methods(NODE, "Node")
    assert methods(DAEMON, "Daemon")["__init__"] == (
        "self._hold(background_loop.call(lambda: AsyncDaemon(program, timeout=timeout)))"
    )


def test_docstrings_speak_of_the_blocking_names() -> None:
    text = generated({"objects/node.py": NODE})
    assert '"""Ask; see :class:`Node`."""' in text
    assert '"""A node, used with ``for``."""' in text


def test_what_is_committed_is_what_the_sources_give() -> None:
    sources = {name: (generator.PACKAGE / name).read_text() for name in generator.SOURCES}
    for name, text in generator.generate(sources).items():
        assert (generator.TARGET / name).read_text() == text


def test_every_public_async_class_has_a_blocking_one() -> None:
    written = {
        node.name
        for room in ("qmp", "objects", "recipes")
        for path in (generator.PACKAGE / room).glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Async")
    } - {"AsyncResource"}
    assert written == {f"Async{name}" for name in blocking.__all__}


def test_a_class_is_one_file_of_lines_that_can_be_read() -> None:
    for name in blocking.__all__:
        path = generator.TARGET / f"{generator.module_name(name)}.py"
        lines = path.read_text().splitlines()
        assert max(map(len, lines)) <= 100
        (start,) = (line for line in lines if line.startswith("class "))
        assert start.startswith(f"class {name}(")
        assert getattr(blocking, name).__module__ == f"qemu_blocksdk.blocking.{path.stem}"


def test_a_class_is_loaded_when_it_is_used() -> None:
    program = "import sys; from qemu_blocksdk import Image; print(*sys.modules, sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    loaded = {name for name in run.stdout.split() if name.startswith("qemu_blocksdk.blocking.")}
    assert loaded == {"qemu_blocksdk.blocking.image", "qemu_blocksdk.blocking.proxy"}


def test_a_class_method_makes_an_object_of_the_subclass() -> None:
    child = 'from .node import AsyncNode\n\nclass AsyncLeaf(AsyncNode):\n    """A leaf."""\n'
    text = generated({"objects/node.py": NODE, "objects/leaf.py": child})
    leaf = text.partition("class Leaf")[2]
    assert "return cls._of(background_loop.run(AsyncLeaf.make(name)))" in leaf
    assert "def query(" not in leaf
