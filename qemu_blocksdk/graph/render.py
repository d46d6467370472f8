"""Drawings of block graphs: a tree for the terminal, Mermaid, DOT, and a notebook's display.

Everything here is a free function. A graph or a difference of two becomes a :class:`Picture`,
which is boxes and arrows; :func:`tree`, :func:`mermaid` and :func:`dot` write a picture as text.
:class:`Drawable` gives both their methods. This module knows nodes and edges, but not
``BlockGraph``.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

from qemu_blocksdk.codec import masked
from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, ToolError
from qemu_blocksdk.terminal import escaped

from .model import FILTERED, Edge, GraphNode

# -- pictures ------------------------------------------------------------------------------

Change = Literal["", "added", "removed", "changed"]
LETTERS = {"consistent-read": "r", "write": "w", "write-unchanged": "u", "resize": "s"}
KINDS = {
    "device": "device",
    "export": "export",
    "job": "job",
    "other": "other user",
    "node": "block node",
    "filter": "filter",
    "storage": "storage",
}
"""The kinds of boxes, as the legend names them; a block node without children is storage."""
_LONGEST = 32


class Box(NamedTuple):
    """A vertex. Boxes with the same ``key`` stand for the same vertex, also in two pictures."""

    key: str
    kind: str
    title: str
    detail: str
    more: str
    change: Change = ""

    @property
    def lines(self) -> list[str]:
        """The lines of its label; a long file name is cut at its beginning."""
        more = self.more if len(self.more) <= _LONGEST else "…" + self.more[1 - _LONGEST :]
        return [line for line in (self.title, self.detail, more) if line]


class Arrow(NamedTuple):
    """An edge, with the keys of its ends."""

    parent: str
    child: str
    label: str
    change: Change = ""


class Picture(NamedTuple):
    """Boxes and arrows, coloured by change if ``has_changes`` is set, otherwise by kind."""

    boxes: list[Box]
    arrows: list[Arrow]
    has_permissions: bool
    has_changes: bool = False

    @property
    def notes(self) -> str:
        """What the letters of permissions mean; empty if the picture has no permissions."""
        letters = ", ".join(f"{letter} {name}" for name, letter in LETTERS.items())
        return f"holds/shares: {letters}" if self.has_permissions else ""


def keys_of(nodes: Iterable[GraphNode]) -> Mapping[int, str]:
    """Return by id a key for each vertex; the same vertex of another graph has the same key."""
    keys: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for node in nodes:
        key = str(node)
        if not node.names:
            key = f"unnamed {node.kind} of {', '.join(str(edge.child) for edge in node.children)}"
        seen[key] += 1
        keys[node.id] = key if seen[key] == 1 else f"{key} ({seen[key]})"
    return keys


def picture_of(
    nodes: Collection[GraphNode], edges: Iterable[Edge], *, permissions: bool
) -> Picture:
    """Return the picture of a graph."""
    keys = keys_of(nodes)
    return Picture(
        [box(node, keys) for node in nodes],
        [arrow(edge, keys, permissions=permissions) for edge in edges],
        permissions,
    )


def box(node: GraphNode, keys: Mapping[int, str], change: Change = "") -> Box:
    """Return the box of a vertex."""
    return Box(
        key=printable(keys[node.id]),
        kind=_kind(node),
        title=printable(node.names[0]) if node.names else "unnamed",
        detail=printable(_detail(node)),
        more=printable(_more(node)),
        change=change,
    )


def arrow(
    edge: Edge,
    keys: Mapping[int, str],
    change: Change = "",
    *,
    permissions: bool,
    was: Edge | None = None,
) -> Arrow:
    """Return the arrow of an edge; with ``was``, its former state, both permissions are shown."""
    label = printable(edge.name)
    if was is not None:
        label += f" {granted(was)} → {granted(edge)}"
    elif permissions:
        label += f" {granted(edge)}"
    return Arrow(printable(keys[edge.parent.id]), printable(keys[edge.child.id]), label, change)


def granted(edge: Edge) -> str:
    """Return the permissions that an edge holds and shares, in letters: ``rw/rwus``."""
    return "/".join(
        "".join(letter for name, letter in LETTERS.items() if name in names) or "-"
        for names in (edge.perm, edge.shared_perm)
    )


def printable(text: str) -> str:
    """Return text with escapes for every character that moves the cursor or ends a line."""
    return escaped(text, keep="")


def _kind(node: GraphNode) -> str:
    if node.kind == "node":
        return "filter" if node.driver in FILTERED else "node" if node.children else "storage"
    return node.kind if node.kind in KINDS else "other"


def _detail(node: GraphNode) -> str:
    if node.info is not None:
        return node.info.drv + (", read-only" if node.read_only else "")
    if node.job is not None:
        return f"{node.job.type} job, {node.job.status}"
    if node.export is not None:
        return f"{node.export.type} export"
    return "device" if node.kind == "device" else node.type


def _more(node: GraphNode) -> str:
    if node.candidates:
        return f"perhaps of {' or '.join(node.candidates)}"
    file = node.filename or ""
    return "" if node.children or file.startswith("json:") else masked(file)


# -- colours -------------------------------------------------------------------------------

TEXT = "#111827"
LINE = "#768390"
LINES: dict[Change, str] = {
    "": LINE,
    "added": "#238636",
    "removed": "#da3633",
    "changed": "#b07800",
}
_KIND_COLOURS = {
    "device": ("#bbf7d0", "#15803d"),
    "export": ("#a5f3fc", "#0e7490"),
    "job": ("#fde68a", "#b45309"),
    "other": ("#ffffff", "#6b7280"),
    "node": ("#bfdbfe", "#1d4ed8"),
    "filter": ("#ddd6fe", "#6d28d9"),
    "storage": ("#e5e7eb", "#4b5563"),
}
_CHANGE_COLOURS: dict[Change, tuple[str, str]] = {
    "": ("#e5e7eb", "#6b7280"),
    "added": ("#bbf7d0", LINES["added"]),
    "removed": ("#fecaca", LINES["removed"]),
    "changed": ("#fde68a", LINES["changed"]),
}


def style(box: Box, picture: Picture) -> str:
    """Return the key of a box's colours in the :func:`legend`."""
    return (box.change or "unchanged") if picture.has_changes else KINDS[box.kind]


