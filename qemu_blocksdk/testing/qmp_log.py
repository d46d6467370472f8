"""The QMP messages between a test and its QEMUs, comparable from run to run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.filters import default_filters, event_timestamp, lift

from .env import TestEnv
from .generated_names import NumberedNames
from .text import to_text


class QmpLog:
    """The QMP messages of a test's QEMUs from the moment each is ready: commands, replies, events.

    Directories, process ids, times and the image format are filtered (``default_filters``), and
    generated names are numbered (``blocksdk-ID1``). The ids of commands are left out.
    """

    def __init__(self, env: TestEnv) -> None:
        self._filter = lift(default_filters(env.for_filters())) | event_timestamp
        self._messages = list[JsonObject]()

    def add(self, message: JsonObject) -> None:
        """Add a message, as a connection does."""
        self._messages.append(message)

    def lines(self, *, events: bool = True) -> Sequence[str]:
        """Return the messages in their order, each as a line of JSON.

        QEMU sends the events of a job at any time between the replies. ``events=False`` leaves
        out the events and the replies to ``job-dismiss``, and puts each other reply after its
        command, so that golden files of jobs repeat.
        """
        numbered = NumberedNames()
        messages = list(self._messages) if events else _dialogue(self._messages)
        return [
            numbered(
                to_text({key: value for key, value in self._filter(message).items() if key != "id"})
            )
            for message in messages
        ]

    def text(self, *, events: bool = True) -> str:
        """Return the lines as one text, for :meth:`Golden.check`."""
        return "".join(f"{line}\n" for line in self.lines(events=events))

    def clear(self) -> None:
        """Forget the messages so far."""
        self._messages.clear()

    def __repr__(self) -> str:
        return f"<{len(self._messages)} QMP messages>"


def _dialogue(messages: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the commands in their order, each followed by its reply, if that means anything."""
    pairs = list[list[JsonObject]]()
    waiting = list[list[JsonObject]]()
    for message in tuple(messages):
        if "execute" in message or "exec-oob" in message:
            pairs.append([message])
            waiting.append(pairs[-1])
        elif "return" in message or "error" in message:
            # A reply without an id belongs to the only command in flight.
            asked = next(
                (pair for pair in waiting if pair[0].get("id") == message.get("id")),
                waiting[0] if waiting else None,
            )
            if asked is not None:
                waiting.remove(asked)
                # Its event comes first and wakes whoever waits for the job, perhaps before this.
                if asked[0].get("execute") != "job-dismiss":
                    asked.append(message)
    return [message for pair in pairs for message in pair]
