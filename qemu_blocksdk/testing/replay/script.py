"""What answers a command: the exchange that is next, or one like it. No I/O.

Commands are compared as JSON texts with their keys sorted, secrets masked on both sides. Names that
the SDK gives (``new_job_id``) end with a process id and a number, so they are others in each run:
in a recording, such a name stands for the one that comes in its place, from then on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, cast

from qemu_blocksdk.codec import JsonObject, evolved, redact
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.testing.text import filtered, to_text

from .exchange import Exchange
from .fault import Fault, HangUp
from .recording import Recording

GREETING: Final = "greeting"
"""What a fault of the greeting is told by."""
_NEGOTIATION, _SCHEMA, _QUIT = "qmp_capabilities", "query-qmp-schema", "quit"
_LONGEST = 400


class _Step(NamedTuple):
    text: str
    exchange: Exchange


class Script:
    """The exchanges of a session, and which of them have been."""

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        *,
        greeting: JsonObject,
        pid: int = 0,
        in_order: bool = True,
        filters: Iterable[Callable[[JsonObject], JsonObject]] = (),
        faults: Mapping[str, Fault] | None = None,
    ) -> None:
        """Raises UsageError for faults of commands that are not in it."""
        self.greeting = greeting
        self._in_order, self._filters = in_order, tuple(filters)
        self._faults = dict(faults or {})
        self._names = _Names(pid)
        # What any connection may ask, whenever it likes, or never.
        self._any_time = {
            _NEGOTIATION: Exchange(execute=_NEGOTIATION),
            _QUIT: Exchange(execute=_QUIT, fault=HangUp(at="after")),
        }
        self._left: list[_Step] = []
        self._been: list[_Step] = []
        self._strays: list[str] = []
        for each in exchanges:
            if each.execute in (_NEGOTIATION, _SCHEMA, _QUIT):
                fault = each.fault or (HangUp(at="after") if each.execute == _QUIT else None)
                self._any_time[each.execute] = evolved(each, fault=fault)
            else:
                self._left.append(_Step(self._text(each.execute, each.arguments), each))
        known = {GREETING, _SCHEMA, *self._any_time, *(each.execute for each in exchanges)}
        if strays := sorted(self._faults.keys() - known):
            raise UsageError(f"a fault of {strays[0]!r}, which is not in the session")

    def fault_of(self, name: str) -> Fault | None:
        """Return the fault that a command, or the greeting, is to have each time."""
        return self._faults.get(name)

    def answer(self, message: JsonObject) -> Exchange:
        """Return the exchange that a command begins; what is not expected is refused by it."""
        name = str(message.get("execute", message.get("exec-oob", "")))
        found = self._any_time.get(name)
        if found is None and name == _SCHEMA:
            found = self._any_time[name] = Exchange(execute=name, says=[_schema(self.greeting)])
        found = found or self._matching(message, name)
        fault = self._faults.get(name, found.fault)
        return evolved(found, says=self._names.renewed(found.says), fault=fault)

    def refused(self, came: str, expected: str) -> Exchange:
        """Note what came and was not expected; return the refusal."""
        came, expected = _cut(came), _cut(expected)
        self._strays.append(f"expected: {expected}\n    came: {came}")
        desc = f"the replay expected {expected}, not {came}"
        return Exchange(execute="", says=[{"error": {"class": "GenericError", "desc": desc}}])

    def report(self, *, is_over: bool) -> str:
        """Return what was not as expected: nothing, or several lines."""
        missing = self._left if is_over and self._in_order else []
        lines = [*self._strays, *(f"never came: {_cut(step.text)}" for step in missing)]
        return "\n".join(["the session was not as it should be", *lines]) if lines else ""

    def _matching(self, message: JsonObject, name: str) -> Exchange:
        came = self._text(name, message.get("arguments"))
        candidates = self._left[:1] if self._in_order else [*self._left, *reversed(self._been)]
        for step in candidates:
            if self._names.match(step.text, came):
                if step in self._left:
                    self._left.remove(step)
                self._been.append(step)
                return step.exchange
        if not self._in_order:
            candidates = [step for step in candidates if step.exchange.execute == name]
        return self.refused(came, candidates[0].text if candidates else "nothing like it")

    def _text(self, name: str, arguments: object) -> str:
        members = {"arguments": redact(arguments, of=name)} if arguments else {}
        message = cast("JsonObject", {"execute": name, **members})
        return to_text(filtered(message, self._filters))


class _Names:
    """The endings of generated names of a recording, and what stands for them now."""

    def __init__(self, pid: int) -> None:
        self._recorded = re.compile(rf"-{pid:x}-\d+\b" if pid else r"(?!)")
        self._now: dict[str, str] = {}

    def match(self, expected: str, came: str) -> bool:
        """Tell whether texts are the same but for such names, and note those that are new."""
        names = self._recorded.findall(expected)
        literals = self._recorded.split(expected)
        pattern = re.escape(literals[0])
        for name, literal in zip(names, literals[1:], strict=True):
            known = self._now.get(name)
            pattern += "(" + (re.escape(known) if known else r"-[0-9a-f]+-\d+") + ")"
            pattern += re.escape(literal)
        found = re.fullmatch(pattern, came) if names else None
        if found is None:
            return expected == came
        pairs = list(zip(names, found.groups(), strict=True))
        if any(dict(pairs)[name] != now for name, now in pairs):
            return False
        self._now.update(pairs)
        return True

    def renewed(self, messages: Sequence[JsonObject]) -> Sequence[JsonObject]:
        """Return messages with the names of now."""
        if not self._now:
            return messages
        text = self._recorded.sub(lambda name: self._now.get(name[0], name[0]), to_text(messages))
        renewed: Sequence[JsonObject] = json.loads(text)
        return renewed


def recorded(recording: Recording) -> tuple[JsonObject, list[Exchange]]:
    """Return the greeting and the exchanges of a recording. Raises UsageError without a greeting.

    A reply is said when its command comes, an event where it was: behind what came before it.
    """
    if not recording.messages or "QMP" not in recording.messages[0]:
        raise UsageError("the recording begins without QEMU's greeting: record from the start")
    says: list[list[JsonObject]] = []
    commands: list[JsonObject] = []
    unanswered: dict[object, int] = {}
    latest = -1
    for message in recording.messages:
        if name := message.get("execute", message.get("exec-oob")):
            commands.append(message)
            says.append([])
            unanswered[message.get("id")] = len(says) - 1
            if name != _SCHEMA:  # which may not be asked for another time
                latest = len(says) - 1
        elif "event" in message:
            if latest >= 0:
                says[latest].append(message)
        elif "return" in message or "error" in message:
            reply = {key: value for key, value in message.items() if key != "id"}
            if (index := unanswered.pop(message.get("id"), None)) is not None:
                says[index].append(reply)
    ended = "execute" in recording.messages[-1] or "exec-oob" in recording.messages[-1]
    exchanges = [
        Exchange(
            execute=str(command.get("execute", command.get("exec-oob"))),
            arguments=cast("JsonObject | None", command.get("arguments")),
            says=said,
            fault=HangUp() if ended and command is commands[-1] else None,
        )
        for command, said in zip(commands, says, strict=True)
    ]
    return recording.messages[0], exchanges


def greeting_of(version: tuple[int, int, int]) -> JsonObject:
    """Return the greeting of a QEMU."""
    major, minor, micro = version
    qemu = {"major": major, "minor": minor, "micro": micro}
    return {"QMP": {"version": {"qemu": qemu, "package": ""}, "capabilities": ["oob"]}}


def _schema(greeting: JsonObject) -> JsonObject:
    """Return the reply that a QEMU of that release, or else the newest known, gives."""
    release = re.search(r'"major": (\d+), "micro": \d+, "minor": (\d+)', to_text(greeting))
    names = [name for name in snapshots.available() if name.startswith("system-")]
    wanted = f"system-{release[1]}.{release[2]}" if release else ""
    path = snapshots.DIRECTORY / f"{wanted if wanted in names else names[-1]}.json"
    return {"return": json.loads(path.read_text(encoding="utf-8"))["schema"]}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
