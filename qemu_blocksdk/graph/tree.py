"""A picture as a tree for the terminal."""

from __future__ import annotations

from collections import defaultdict

from .picture import Arrow, Box, Change, Picture

_MARKS: dict[Change, str] = {"added": "+ ", "removed": "- ", "changed": "~ ", "": "  "}


def tree(picture: Picture) -> str:
    """Return the picture as lines of text; with changes, each begins with a mark."""
    below: dict[str, list[Arrow]] = defaultdict(list)
    for arrow in picture.arrows:
        below[arrow.parent].append(arrow)
    boxes = {box.key: box for box in picture.boxes}
    used = {arrow.child for arrow in picture.arrows}
    lines: list[str] = []
    drawn: set[str] = set()
    # Who is in a circle has no root above it, so what is left over comes last.
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
            lines.append(f"{mark}{lead}{_words(boxes[key])}{' (see above)' if again else ''}")
            for arrow in reversed([] if again else arrows):
                branch, trunk = ("└─", "   ") if arrow is arrows[-1] else ("├─", "│  ")
                name = f"{indent}{branch} {arrow.label}: "
                todo.append((arrow.child, name, indent + trunk, arrow.change))
    return "\n".join(lines + _legend(picture))


def _words(box: Box) -> str:
    return f"{box.title} [{box.detail}]" + (f" {box.more}" if box.more else "")


def _legend(picture: Picture) -> list[str]:
    if not picture.boxes:
        return []
    changes = "+ added, - removed, ~ changed" if picture.has_changes else ""
    return [line for line in (changes, picture.notes) if line]
