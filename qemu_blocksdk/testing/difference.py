"""The difference between two texts as a unified diff of bounded size.

Only a window after the first difference is compared, because the time of ``difflib`` grows with
the square of its input.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from qemu_blocksdk.terminal import escaped

_CONTEXT = 3
_WINDOW = 400
_MOST_LINES = 120
_LONGEST = 240


def difference(golden: str, found: str) -> str:
    """Return a unified diff of about 120 lines of about 240 characters at most.

    Characters that cannot be printed are shown as escape sequences.
    """
    old, new = _lines(golden), _lines(found)
    same = common_length(old, new)
    column = common_length("".join(old[same : same + 1]), "".join(new[same : same + 1]))
    begin = max(0, same - _CONTEXT)
    # What is the same at the end must not fall out of one window alone.
    tail = max(0, common_length(old[same:][::-1], new[same:][::-1]) - _CONTEXT)
    before, after = (text[begin : len(text) - tail] for text in (old, new))
    diff = [
        _numbered(line, begin) if line.startswith("@@") else line[0] + _cut(line[1:], column)
        for line in [*difflib.unified_diff(before[:_WINDOW], after[:_WINDOW], lineterm="")][2:]
    ]
    if max(len(before), len(after)) > _WINDOW or len(diff) > _MOST_LINES:
        diff[_MOST_LINES:] = ["(the difference goes on)"]
    where = f"first at line {same + 1}, column {column + 1}"
    return "\n".join([where, "--- golden", "+++ found", *diff])


def _lines(text: str) -> list[str]:
    r"""Lines with their ends: not ``splitlines``, to which a ``\r`` ends a line too."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def common_length(old: Sequence[str], new: Sequence[str]) -> int:
    """Return how long the beginning is that both have."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(old), len(new)))


def _numbered(header: str, skipped: int) -> str:
    """Return a hunk's header as it is for the whole texts."""
    return re.sub(r"([-+])(\d+)", lambda found: f"{found[1]}{int(found[2]) + skipped}", header)


def _cut(line: str, column: int) -> str:
    end = "" if line.endswith("\n") else "\n\\ No newline at end of file"
    line = line.removesuffix("\n")
    if len(line) > _LONGEST:
        begin = max(0, column - _LONGEST // 4)
        part = line[begin : begin + _LONGEST]
        line = f"{'...' * (begin > 0)}{part}{'...' * (begin + _LONGEST < len(line))}"
    return escaped(line, keep="\t") + end