def legend(picture: Picture) -> dict[str, tuple[str, str]]:
    """Return the fill and line colours in the picture by the names that the legend shows."""
    if picture.has_changes:
        changes = {box.change for box in picture.boxes} | {each.change for each in picture.arrows}
        return {word or "unchanged": c for word, c in _CHANGE_COLOURS.items() if word in changes}
    there = {box.kind for box in picture.boxes}
    return {word: _KIND_COLOURS[kind] for kind, word in KINDS.items() if kind in there}


# -- tree ----------------------------------------------------------------------------------

_MARKS: dict[Change, str] = {"added": "+ ", "removed": "- ", "changed": "~ ", "": "  "}


def tree(picture: Picture) -> str:
    """Return a picture as lines of text; in a difference each line begins with a mark."""
    below: dict[str, list[Arrow]] = defaultdict(list)
    for arrow in picture.arrows:
        below[arrow.parent].append(arrow)
    boxes = {box.key: box for box in picture.boxes}
    used = {arrow.child for arrow in picture.arrows}
    lines: list[str] = []
    drawn: set[str] = set()
    # The nodes of a circle have no root above them, so they come last.
    for root in [key for key in boxes if key not in used] + list(boxes):
        if root in drawn:
            continue
        # A stack, not recursion: a backing chain may be longer than Python's call stack.
        todo: list[tuple[str, str, str, Change]] = [(root, "", "", boxes[root].change)]
        while todo:
            key, lead, indent, change = todo.pop()
            arrows = below[key]
            again = bool(arrows) and key in drawn
            drawn.add(key)
            mark = _MARKS[change or boxes[key].change] if picture.has_changes else ""
            lines.append(f"{mark}{lead}{_box_in_tree(boxes[key])}{' (see above)' if again else ''}")
            for arrow in reversed([] if again else arrows):
                branch, trunk = ("└─", "   ") if arrow is arrows[-1] else ("├─", "│  ")
                name = f"{indent}{branch} {arrow.label}: "
                todo.append((arrow.child, name, indent + trunk, arrow.change))
    return "\n".join(lines + _legend_of_tree(picture))


