"""Which command a reply belongs to.

QEMU reads its monitor byte by byte, at some 2 us each, so a command is sent with its id
only while the reply to one without is still to come.
"""

from __future__ import annotations

import contextlib
import itertools

from qemu_blocksdk.codec import JsonObject


class Ids:
    """The ids of one connection's commands. Safe from any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        # Holds an item while every command in flight carries its id: taking that is one
        # step, and whoever has taken it says here which command goes without.
        self._bare = [True]
        self._without_id = ""

    def new(self, *, must_carry: bool) -> tuple[str, bool]:
        """Return the id of a new command, and whether the command carries it."""
        ident = f"{next(self._numbers):x}"
        if not must_carry and self._bare:
            with contextlib.suppress(IndexError):
                self._bare.pop()
                self._without_id = ident
                return ident, False
        return ident, True

    def of_reply(self, message: JsonObject) -> str | None:
        """Return the id of the command that was replied to; None for a reply to nothing."""
        ident = message.get("id")
        if ident is not None:
            return str(ident)
        return None if self._bare else self._without_id

    def settle(self, message: JsonObject) -> None:
        """Let the next command go without an id, if this is the reply to the one that did."""
        if "id" not in message and not self._bare:
            self._bare.append(True)
