"""Generate the blocking classes from the async ones: ``generate`` writes, ``check`` compares.

For every public class ``AsyncX`` of the sources there is a class ``X`` with the same
public methods, in a file of its own. A method's body is one call into the background loop. Rules:

- ``async def m`` runs on the loop; ``def m`` is called there; a property is read directly.
- ``m_from_thread``, where there is one, is what the blocking ``m`` calls.
- An ``on_progress`` is called in the caller's thread.
- An async generator becomes an iterator, ``__aenter__`` ``__enter__``, and so on.
- A class method is in the twin of each subclass as well, for it makes an object of that.
- A base that is not called ``AsyncX``, and ``AsyncResource``, have no twin: what they have is in
  the twins of their subclasses.
- A constructor with a docstring is for users and has a twin; others do not.
- An argument or result of a type ``AsyncX`` is unwrapped or wrapped; so is a ``Sequence`` as
  an argument, also one of ``AsyncX | other``, and a ``list`` as a result.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
SOURCES = (
    *("qmp/resource.py", "qmp/events.py", "qmp/session.py", "qmp/process.py"),
    *("objects/_base.py", "objects/job.py"),
    *("objects/hotplug.py", "objects/device.py", "objects/user_object.py"),
    *("objects/throttle_group.py", "objects/iothread.py", "objects/migration.py"),
    "objects/bitmap.py",
    *("objects/io_requests.py", "objects/node_io.py", "objects/node.py", "objects/transaction.py"),
    *("objects/export.py", "objects/export_server.py"),
    *("objects/operation.py", "objects/image.py"),
    *("objects/block_layer.py", "objects/qemu.py", "objects/storage_daemon.py", "objects/vm.py"),
    *("objects/toolchain.py", "objects/qemu_io.py"),
    *("objects/nbd_daemon.py", "objects/nbd_server.py"),
    *("recipes/backup.py", "recipes/disk.py", "recipes/point_in_time.py"),
    "recipes/storage_migration.py",
)
TARGET = PACKAGE / "blocking"
_MADE_FROM = "# Generated from {} by `make generate`. Do not edit.\n"
_WIDTH = 100
_BY_HAND = {"__main__.py", "proxy.py"}
_OWN_IMPORTS = {"background_loop", "TYPE_CHECKING", "TypeVar", "cast"}
# Base, decorator, bound of type variables, one that is imported.
_AT_RUN_TIME = {"Generic", "overload", "Event", "Format_co", "ImageFormat", "ReadOnlyFormat"}
FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef
_DUNDERS = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m qemu_blocksdk.blocking", description=__doc__)
    parser.add_argument("action", choices=("generate", "check"))
    action = parser.parse_args().action
    wanted = generate({name: (PACKAGE / name).read_text() for name in SOURCES})
    found = {
        path.name: path.read_text() for path in TARGET.glob("*.py") if path.name not in _BY_HAND
    }
    if action == "generate":
        for name in found.keys() - wanted.keys():
            (TARGET / name).unlink()
        for name, text in wanted.items():
            (TARGET / name).write_text(text)
        return 0
    for name in sorted(found.keys() | wanted.keys()):
        old, new = found.get(name, ""), wanted.get(name, "")
        sys.stdout.writelines(
            difflib.unified_diff(
                old.splitlines(True), new.splitlines(True), f"found {name}", f"wanted {name}"
            )
        )
    return int(found != wanted)


def generate(texts: dict[str, str]) -> dict[str, str]:
    """Return the files of the blocking package, from the text of the async modules by path."""
    modules = {path: ast.parse(text) for path, text in texts.items()}
    classes = {
        node.name: (path, node)
        for path, module in modules.items()
        for node in module.body
        if isinstance(node, ast.ClassDef) and _has_twin(node)
    }
    for _, node in classes.values():
        _flatten(node, modules.values())
    _repeat_constructors({name: node for name, (_, node) in classes.items()})
    sources = {name: path for name, (path, _) in classes.items()}
    files = {
        f"{module_name(_blocking(name))}.py": _file(path, node, modules, sources)
        for name, (path, node) in classes.items()
    }
    return {"__init__.py": _package(sorted(map(_blocking, classes))), **files}


def module_name(name: str) -> str:
    """Return the name of the module of a blocking class: ``node_io`` of ``NodeIo``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _package(names: list[str]) -> str:
    imports = _import_lines({(f".{module_name(name)}", name) for name in names})
    exported = "".join(f'    "{name}",\n' for name in _in_order(names))
    homes = "".join(f'    "{name}": "{module_name(name)}",\n' for name in _in_order(names))
    return (
        _MADE_FROM.format("qmp/, objects/ and recipes/")
        + '"""The blocking classes, each in its own module, which is loaded when it is used."""\n\n'
        + "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING\n\n"
        + "from qemu_blocksdk.lazy import loader\n\n"
        + f"if TYPE_CHECKING:\n{_indented(imports)}\n"
        + f"__all__ = [\n{exported}]\n\n_HOMES = {{\n{homes}}}\n\n"
        + "if not TYPE_CHECKING:\n    __getattr__ = loader(__name__, _HOMES)\n"
    )


