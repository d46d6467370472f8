"""The version gate: does this QEMU take these arguments?

Here lives the walk of encoded JSON arguments along one binary's schema, and no
knowledge of Python's wire classes, of connections, or of what a value means.

The one mechanism: every type of the schema is compiled, on first use, to a table from
the Python type of a JSON value to the rule for it. So a walk takes one dictionary
look-up a value; and it keeps its own stack, so that no depth of JSON is too much for it.
(What encodes typed options does recurse, and refuses a chain of some 490 nodes inline.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, cast

from qemu_blocksdk.errors import UsageError

from .model import Alternate, Array, Builtin, Enum, Model, Object

ProblemKind = Literal["command", "member", "value", "type", "missing"]

# `device_add` also takes the properties of the device in question; the schema lists only
# what all devices share.
OPEN_COMMANDS: Final = frozenset(("device_add",))

_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    int: "int",
    float: "number",
    bool: "boolean",
    type(None): "null",
    dict: "object",
    list: "array",
    tuple: "array",
}
_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "int": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "value": tuple(_JSON_NAMES),
}


class Problem:
    """Why a QEMU would refuse a command.

    `kind` says what is wrong: an unknown `command`, an unknown `member`, a `value` that
    the enum or union lacks, a JSON value of the wrong `type`, or a mandatory member that
    is `missing`. `path` leads there, the command first; `expected` and `found` are words
    for a reader. Of the arguments' values only an unknown enum value is in here, since
    the others may be secrets.
    """

    __slots__ = ("expected", "found", "kind", "path")

    def __init__(
        self, kind: ProblemKind, path: tuple[str, ...], expected: str = "", found: str = ""
    ) -> None:
        self.kind: Final = kind
        self.path: Final = path
        self.expected: Final = expected
        self.found: Final = found

    @property
    def where(self) -> str:
        """The path as text: `blockdev-add: file.locking`."""
        command, *members = self.path
        return f"{command}: {'.'.join(members)}" if members else command

    @property
    def what(self) -> str:
        """What is wrong there."""
        match self.kind:
            case "command":
                return "no such command"
            case "member":
                return "no such member"
            case "missing":
                return "mandatory member is missing"
            case "value":
                return f"{self.found!r} is none of {self.expected}"
            case "type":
                return f"expected {self.expected}, found {self.found}"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"

    def __repr__(self) -> str:
        return f"<Problem {self.kind}: {self}>"


class _Node:
    """A type, compiled: the rule for a JSON value, by its Python type; None accepts it.

    `plain` are the types without a rule.
    """

    __slots__ = ("expected", "plain", "rules")

    def __init__(self) -> None:
        self.rules: Mapping[type, _Rule | None] = {}
        self.plain: frozenset[type] = frozenset()
        self.expected = ""


class _Shape:
    """The members of an object; `branches` continue it where the value of `tag` selects one."""

    __slots__ = ("branches", "is_open", "mandatory", "members", "tag")

    def __init__(self) -> None:
        self.members: Mapping[str, _Node] = {}
        self.mandatory: Sequence[str] = ()
        self.is_open = False
        self.tag: str | None = None
        self.branches: Mapping[str, _Shape] = {}


_Rule = frozenset[str] | _Shape | _Node  # of a string, of an object, of an array's elements
_Path = tuple["_Path | None", str]
_Stack = list[tuple[_Shape | _Node, object, _Path]]


class Schema(Model):
    """The introspection of one QEMU, and the gate that it makes."""

    __slots__ = ("_nodes", "_shapes")

    def __init__(self, entries: Iterable[object]) -> None:
        super().__init__(entries)
        self._nodes: Final[dict[str, _Node]] = {}
        self._shapes: Final[dict[str, _Shape]] = {}

    @classmethod
    def from_json(cls, entries: object) -> Schema:
        """Take what `query-qmp-schema` returned.

        Raises UsageError where that is no introspection reply.
        """
        if not isinstance(entries, list):
            raise UsageError("an introspection reply is a list")
        return cls(cast("list[object]", entries))

    def problem(self, command: str, arguments: Mapping[str, object]) -> Problem | None:
        """Find a reason for which this QEMU would refuse the command; None where it takes it.

        The arguments are plain JSON values: dict, list, str, int, float, bool, None.
        """
        shape = self._shapes.get(command)
        if shape is None:
            found = self.command(command)
            if found is None:
                return Problem("command", (command,))
            shape = self._shapes[command] = _Shape()
            shape.is_open = command in OPEN_COMMANDS
            self._fill_shape(shape, found.arg)
        stack: _Stack = [(shape, arguments, (None, command))]
        while stack:
            rule, value, path = stack.pop()
            if isinstance(rule, _Shape):
                problem = _check_object(rule, cast("Mapping[str, object]", value), path, stack)
            else:
                problem = _check_array(rule, cast("Sequence[object]", value), path, stack)
            if problem is not None:
                return problem
        return None

    def _node(self, name: str) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            # Stored, and told what it is, before its members are looked at: they may lead
            # back here, also from an alternate, which copies the rules.
            node = self._nodes[name] = _Node()
            self._fill(node, name)
        return node

    def _fill(self, node: _Node, name: str) -> None:
        found = self.type(name)
        if isinstance(found, Builtin):
            node.rules = dict.fromkeys(_PYTHON_TYPES[found.json_type])
            node.expected = found.json_type
        elif isinstance(found, Enum):
            node.rules = {str: frozenset(found.values)}
            node.expected = ", ".join(found.values)
        elif isinstance(found, Array):
            node.rules = dict.fromkeys((list, tuple), self._node(found.element))
            node.expected = "array"
        elif isinstance(found, Alternate):
            nodes = [self._node(member) for member in found.members]
            node.rules = {kind: rule for each in nodes for kind, rule in each.rules.items()}
            node.expected = " or ".join(each.expected for each in nodes)
        else:
            shape = _Shape()
            node.rules = {dict: shape}
            node.expected = "object"
            self._fill_shape(shape, name)

        node.plain = frozenset(kind for kind, rule in node.rules.items() if rule is None)

    def _fill_shape(self, shape: _Shape, name: str, base: _Shape | None = None) -> None:
        """Compile an object, as the continuation of `base` where it is a union's branch."""
        found = self.type(name)
        if not isinstance(found, Object):
            raise UsageError(f"introspection: {name!r} is not an object")
        shape.tag = found.tag
        members = {member.name: self._node(member.type) for member in found.members}
        mandatory = [member.name for member in found.members if not member.optional]
        if base is not None:
            # The discriminator's value has been looked at: it led here.
            members = {**base.members, str(base.tag): self._node("str"), **members}
            mandatory = [*base.mandatory, *mandatory]
        shape.members, shape.mandatory = members, mandatory
        branches = {case: _Shape() for case in found.variants}
        for case, branch in branches.items():
            self._fill_shape(branch, found.variants[case], shape)
        shape.branches = branches


