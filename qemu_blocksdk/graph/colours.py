"""The colours of pictures: dark words on light boxes, and lines that show on white and on black."""

from __future__ import annotations

from .picture import KINDS, Box, Change, Picture

TEXT = "#111827"
LINE = "#768390"
LINES: dict[Change, str] = {
    "": LINE,
    "added": "#238636",
    "removed": "#da3633",
    "changed": "#b07800",
}
_FILLS = {
    "device": ("#bbf7d0", "#15803d"),
    "export": ("#a5f3fc", "#0e7490"),
    "job": ("#fde68a", "#b45309"),
    "other": ("#ffffff", "#6b7280"),
    "node": ("#bfdbfe", "#1d4ed8"),
    "filter": ("#ddd6fe", "#6d28d9"),
    "storage": ("#e5e7eb", "#4b5563"),
}
_CHANGED: dict[Change, tuple[str, str]] = {
    "": ("#e5e7eb", "#6b7280"),
    "added": ("#bbf7d0", LINES["added"]),
    "removed": ("#fecaca", LINES["removed"]),
    "changed": ("#fde68a", LINES["changed"]),
}


def style(box: Box, picture: Picture) -> str:
    """Return which of the :func:`legend`'s words a box is coloured by."""
    return (box.change or "unchanged") if picture.has_changes else KINDS[box.kind]


def legend(picture: Picture) -> dict[str, tuple[str, str]]:
    """Return what is filled and lined how, in words; only what is in the picture."""
    if picture.has_changes:
        changes = {box.change for box in picture.boxes} | {each.change for each in picture.arrows}
        return {word or "unchanged": c for word, c in _CHANGED.items() if word in changes}
    there = {box.kind for box in picture.boxes}
    return {word: _FILLS[kind] for kind, word in KINDS.items() if kind in there}