def _file(
    path: str, node: ast.ClassDef, modules: dict[str, ast.Module], sources: dict[str, str]
) -> str:
    """Return the file of one class; ``sources`` has the path of each async class."""
    faces = set(sources)
    described = _Class(node, faces)
    text = described.text()
    used = _names_in(text)
    variables = sorted(
        {
            ast.unparse(each).replace("'", '"')
            for module in modules.values()
            for each in module.body
            if isinstance(each, ast.Assign) and _is_used_type(each, used)
        }
    )
    used |= _names_in("\n".join(variables))
    # The names of its own module count first: others may have the same ones.
    ordered = {path: modules[path], **modules}
    at_run_time, for_types = _imports(ordered, used, faces)
    at_run_time.add(("typing", "cast"))
    if "background_loop" in used:
        at_run_time.add(("qemu_blocksdk.qmp", "background_loop"))
    if "SyncProxy" in used:
        at_run_time.add((".proxy", "SyncProxy"))
    name = node.name
    own = (_dotted(path), name)
    (at_run_time if described.is_made else for_types).add(own)
    blocking = {_blocking(face) for face in faces} - {_blocking(name)}
    for other in blocking & used:
        is_base = other in {_blocking(ast.unparse(base)) for base in node.bases}
        (at_run_time if is_base else for_types).add((f".{module_name(other)}", other))
    for other in (faces & used) - {name}:
        for_types.add((_dotted(sources[other]), other))
    if re.search(r"\bIterator\b", text):
        for_types.add(("collections.abc", "Iterator"))
    if variables:
        at_run_time.add(("typing", "TypeVar"))
    if for_types:
        at_run_time.add(("typing", "TYPE_CHECKING"))
    parts = [
        _MADE_FROM.format(path) + f'"""The blocking face of :class:`{_dotted(path)}.{name}`."""\n',
        f"from __future__ import annotations\n\n{_import_lines(at_run_time)}",
        *([f"if TYPE_CHECKING:\n{_indented(_import_lines(for_types))}"] if for_types else []),
        *(["\n".join(variables) + "\n"] if variables else []),
    ]
    return "\n".join(parts) + "\n\n" + text


def _has_twin(node: ast.ClassDef) -> bool:
    return node.name.startswith("Async") and node.name != "AsyncResource"


def _flatten(node: ast.ClassDef, modules: Iterable[ast.Module]) -> None:
    """Move the content of the bases that have no twin into the class."""
    found = {
        each.name: each
        for module in modules
        for each in module.body
        if isinstance(each, ast.ClassDef) and not _has_twin(each)
    }
    for base in [base for base in node.bases if ast.unparse(base) in found]:
        inherited = found[ast.unparse(base)]
        _flatten(inherited, modules)
        node.bases = [other for other in node.bases if other is not base] + inherited.bases
        doc, *body = node.body
        node.body = [doc, *inherited.body[1:], *body]


def _repeat_constructors(classes: dict[str, ast.ClassDef]) -> None:
    """Give subclasses the class methods that they inherit: the base's would make the base."""
    for node in classes.values():
        own = {each.name for each in node.body if isinstance(each, FunctionDef)}
        for base in node.bases:
            found = classes.get(ast.unparse(base))
            for method in found.body if found else ():
                if isinstance(method, FunctionDef) and method.name not in own and any(
                    ast.unparse(decorator) == "classmethod" for decorator in method.decorator_list
                ):
                    node.body.append(method)


