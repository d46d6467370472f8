"""What can be wrong with an answer, as values. ``server.py`` does it."""

from __future__ import annotations

from typing import Literal

from qemu_blocksdk.codec import Value


class Slow(Value):
    """The answer, and all after it, comes some ``seconds`` later."""

    seconds: float


class Late(Value):
    """The answer comes when the next command does: whoever sent it has given up by then."""


class Silent(Value):
    """There is no answer."""


class Twice(Value):
    """The answer comes twice."""


class HangUp(Value):
    """The connection ends: before the answer, in the middle of the reply, or after it."""

    at: Literal["before", "middle", "after"] = "before"


class Garbage(Value):
    """Some bytes come before the answer, with whatever ends their line.

    ``b"no JSON\\n"``, ``b"\\xff\\n"``, a line without end, a reply to nobody:
    ``b'{"return": {}, "id": "nobody"}\\n'``.
    """

    data: bytes


Fault = Slow | Late | Silent | Twice | HangUp | Garbage
"""What can be wrong with an answer."""
