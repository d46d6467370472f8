"""What a test and its QEMUs said to each other by QMP, comparable from run to run."""

from __future__ import annotations

from collections.abc import Sequence

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.filters import default_filters, event_timestamp, lift

from .env import TestEnv
from .text import to_text


class QmpLog:
    """The QMP messages of a test's QEMUs, from when each is ready: commands, replies, events.

    Directories, process ids, times, the image format are filtered (``default_filters``). Ids, which
    only tell replies apart, are left out.
    """

    def __init__(self, env: TestEnv) -> None:
        self._filter = lift(default_filters(env.for_filters())) | event_timestamp
        self._messages = list[JsonObject]()

    def add(self, message: JsonObject) -> None:
        """Add a message, as a connection does."""
        self._messages.append(message)

    def lines(self) -> Sequence[str]:
        """Return each message as a line of JSON, in their order."""
        return [
            to_text({key: value for key, value in self._filter(message).items() if key != "id"})
            for message in list(self._messages)
        ]

    def text(self) -> str:
        """Return the lines as one text, for :meth:`Golden.check`."""
        return "".join(f"{line}\n" for line in self.lines())

    def clear(self) -> None:
        """Forget what was said so far."""
        self._messages.clear()