def _import_lines(names: set[tuple[str, str]]) -> str:
    """Import statements, laid out as ruff and isort do."""
    sections = ("", "", "", "")
    modules: dict[str, list[str]] = {}
    for module, name in names:
        modules.setdefault(module, []).append(name)
    lines: list[list[str]] = [[] for _ in sections]
    for module in sorted(modules, key=lambda module: (not _is_plain(modules[module]), module)):
        own = module.startswith("qemu_blocksdk")
        third_party = module.partition(".")[0] in ("typing_extensions", "qemu")
        section = 3 if module.startswith(".") else 2 if own else third_party
        if _is_plain(modules[module]):
            lines[section].append(f"import {module}\n")
            continue
        names_in_order = _in_order(modules[module])
        line = f"from {module} import {', '.join(names_in_order)}\n"
        if len(line) > 95:
            line = (
                f"from {module} import (\n" + "".join(f"    {n},\n" for n in names_in_order) + ")\n"
            )
        lines[section].append(line)
    return "\n".join("".join(section) for section in lines if section)


def _is_plain(names: list[str]) -> bool:
    return names == [""]


def _in_order(names: Iterable[str]) -> list[str]:
    """Constants, classes, the rest, each by the alphabet."""
    return sorted(names, key=lambda n: (not (n.isupper() and len(n) > 1), not n[0].isupper(), n.lower()))


def _dotted(path: str) -> str:
    return "qemu_blocksdk." + path.removesuffix(".py").replace("/", ".")


def _is_used_type(node: ast.Assign, used: set[str]) -> bool:
    """Whether the statement defines a type variable or an alias that signatures use."""
    target = node.targets[0]
    return (
        isinstance(target, ast.Name)
        and target.id in used
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "TypeVar"
    )