def _box_in_tree(box: Box) -> str:
    return f"{box.title} [{box.detail}]" + (f" {box.more}" if box.more else "")


def _legend_of_tree(picture: Picture) -> list[str]:
    if not picture.boxes:
        return []
    changes = "+ added, - removed, ~ changed" if picture.has_changes else ""
    return [line for line in (changes, picture.notes) if line]


# -- Mermaid -------------------------------------------------------------------------------


def mermaid(picture: Picture) -> str:
    """Return a picture as a Mermaid flowchart; parents are above their children."""
    numbers = {box.key: number for number, box in enumerate(picture.boxes)}
    lines = ["flowchart TB"]
    lines += [f"  n{numbers[box.key]}{_box_in_mermaid(box, picture)}" for box in picture.boxes]
    for number, arrow in enumerate(picture.arrows):
        line = "-.->" if arrow.change == "removed" else "-->"
        ends = f"n{numbers[arrow.parent]}", f"n{numbers[arrow.child]}"
        lines.append(f'  {ends[0]} {line}|"{_mermaid_text(arrow.label)}"| {ends[1]}')
        if arrow.change:
            lines.append(f"  linkStyle {number} stroke:{LINES[arrow.change]},stroke-width:2px")
    colours = legend(picture)
    if colours:
        lines += ["  subgraph legend", "    direction LR"]
        lines += [
            f'    {_mermaid_class(name)}_[" {name} "]:::{_mermaid_class(name)}' for name in colours
        ]
        lines += [f'    notes_["{_mermaid_text(picture.notes)}"]'] if picture.notes else []
        lines.append("  end")
    for name, (fill, line) in colours.items():
        dashes = ",stroke-dasharray:5 4" if name == "removed" else ""
        lines.append(
            f"  classDef {_mermaid_class(name)} fill:{fill},stroke:{line},color:{TEXT}{dashes}"
        )
    return "\n".join(lines) + "\n"


def _box_in_mermaid(box: Box, picture: Picture) -> str:
    label = "<br/>".join(map(_mermaid_text, box.lines))
    begin, end = ("[(", ")]") if box.kind == "storage" else ("[", "]")
    return f'{begin}"{label}"{end}:::{_mermaid_class(style(box, picture))}'


def _mermaid_class(name: str) -> str:
    return name.replace(" ", "_")


def _mermaid_text(text: str) -> str:
    # Mermaid interprets quotes, HTML, Markdown and its own #codes. The ASCII characters of the
    # first class are safe. It refuses to draw a text that begins a list ("1. ").
    return re.sub(r"[^\w /:,.()'=-]|[.-](?= )", _mermaid_code, text)


def _mermaid_code(found: re.Match[str]) -> str:
    return found[0] if ord(found[0]) > 0x7F else f"#{ord(found[0])};"


# -- DOT -----------------------------------------------------------------------------------

_DOT_HEAD = f"""\
digraph {{
  graph [rankdir=TB, bgcolor=transparent, fontname="Helvetica,Arial,sans-serif", fontsize=11,
         fontcolor="{LINE}", nodesep=0.3, ranksep=0.45, labelloc=b]
  node [shape=box, style="rounded,filled", fontname="Helvetica,Arial,sans-serif", fontsize=11,
        fontcolor="{TEXT}", margin="0.14,0.07", height=0.3, penwidth=1.4]
  edge [fontname="Helvetica,Arial,sans-serif", fontsize=10, arrowsize=0.7, penwidth=1.3]"""


