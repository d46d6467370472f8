"""A picture in Mermaid, which GitHub and GitLab draw where it stands in a page."""

from __future__ import annotations

import re

from .colours import LINES, TEXT, legend, style
from .picture import Box, Picture


def mermaid(picture: Picture) -> str:
    """Return the picture as a flowchart; users are above what they use."""
    numbers = {box.key: number for number, box in enumerate(picture.boxes)}
    lines = ["flowchart TB"]
    lines += [f"  n{numbers[box.key]}{_box(box, picture)}" for box in picture.boxes]
    for number, arrow in enumerate(picture.arrows):
        line = "-.->" if arrow.change == "removed" else "-->"
        ends = f"n{numbers[arrow.parent]}", f"n{numbers[arrow.child]}"
        lines.append(f'  {ends[0]} {line}|"{_escaped(arrow.label)}"| {ends[1]}')
        if arrow.change:
            lines.append(f"  linkStyle {number} stroke:{LINES[arrow.change]},stroke-width:2px")
    words = legend(picture)
    if words:
        lines += ["  subgraph legend", "    direction LR"]
        lines += [f'    {_class(word)}_[" {word} "]:::{_class(word)}' for word in words]
        lines += [f'    notes_["{_escaped(picture.notes)}"]'] if picture.notes else []
        lines.append("  end")
    for word, (fill, line) in words.items():
        dashes = ",stroke-dasharray:5 4" if word == "removed" else ""
        lines.append(f"  classDef {_class(word)} fill:{fill},stroke:{line},color:{TEXT}{dashes}")
    return "\n".join(lines) + "\n"


def _box(box: Box, picture: Picture) -> str:
    label = "<br/>".join(map(_escaped, box.lines))
    begin, end = ("[(", ")]") if box.kind == "storage" else ("[", "]")
    return f'{begin}"{label}"{end}:::{_class(style(box, picture))}'


def _class(word: str) -> str:
    return word.replace(" ", "_")


def _escaped(text: str) -> str:
    # Mermaid reads quotes, HTML, Markdown and its own #codes; in ASCII, only these are none. What
    # would begin a list ("1. ") it refuses to draw.
    return re.sub(r"[^\w /:,.()'=-]|[.-](?= )", _code, text)


def _code(found: re.Match[str]) -> str:
    return found[0] if ord(found[0]) > 0x7F else f"#{ord(found[0])};"