def _check_object(
    shape: _Shape, value: Mapping[str, object], path: _Path, stack: _Stack
) -> Problem | None:
    while shape.tag is not None:
        tag_value = value.get(shape.tag)
        branch = shape.branches.get(tag_value) if isinstance(tag_value, str) else None
        if branch is None:
            # Told before anything else: with an unknown branch no member can be judged.
            if shape.tag not in value:
                return Problem("missing", _parts((path, shape.tag)))
            return _check_value(shape.members[shape.tag], tag_value, path, shape.tag, stack)
        shape = branch
    members = shape.members
    for name, item in value.items():
        node = members.get(name)
        if node is not None:
            if type(item) in node.plain:
                continue  # most members: any value of that type
            problem = _check_value(node, item, path, name, stack)
            if problem is not None:
                return problem
        elif not shape.is_open:
            return Problem("member", _parts((path, name)))
    for name in shape.mandatory:
        if name not in value:
            return Problem("missing", _parts((path, name)))
    return None


def _check_array(
    element: _Node, value: Sequence[object], path: _Path, stack: _Stack
) -> Problem | None:
    for index, item in enumerate(value):
        problem = _check_value(element, item, path, str(index), stack)
        if problem is not None:
            return problem
    return None


def _check_value(
    node: _Node, value: object, path: _Path, name: str, stack: _Stack
) -> Problem | None:
    """Judge a scalar at once; put an object or array on the stack."""
    kind = type(value)
    if kind not in node.rules:
        found = _JSON_NAMES.get(kind, kind.__name__)
        return Problem("type", _parts((path, name)), node.expected, found)
    rule = node.rules[kind]
    if rule is None:
        return None
    if isinstance(rule, frozenset):
        if value in rule:
            return None
        return Problem("value", _parts((path, name)), node.expected, str(value))
    stack.append((rule, value, (path, name)))
    return None


def _parts(path: _Path) -> tuple[str, ...]:
    parts: list[str] = []
    link: _Path | None = path
    while link is not None:
        link, part = link
        parts.append(part)
    return tuple(reversed(parts))
