"""Ids of the commands of one connection.

Every command carries one, because QEMU gives the reply to a client that has left to the next
client. A short id costs little: QEMU reads its monitor byte by byte, at some 2 us each.
"""

from __future__ import annotations

import itertools
import secrets
from collections import deque

from qemu_blocksdk.codec import JsonObject

_SHORT = 10
_LONG = 16
_LEAST_LONG = 10**8


class Ids:
    """Numbers for commands. Safe from any thread.

    The first ones are random, so that a late reply to another client matches none: QEMU sends
    that before the reply to the negotiation. After them, short numbers serve again and again.
    """

    def __init__(self) -> None:
        first = _LEAST_LONG + secrets.randbelow(9 * _LEAST_LONG)
        self._free: deque[int] = deque([*range(first, first + _LONG), *range(_SHORT)])
        self._more = itertools.count(_SHORT)
        self._given_up: set[int] = set()

    def new(self) -> int:
        """Return the id of a new command."""
        try:
            return self._free.popleft()
        except IndexError:
            return next(self._more)

    def settle(self, ident: int, *, is_answered: bool) -> None:
        """Let a later command have the id, at once or when the late reply has arrived."""
        if not is_answered:
            self._given_up.add(ident)
        elif ident < _LEAST_LONG:
            self._free.append(ident)

    def settle_late(self, ident: int) -> None:
        """Take note of a reply that nobody waits for; it may be one to another client."""
        if ident in self._given_up:
            self._given_up.remove(ident)
            self.settle(ident, is_answered=True)


class ShownIds:
    """Ids as ``on_message`` gets them: the same in every run, and only where they are needed.

    That is, where a command is sent before the reply to the one without an id has come.
    """

    def __init__(self) -> None:
        self._count = 0
        self._shown: dict[str, str | None] = {}

    def of_command(self, message: JsonObject) -> JsonObject:
        """Return a command as it is shown."""
        self._count += 1
        carries_it = "exec-oob" in message or None in self._shown.values()
        shown = f"{self._count:x}" if carries_it else None
        self._shown[str(message["id"])] = shown
        return _with_id(message, shown)

    def of_reply(self, message: JsonObject) -> JsonObject:
        """Return a reply, or what else has come, as it is shown."""
        ident = str(message.get("id"))
        return _with_id(message, self._shown.pop(ident)) if ident in self._shown else message


def _with_id(message: JsonObject, ident: str | None) -> JsonObject:
    others = {name: value for name, value in message.items() if name != "id"}
    return others if ident is None else {**others, "id": ident}
