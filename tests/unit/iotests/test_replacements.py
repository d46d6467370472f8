"""The table of replacements has every name of the drop-in, and says what the page says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from qemu_blocksdk.iotests.replacements import IMG_COMMANDS, NAMES, QMP_COMMANDS

OF_MACHINES = {"temp_dir", "log_dir"}
"""What scripts ask of a `QEMUMachine` of their own only."""
ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "from-iotests.md").read_text()


def test_the_table_has_every_name_of_the_face() -> None:
    tree = ast.parse((ROOT / "qemu_blocksdk" / "iotests" / "face.py").read_text())
    names = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names == {name for name in NAMES if "." not in name}


def test_the_table_has_every_method_of_the_classes_of_scripts() -> None:
    methods = {
        f"{owner}.{method}"
        for module, classes in {
            "iotests/machine.py": {"QEMUMachine": "VM", "QEMUQtestMachine": "VM"},
            "iotests/vm.py": {"VM": "VM"},
            "iotests/images.py": {"QemuIoInteractive": "QemuIoInteractive"},
            "iotests/case.py": {"QMPTestCase": "QMPTestCase"},
            "testing/assertions.py": {
                "MessageAssertions": "QMPTestCase",
                "QmpAssertions": "QMPTestCase",
            },
        }.items()
        for node in ast.parse((ROOT / "qemu_blocksdk" / module).read_text()).body
        if isinstance(node, ast.ClassDef) and (owner := classes.get(node.name))
        for method in (each.name for each in node.body if isinstance(each, ast.FunctionDef))
        if not method.startswith("_") and method not in OF_MACHINES
    }
    assert methods == {name for name in NAMES if "." in name}


def test_the_page_says_what_the_table_says() -> None:
    said: dict[str, dict[str, str]] = {"iotests": {}, "qemu-img": {}, "QMP": {}}
    for kind, rows in re.findall(r"^\| (.+?) \| here \|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        for left, code in re.findall(r"^\| (`.+?) \| .*?`([^`]+)`", rows, re.MULTILINE):
            said[kind] |= dict.fromkeys(re.findall(r"`([^`]+)`", left), code)
    tables = {"iotests": NAMES, "qemu-img": IMG_COMMANDS, "QMP": QMP_COMMANDS}
    assert said.keys() == tables.keys()
    for kind, replacements in tables.items():
        assert said[kind].keys() == replacements.keys()
        for name, replacement in replacements.items():
            assert replacement in references(said[kind][name]), name


def references(code: str) -> set[str]:
    """The functions, methods and keywords of a line, as the table calls them."""
    preamble = ast.parse(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[2])
    homes: dict[str, str] = {}
    classes: dict[str, str] = {}
    for node in preamble.body:
        if isinstance(node, ast.ImportFrom):
            home = str(node.module).removeprefix("qemu_blocksdk.")
            homes |= {alias.name: f"{home}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.AnnAssign):
            classes[ast.unparse(node.target)] = ast.unparse(node.annotation).partition("[")[0]

    def class_of(node: ast.expr) -> str:
        if isinstance(node, ast.Call):
            return class_of(node.func)
        return classes.get(name := ast.unparse(node), name)

    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            found.add(homes.get(node.id, node.id))
        if isinstance(node, ast.Attribute):
            found.add(f"{class_of(node.value)}.{node.attr}")
        if isinstance(node, ast.Call):
            found |= {f"{ast.unparse(node.func)}({each.arg}=)" for each in node.keywords}
    return found