def dot(picture: Picture) -> str:
    """Return a picture in DOT; parents are above their children."""
    colours = legend(picture)
    lines = [_DOT_HEAD]
    lines += [_box_in_dot(box, *colours[style(box, picture)]) for box in picture.boxes]
    lines += [_arrow_in_dot(arrow) for arrow in picture.arrows]
    if picture.boxes:
        lines.append(f"  label=<{_legend_of_dot(colours, picture.notes)}>")
    return "\n".join([*lines, "}"]) + "\n"


def _box_in_dot(box: Box, fill: str, line: str) -> str:
    shape = ", shape=cylinder" if box.kind == "storage" else ""
    look = "filled" if shape else "rounded,filled"
    if box.change == "removed" or box.kind == "other":
        look += ",dashed"
    label = "\\n".join(map(_dot_text, box.lines))
    return (
        f'  {_dot_string(box.key)} [label="{label}",'
        f" tooltip={_dot_string(box.more or box.key)}{shape},"
        f' style="{look}", fillcolor="{fill}", color="{line}"]'
    )


def _arrow_in_dot(arrow: Arrow) -> str:
    colour = LINES[arrow.change]
    look = ", style=dashed" if arrow.change == "removed" else ""
    return (
        f"  {_dot_string(arrow.parent)} -> {_dot_string(arrow.child)}"
        f' [label={_dot_string(f" {arrow.label} ")}, color="{colour}", fontcolor="{colour}"{look}]'
    )


def _legend_of_dot(colours: Mapping[str, tuple[str, str]], notes: str) -> str:
    cells = "".join(
        f'<TD BGCOLOR="{fill}" COLOR="{line}"><FONT COLOR="{TEXT}">{word}</FONT></TD>'
        for word, (fill, line) in colours.items()
    )
    rows = f"<TR>{cells}</TR>"
    if notes:
        rows += f'<TR><TD BORDER="0" COLSPAN="{len(colours)}">{notes}</TD></TR>'
    return f'<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="5" CELLPADDING="3">{rows}</TABLE>'


def _dot_string(text: str) -> str:
    return f'"{_dot_text(text)}"'


def _dot_text(text: str) -> str:
    # Graphviz replaces entities of HTML in any text.
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


# -- methods -------------------------------------------------------------------------------

_NOTEBOOK_TIMEOUT = 10.0


class Drawable:
    """The drawing methods of a graph and of the difference between two.

    ``permissions=True`` adds to each edge which permissions the parent holds and shares, in
    letters: ``root rw/rwus``. Changed permissions are always shown.
    """

    def _picture(self, *, permissions: bool) -> Picture:
        raise NotImplementedError

    def draw(self, *, permissions: bool = False) -> str:
        """Return a tree for the terminal; a subtree that is used twice is drawn once."""
        return tree(self._picture(permissions=permissions))

    def mermaid(self, *, permissions: bool = False) -> str:
        """Return a Mermaid flowchart, which GitHub and GitLab draw in Markdown pages."""
        return mermaid(self._picture(permissions=permissions))

    def dot(self, *, permissions: bool = False) -> str:
        """Return a graph in DOT, Graphviz's language; :func:`qemu_blocksdk.tools.svg` draws it."""
        return dot(self._picture(permissions=permissions))

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """Return what a notebook displays: an SVG where ``dot`` is installed, and the tree."""
        from qemu_blocksdk.graphviz import svg

        bundle = {"text/plain": self.draw()}
        # Without Graphviz, or where it fails, the notebook shows the tree.
        with contextlib.suppress(LaunchError, DeadlineExceeded, ToolError):
            bundle["image/svg+xml"] = svg(self.dot(), timeout=_NOTEBOOK_TIMEOUT)
        return {
            kind: text
            for kind, text in bundle.items()
            if (not include or kind in include) and kind not in (exclude or ())
        }