def _imports(
    modules: dict[str, ast.Module], used: set[str], faces: set[str]
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Modules and names that the signatures need: at run time, and for type checkers only."""
    at_run_time, for_types = set[tuple[str, str]](), set[tuple[str, str]]()
    seen = set[str]()
    for path, module in modules.items():
        package = _dotted(path).rpartition(".")[0]
        local = {n.id for s in module.body if isinstance(s, ast.Assign) for n in _names(s)}
        local |= {s.name for s in module.body if isinstance(s, ast.ClassDef)}
        for_types |= {
            (_dotted(path), name)
            for name in local & used
            if not name.startswith("Async") and not _is_type_variable(module, name)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                for_types |= {(a.name, "") for a in node.names if a.name in used}
            if not isinstance(node, ast.ImportFrom) or node.module == "__future__":
                continue
            level = "" if not node.level else package
            source = f"{level}.{node.module or ''}".strip(".")
            for alias in node.names:
                if alias.name not in used or alias.name in _OWN_IMPORTS | faces | seen:
                    continue
                seen.add(alias.name)
                at_once = alias.name in _AT_RUN_TIME
                (at_run_time if at_once else for_types).add((source, alias.name))
    return at_run_time, for_types


def _names_in(text: str) -> set[str]:
    return {each.id for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Name)}


def _names(node: ast.Assign) -> list[ast.Name]:
    return [target for target in node.targets if isinstance(target, ast.Name)]


def _is_type_variable(module: ast.Module, name: str) -> bool:
    return any(
        isinstance(node, ast.Assign)
        and [target.id for target in _names(node)] == [name]
        and ast.unparse(node.value).startswith("TypeVar(")
        for node in module.body
    )


class _Class:
    """One blocking class."""

    def __init__(self, node: ast.ClassDef, faces: set[str]) -> None:
        self.is_made = False
        """Whether a method calls the async class itself, so that it is imported."""
        self._node = node
        self._faces = faces
        self._names = {n.name for n in node.body if isinstance(n, FunctionDef)}

    def text(self) -> str:
        name = self._node.name
        bases = [_blocking(ast.unparse(base)) for base in self._node.bases]
        if not any(base.name in self._faces for base in self._parents()):
            bases.insert(0, "SyncProxy")
        blocks = [
            f"class {_blocking(name)}({', '.join(bases)}):",
            _indented(_docstring(self._node)),
            _indented(
                f"@property\ndef _async(self) -> {self._twin_type()}:\n"
                f'    return cast("{self._twin_type()}", self._reach())\n'
            ),
        ]
        blocks += [_indented(m) for node in self._node.body if (m := self._method(node))]
        return "\n".join(blocks)

    def _parents(self) -> list[ast.alias]:
        return [ast.alias(ast.unparse(base)) for base in self._node.bases]

    def _twin_type(self) -> str:
        """The async class, with its type variables where it is generic."""
        for base in self._node.bases:
            if isinstance(base, ast.Subscript) and ast.unparse(base.value) == "Generic":
                return f"{self._node.name}[{ast.unparse(base.slice)}]"
        return self._node.name

    def _method(self, node: ast.stmt) -> str | None:
        if not isinstance(node, FunctionDef) or node.name.endswith("_from_thread"):
            return None
        if node.name == "__init__":
            return self._constructor(node)
        if node.name.startswith("_") and node.name not in _DUNDERS:
            return None
        name = _DUNDERS.get(node.name, node.name)
        returns = _blocking(ast.unparse(node.returns)) if node.returns else "None"
        if _is_generator(node):
            returns = returns.replace("AsyncIterator", "Iterator")
        # `SyncProxy` seals all that its classes have.
        decorators = [ast.unparse(d) for d in node.decorator_list]
        decorators = [name for name in decorators if name != "sealed"]
        head = "".join(f"@{d}\n" for d in decorators)
        signature = _signature(name, node.args, returns)
        if "overload" in decorators:
            return head + signature + "    ...\n"
        body = self._body(node, decorators)
        doc = _docstring(node)
        return head + signature + _indented(doc + body)

    def _constructor(self, node: FunctionDef) -> str | None:
        if not ast.get_docstring(node):
            return None
        self.is_made = True
        made = self._run("call", f"lambda: {self._node.name}", node, "self._hold({})")
        return _signature("__init__", node.args, "None") + _indented(_docstring(node) + made)

    def _body(self, node: FunctionDef, decorators: list[str]) -> str:
        is_for_class = "classmethod" in decorators
        self.is_made |= is_for_class
        function = f"{self._node.name if is_for_class else 'self._async'}.{node.name}"
        needed, result = self._result(node)
        names = ", ".join(sorted(needed | self._tested(node)))
        # The package loads a class when it is first needed; without descriptors, and while the
        # interpreter ends, that is an error of our tree.
        imported = f"background_loop.assert_running()\nfrom . import {names}\n\n" if names else ""
        if "property" in decorators:
            return f"{imported}return {result.format(function)}\n"
        call = self._call(function, node)
        if node.name == "__aenter__":
            return f"background_loop.run({call})\nreturn self\n"
        if node.name == "__aexit__":
            # A forked child leaves the block as well; what is in it is its parent's.
            # Ctrl-C may come at any call, so the first is inside already.
            leave = f"if self._guard.is_here:\n    background_loop.run({call})\n"
            return (
                f"try:\n{_indented(leave)}except KeyboardInterrupt:\n{_indented(leave)}    raise\n"
            )
        if node.name == "__aiter__":
            return "return self\n"
        if node.name == "__anext__":
            run = result.format(f"background_loop.run({call})")
            return (
                f"{imported}try:\n    return {run}\n"
                "except StopAsyncIteration:\n    raise StopIteration from None\n"
            )
        if _is_generator(node):
            return self._run("iterate", function, node, "yield from {}")
        if f"{node.name}_from_thread" in self._names:
            return imported + self._run("", f"{function}_from_thread", node, f"return {result}")
        if any(each.arg == "on_progress" for each in node.args.kwonlyargs):
            call = self._call(f"lambda report: {function}", node, is_long=True)
            call = call.replace("on_progress=on_progress", "on_progress=report")
            run = f"background_loop.run_with_progress(\n{_indented(call)},\n    on_progress,\n)"
            return f"{imported}return {result.format(run)}\n"
        if isinstance(node, ast.AsyncFunctionDef):
            return imported + self._run("run", function, node, f"return {result}")
        return imported + self._run("call", f"lambda: {function}", node, f"return {result}")

    def _run(self, way: str, function: str, node: FunctionDef, statement: str) -> str:
        """Return a statement with the result of a call by this way into the background loop."""
        call = self._call(function, node)
        line = statement.format(f"background_loop.{way}({call})" if way else call)
        if len(line) + 8 <= _WIDTH:
            return f"{line}\n"
        is_long = len(f"work = {call}") + 8 > _WIDTH
        call = self._call(function, node, is_long=is_long)
        if not way:
            return statement.format(call) + "\n"
        if way == "call":
            return statement.format(f"background_loop.call(\n{_indented(call)}\n)") + "\n"
        return f"work = {call}\n{statement.format(f'background_loop.{way}(work)')}\n"

    def _call(self, function: str, node: FunctionDef, *, is_long: bool = False) -> str:
        """Return a call that passes all arguments on, an argument a line where it is long."""
        passed = self._passed(node)
        if not is_long:
            return f"{function}({', '.join(passed)})"
        return f"{function}(\n" + "".join(f"    {each},\n" for each in passed) + ")"

    def _tested(self, node: FunctionDef) -> set[str]:
        """Return the classes that arguments are tested for."""
        text = " ".join(self._passed(node))
        return set(re.findall(r"isinstance\(item, (\w+)\)", text)) - {_blocking(self._node.name)}

    def _passed(self, node: FunctionDef) -> list[str]:
        """The arguments of the call, async objects in place of blocking ones."""
        passed: list[str] = []
        for argument in node.args.args[1:]:
            passed.append(self._unwrapped(argument))
        if node.args.vararg:
            passed.append(f"*{node.args.vararg.arg}")
        for argument in node.args.kwonlyargs:
            passed.append(f"{argument.arg}={self._unwrapped(argument)}")
        if node.args.kwarg:
            passed.append(f"**{node.args.kwarg.arg}")
        return passed

    def _unwrapped(self, argument: ast.arg) -> str:
        hint = ast.unparse(argument.annotation) if argument.annotation else ""
        parts = hint.split(" | ")
        item = hint.removeprefix("Sequence[").removesuffix("]")
        kinds = item.split(" | ")
        if item != hint and (face := next((kind for kind in kinds if kind in self._faces), None)):
            other = f" if isinstance(item, {_blocking(face)}) else item" if kinds[1:] else ""
            return f"[item._async{other} for item in {argument.arg}]"
        if not self._faces & set(parts):
            return argument.arg
        if "None" in parts:
            return f"None if {argument.arg} is None else {argument.arg}._async"
        return f"{argument.arg}._async"

    def _result(self, node: FunctionDef) -> tuple[set[str], str]:
        """Return the classes that wrapping the result takes, and how a value ({}) is wrapped."""
        hint = ast.unparse(node.returns) if node.returns else "None"
        name, _, rest = hint.partition("[")
        item = rest.removesuffix("]") if name == "list" else hint.removesuffix(" | None")
        if hint == "Self":
            return set(), "cls._of({})"
        if name == "list" and item in self._faces:
            return self._others(item), f"[{_blocking(item)}._of(item) for item in {{}}]"
        if item != hint and item in self._faces:
            face = _blocking(item)
            return self._others(item), f"None if (found := {{}}) is None else {face}._of(found)"
        if name in self._faces:
            face = f"{_blocking(name)}._of({{}})"
            return self._others(name), f'cast("{_blocking(hint)}", {face})' if rest else face
        return set(), "{}"

    def _others(self, face: str) -> set[str]:
        return {_blocking(face)} - {_blocking(self._node.name)}


def _signature(name: str, arguments: ast.arguments, returns: str) -> str:
    """The head of a function, a parameter a line where it would be too long."""
    parameters = [_blocking(parameter) for parameter in _parameters(arguments)]
    line = f"def {name}({', '.join(parameters)}) -> {returns}:\n"
    if len(line) <= 96:
        return line
    return f"def {name}(\n" + "".join(f"    {p},\n" for p in parameters) + f") -> {returns}:\n"


def _parameters(arguments: ast.arguments) -> list[str]:
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    parameters = list(map(_parameter, arguments.args, defaults))
    if arguments.vararg:
        parameters.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        parameters.append("*")
    parameters += map(_parameter, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg:
        parameters.append(f"**{ast.unparse(arguments.kwarg)}")
    return parameters


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    if default is None:
        return text
    return f"{text} = {ast.unparse(default).replace(chr(39), chr(34))}"


def _blocking(text: str) -> str:
    return re.sub(r"\bAsync(?=[A-Z])(?!Iterator\b)", "", text)


def _is_generator(node: FunctionDef) -> bool:
    return any(isinstance(inner, ast.Yield) for inner in ast.walk(node))


def _docstring(node: ast.ClassDef | FunctionDef) -> str:
    doc = ast.get_docstring(node)
    if doc is None:
        return ""
    doc = _blocking(doc).replace("async for", "for").replace("async with", "with")
    return f'"""{doc}"""\n' if "\n" not in doc else f'"""{doc}\n"""\n'


def _indented(text: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in text.splitlines(True))


if __name__ == "__main__":
    raise SystemExit(main())
