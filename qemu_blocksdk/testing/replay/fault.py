"""Faults of an answer, as values. ``server.py`` carries them out."""

from __future__ import annotations

from typing import Literal

from qemu_blocksdk.codec import Value


class Slow(Value):
    """The answer, and all later ones, are sent after ``seconds``."""

    seconds: float


class Late(Value):
    """The answer is sent when the next command comes, after its sender has given up."""


class Silent(Value):
    """No answer is sent."""


class Twice(Value):
    """The answer is sent twice."""


class HangUp(Value):
    """The connection ends before the answer, in the middle of the reply, or after it."""

    at: Literal["before", "middle", "after"] = "before"


class Garbage(Value):
    """Some bytes come before the answer, with whatever ends their line.

    ``b"no JSON\\n"``, ``b"\\xff\\n"``, a line without end, a reply to nobody:
    ``b'{"return": {}, "id": "nobody"}\\n'``.
    """

    data: bytes


Fault = Slow | Late | Silent | Twice | HangUp | Garbage
"""What can be wrong with an answer."""
