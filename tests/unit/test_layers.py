"""A layer imports only from layers to its left, and no modules import each other in a circle.

The first holds for every import, also one for type checkers only; the second for those that
run, at whatever time: what stands under `if TYPE_CHECKING` may close a circle inside a layer.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import qemu_blocksdk

PACKAGE = Path(qemu_blocksdk.__file__).parent
LAYERS = (
    *(
        "terminal",
        "redaction",
        "sealed",
        "errors",
        "lazy",
        "schema",
        "codec",
        "wire",
        "qmp",
        "blockdev",
        "graphviz",
        "graph",
        "jobs",
        "filters",
    ),
    *("tools", "objects", "recipes", "aio", "blocking", "__init__", "testing", "iotests", "cli"),
)
"""docs/architecture.md draws them; ``__init__`` is what a user imports."""


def layer_of(module: str) -> str:
    """The layer that a module of the package lies in; a mere name is one of ``__init__``'s."""
    first = module.split(".")[1:2]
    return first[0] if first and first[0] in LAYERS else "__init__"


def name_of(path: Path) -> str:
    """The module that a file is."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def run_time(node: ast.AST) -> Iterator[ast.AST]:
    """A tree's nodes, without what stands under `if TYPE_CHECKING`."""
    yield node
    skipped: list[ast.stmt] = []
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        is_negated = isinstance(node.test, ast.UnaryOp)
        skipped = node.orelse if is_negated else node.body
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from run_time(child)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """As :func:`run_time`, without the bodies of functions."""
    for each in run_time(node):
        if isinstance(each, ast.FunctionDef):
            each.body.clear()
        yield each


def imported_names(path: Path, nodes: Iterator[ast.AST]) -> Iterator[tuple[str, str]]:
    """What is imported, however: module and name; the name is empty for a module alone."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in nodes:
        match node:
            case ast.Import(names=aliases):
                yield from ((alias.name, "") for alias in aliases)
            case ast.ImportFrom(level=level, names=aliases):
                parts = package[: len(package) + 1 - level] if level else ()
                module = ".".join((*parts, node.module or "")).rstrip(".")
                yield from ((module, alias.name) for alias in aliases)
            case ast.Call(
                func=ast.Name(id=function) | ast.Attribute(attr=function),
                args=[ast.Constant(value=str(module)), *_],
            ) if function in ("import_module", "__import__"):
                # A relative one is meant from the module's own package.
                yield (".".join(package) + module if module.startswith(".") else module), ""
            case _:
                pass


def imported(path: Path, source: str) -> Iterator[str]:
    """The package's own modules that a module imports, also for type checkers only."""
    for module, name in imported_names(path, ast.walk(ast.parse(source))):
        # `from qemu_blocksdk import tools` means the layer, not the package.
        yield f"{module}.{name}" if module == "qemu_blocksdk" and name else module


def circle(
    sources: Mapping[Path, str], *, nodes: Callable[[ast.AST], Iterator[ast.AST]] = run_time
) -> list[str]:
    """Modules that import each other, the first one again at the end; at run time by default."""
    modules = {name_of(path) for path in sources}
    graph = {
        name_of(path): {
            # `from . import snapshots` means the module, `from . import Name` the package.
            f"{module}.{name}" if f"{module}.{name}" in modules else module
            for module, name in imported_names(path, nodes(ast.parse(source)))
        }
        for path, source in sources.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def arrows_to_the_right(path: Path, source: str) -> list[str]:
    own = LAYERS.index(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    return [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for module in imported(path, source)
        if module.split(".")[0] == "qemu_blocksdk" and LAYERS.index(layer_of(module)) > own
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_no_import_points_to_a_layer_on_the_right(path: Path) -> None:
    assert arrows_to_the_right(path, path.read_text()) == []


def test_every_module_belongs_to_a_layer() -> None:
    rooms = {
        path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")
    }
    assert rooms <= set(LAYERS)


@pytest.mark.parametrize(
    "source",
    [
        "from qemu_blocksdk.objects import AsyncNode",
        "from qemu_blocksdk import objects",
        "import qemu_blocksdk.blocking",
        "from ..objects.job import AsyncJob",
        "from .. import VM",
        "import importlib; importlib.import_module('qemu_blocksdk.objects')",
        "def f():\n    return import_module('qemu_blocksdk.objects.node')",
        "__import__('qemu_blocksdk.tools')",
        "if TYPE_CHECKING:\n    from qemu_blocksdk.objects import AsyncNode",
    ],
)
def test_an_arrow_to_the_right_is_seen_however_it_is_written(source: str) -> None:
    assert arrows_to_the_right(PACKAGE / "qmp" / "link.py", source) != []


def test_an_arrow_to_the_left_is_fine() -> None:
    assert arrows_to_the_right(PACKAGE / "qmp" / "link.py", "from ..errors import UsageError") == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "blocking"]
    assert circle({path: path.read_text() for path in paths}) == []


def test_blocking_classes_import_each_other_in_their_methods_only() -> None:
    paths = (PACKAGE / "blocking").glob("*.py")
    assert circle({path: path.read_text() for path in paths}, nodes=at_import) == []


def test_graph_has_no_circle_of_imports_for_type_checkers_either() -> None:
    sources = {path: path.read_text() for path in (PACKAGE / "graph").glob("*.py")}
    assert len(sources) == 7
    assert circle(sources, nodes=ast.walk) == []


NODE = PACKAGE / "objects" / "node.py"
BITMAP = PACKAGE / "objects" / "bitmap.py"
OBJECTS = PACKAGE / "objects" / "__init__.py"


@pytest.mark.parametrize(
    "source",
    [
        "from .node import AsyncNode",
        "from . import node",
        "from qemu_blocksdk.objects import node",
        "import qemu_blocksdk.objects.node",
        "def f():\n    from .node import AsyncNode",
        "importlib.import_module('qemu_blocksdk.objects.node')",
        "importlib.import_module('.node', __package__)",
        "if not TYPE_CHECKING:\n    from .node import AsyncNode",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from .node import AsyncNode",
        "from . import AsyncNode",
    ],
)
def test_a_circle_is_seen_however_it_is_written(source: str) -> None:
    sources = {NODE: "from .bitmap import AsyncBitmap", BITMAP: source}
    found = circle({**sources, OBJECTS: "from .node import AsyncNode"})
    assert {"qemu_blocksdk.objects.node", "qemu_blocksdk.objects.bitmap"} <= set(found)


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    from .node import AsyncNode",
        "if typing.TYPE_CHECKING:\n    from .node import AsyncNode",
        "if not TYPE_CHECKING:\n    pass\nelse:\n    from .node import AsyncNode",
        "import_module('.unwind', __package__)",
    ],
)
def test_what_never_runs_closes_no_circle(source: str) -> None:
    assert circle({NODE: "from .bitmap import AsyncBitmap", BITMAP: source}) == []


def test_a_circle_for_type_checkers_is_seen_when_asked_for() -> None:
    source = "if TYPE_CHECKING:\n    from .node import AsyncNode"
    found = circle({NODE: "from .bitmap import AsyncBitmap", BITMAP: source}, nodes=ast.walk)
    assert {"qemu_blocksdk.objects.node", "qemu_blocksdk.objects.bitmap"} <= set(found)
