"""Which names of ``iotests`` a script uses, where, and what stands for them here.

The script is read, never run. The one mechanism: a syntax tree is walked twice, first to learn
what its names stand for, then to find their uses. A method of what is not known is told by its
name; what is known to come from another module is none of ours.
"""

from __future__ import annotations

import ast
import warnings
from collections import ChainMap
from pathlib import Path
from typing import Literal

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError

from .replacements import IMG_COMMANDS, NAMES, QMP_COMMANDS

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMMANDS = {
    **dict.fromkeys((name for name in NAMES if name.startswith("qemu_img")), IMG_COMMANDS),
    **dict.fromkeys(("VM.qmp", "VM.command", "VM.qmp_log"), QMP_COMMANDS),
}
"""By what their first argument says."""


class Use(Value):
    """A name of ``iotests`` in a line of a script, and its replacement."""

    line: int
    name: str
    replacement: str


class _Meaning(Value):
    """What a name stands for: something in ``iotests``, an object of a class there, or neither."""

    kind: Literal["iotests", "member", "subclass", "object", "elsewhere", "unknown"]
    name: str = ""


_ELSEWHERE = _Meaning(kind="elsewhere")
_UNKNOWN = _Meaning(kind="unknown")


def survey(script: Path) -> list[Use]:
    """Return the uses of what has a replacement, in the order of their lines.

    Raises UsageError for what cannot be read, or is no Python.
    """
    reader = _Reader()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the script's, when it is run
            tree = ast.parse(script.read_bytes())
        reader.visit(tree)
        reader.uses.clear()
        reader.visit(tree)
    except SyntaxError as error:
        raise UsageError(f"{script}:{error.lineno or 1}: {error.msg}") from error
    except ValueError as error:  # Python before 3.11.4, for a NUL
        raise UsageError(f"{script}:1: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise UsageError(f"{script}: its expressions are nested too deeply") from error
    except OSError as error:
        raise UsageError(f"cannot read {script}: {error.strerror}") from error
    return sorted(dict.fromkeys(reader.uses), key=lambda use: use.line)


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.uses = list[Use]()
        self._calls = dict[ast.expr, ast.Call]()
        self._scopes = dict[ast.AST, dict[str, _Meaning]]()
        self._names = ChainMap[str, _Meaning]()
        self._class = self._names
        self._classes = dict[str, ChainMap[str, _Meaning]]()

    # -- what names stand for -----------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            meaning = _Meaning(kind="iotests") if each.name == "iotests" else _ELSEWHERE
            self._names[each.asname or each.name.partition(".")[0]] = meaning

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for each in node.names:
            if node.module != "iotests" or node.level:
                self._names[each.asname or each.name] = _ELSEWHERE
            elif each.name == "*":
                self._names.update({name: _member(name) for name in NAMES})
            else:
                self._names[each.asname or each.name] = _member(each.name)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._bind(target, self._meaning(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self._bind(node.target, self._meaning(node.value))

    def visit_withitem(self, node: ast.withitem) -> None:
        self.visit(node.context_expr)
        if node.optional_vars is not None:
            self._bind(node.optional_vars, self._meaning(node.context_expr))

    def _bind(self, target: ast.expr, meaning: _Meaning) -> None:
        self.visit(target)
        if isinstance(target, ast.Name):
            self._names[target.id] = meaning
        elif isinstance(target, ast.Attribute):
            self._class[ast.unparse(target)] = meaning
        elif isinstance(target, ast.Tuple | ast.List):
            for each in target.elts:
                self._bind(each, _UNKNOWN)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for each in (*node.decorator_list, *node.bases):
            self.visit(each)
        bases = [self._meaning(base) for base in node.bases]
        ours = next((base.name for base in bases if base.kind in ("member", "subclass")), "")
        other = _ELSEWHERE if set(bases) == {_ELSEWHERE} else _UNKNOWN  # as a mixin is
        self._names[node.name] = _Meaning(kind="subclass", name=ours) if ours else other
        names, around = self._names, self._class
        self._class = self._classes[node.name] = self._enter(node)
        for base in map(ast.unparse, node.bases):
            if base in self._classes:
                for name, meaning in self._classes[base].items():
                    self._class.setdefault(name, meaning)
        self._class["self"] = _object(ours) if ours else other
        for statement in node.body:
            self.visit(statement)
        self._names, self._class = names, around

    def _visit_function(self, node: _Function) -> None:
        """Visit a function, whose arguments hide what has their names outside."""
        names = self._names
        self._enter(node)
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg) and argument.arg != "self":
                kind = argument.annotation
                self._names[argument.arg] = self._made_by(kind) if kind else _UNKNOWN
        self.generic_visit(node)
        self._names = names

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function

    def _enter(self, node: ast.AST) -> ChainMap[str, _Meaning]:
        # Kept from the first walk, because a use may come before what gives the name its meaning.
        self._names = self._names.new_child(self._scopes.setdefault(node, {}))
        return self._names

    def _meaning(self, node: ast.expr) -> _Meaning:
        if isinstance(node, ast.Name | ast.Attribute):
            known = self._names.get(ast.unparse(node))
            if known is not None or isinstance(node, ast.Name):
                return known or _UNKNOWN
            owner = self._meaning(node.value)
            if owner.kind == "iotests":
                return _member(node.attr)
            return _ELSEWHERE if owner.kind == "elsewhere" else _UNKNOWN
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("add_"):
                return self._meaning(node.func.value)  # a VM returns itself
            return self._made_by(node.func)
        return _UNKNOWN

    def _made_by(self, maker: ast.expr) -> _Meaning:
        called = self._meaning(maker)
        if called.kind in ("member", "subclass"):
            return _object(called.name)
        return _ELSEWHERE if called.kind == "elsewhere" else _UNKNOWN

    # -- uses ---------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        self._calls[node.func] = node
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._names[node.id] = _UNKNOWN
        elif (meaning := self._meaning(node)).kind == "member":
            self._note(node, meaning.name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        owner = self._meaning(node.value)
        if owner.kind == "iotests":
            self._note(node, node.attr)
        elif owner.name:
            self._note(node, f"{owner.name}.{node.attr}")
        elif owner.kind == "unknown" and node in self._calls:
            self._note(node, f"VM.{node.attr}")
            self._note(node, f"QMPTestCase.{node.attr}")

    def _note(self, node: ast.Name | ast.Attribute, name: str) -> None:
        if name in NAMES:
            commands = _COMMANDS.get(name, {})
            replacement = commands.get(_first(self._calls.get(node)), NAMES[name])
            short = name.rpartition(".")[2]
            # The end: an expression that goes over several lines has its name there.
            line = node.end_lineno or node.lineno
            self.uses.append(Use(line=line, name=short, replacement=replacement))


def _member(name: str) -> _Meaning:
    return _Meaning(kind="member", name=name)


def _object(name: str) -> _Meaning:
    """What a class makes; what a function returns is not known, whatever its name."""
    return _Meaning(kind="object", name=name) if name[:1].isupper() else _UNKNOWN


def _first(call: ast.Call | None) -> str:
    match call:
        case ast.Call(args=[ast.Constant(value=str(text)), *_]):
            return text
        case _:
            return ""
