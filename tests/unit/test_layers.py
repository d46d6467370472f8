"""A layer imports only from layers to its left: no arrow points right, none closes a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import qemu_blocksdk

PACKAGE = Path(qemu_blocksdk.__file__).parent
LAYERS = (
    *("errors", "schema", "codec", "wire", "qmp", "blockdev", "graph", "jobs", "filters"),
    *("tools", "objects", "aio", "blocking", "__init__", "testing", "iotests", "cli"),
)
"""docs/architecture.md draws them; ``__init__`` is what a user imports."""


def layer_of(module: str) -> str:
    """The layer that a module of the package lies in; a mere name is one of ``__init__``'s."""
    first = module.split(".")[1:2]
    return first[0] if first and first[0] in LAYERS else "__init__"


def imported(path: Path, source: str) -> Iterator[str]:
    """The package's own modules that a module imports, also for type checkers only."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*parts, node.module or "")).rstrip(".")
            # `from qemu_blocksdk import tools` means the layer, not the package.
            is_package = module == "qemu_blocksdk"
            yield from (f"{module}.{alias.name}" if is_package else module for alias in node.names)


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
        "import qemu_blocksdk.blocking.objects",
        "from ..objects.job import AsyncJob",
        "from .. import VM",
    ],
)
def test_an_arrow_to_the_right_is_seen_however_it_is_written(source: str) -> None:
    assert arrows_to_the_right(PACKAGE / "qmp" / "link.py", source) != []


def test_an_arrow_to_the_left_is_fine() -> None:
    assert arrows_to_the_right(PACKAGE / "qmp" / "link.py", "from ..errors import UsageError") == []
