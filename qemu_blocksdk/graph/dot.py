"""A picture in DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Mapping

from .colours import LINE, LINES, TEXT, legend, style
from .picture import Arrow, Box, Picture

_HEAD = f"""\
digraph {{
  graph [rankdir=TB, bgcolor=transparent, fontname="Helvetica,Arial,sans-serif", fontsize=11,
         fontcolor="{LINE}", nodesep=0.3, ranksep=0.45, labelloc=b]
  node [shape=box, style="rounded,filled", fontname="Helvetica,Arial,sans-serif", fontsize=11,
        fontcolor="{TEXT}", margin="0.14,0.07", height=0.3, penwidth=1.4]
  edge [fontname="Helvetica,Arial,sans-serif", fontsize=10, arrowsize=0.7, penwidth=1.3]"""


def dot(picture: Picture) -> str:
    """Return the picture in DOT; users are above what they use."""
    colours = legend(picture)
    lines = [_HEAD]
    lines += [_box(box, *colours[style(box, picture)]) for box in picture.boxes]
    lines += [_arrow(arrow) for arrow in picture.arrows]
    if picture.boxes:
        lines.append(f"  label=<{_legend(colours, picture.notes)}>")
    return "\n".join([*lines, "}"]) + "\n"


def _box(box: Box, fill: str, line: str) -> str:
    shape = ", shape=cylinder" if box.kind == "storage" else ""
    look = "filled" if shape else "rounded,filled"
    if box.change == "removed" or box.kind == "other":
        look += ",dashed"
    label = "\\n".join(map(_escaped, box.lines))
    return (
        f'  {_quoted(box.key)} [label="{label}", tooltip={_quoted(box.more or box.key)}{shape},'
        f' style="{look}", fillcolor="{fill}", color="{line}"]'
    )


def _arrow(arrow: Arrow) -> str:
    colour = LINES[arrow.change]
    look = ", style=dashed" if arrow.change == "removed" else ""
    return (
        f"  {_quoted(arrow.parent)} -> {_quoted(arrow.child)}"
        f' [label={_quoted(f" {arrow.label} ")}, color="{colour}", fontcolor="{colour}"{look}]'
    )


def _legend(colours: Mapping[str, tuple[str, str]], notes: str) -> str:
    cells = "".join(
        f'<TD BGCOLOR="{fill}" COLOR="{line}"><FONT COLOR="{TEXT}">{word}</FONT></TD>'
        for word, (fill, line) in colours.items()
    )
    rows = f"<TR>{cells}</TR>"
    if notes:
        rows += f'<TR><TD BORDER="0" COLSPAN="{len(colours)}">{notes}</TD></TR>'
    return f'<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="5" CELLPADDING="3">{rows}</TABLE>'


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    # Graphviz takes what looks like an entity of HTML for one, in any text.
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
