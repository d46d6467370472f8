"""Choose the answer to a command: the next exchange, or a matching one. No I/O.

Commands are compared as texts with sorted keys and with secrets replaced on both sides. Names that
the SDK generates (``objects/names.py``) end with eight random digits and a number and differ in
each run: such a name in a recording stands for the first new one that comes in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, cast

from qemu_blocksdk.codec import JsonObject, redact
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.testing.difference import common_length
from qemu_blocksdk.testing.text import filtered, to_text

from .exchange import Exchange, command_of
from .fault import Fault, HangUp
from .recording import Session

GREETING: Final = "greeting"
"""The name of the greeting among the faults."""
_NEGOTIATION, _SCHEMA, _QUIT = "qmp_capabilities", "query-qmp-schema", "quit"
_SHOWN = 400


class _Step(NamedTuple):
    text: str
    exchange: Exchange


class Script:
    """The exchanges of a session, and which of them are done."""

    def __init__(
        self,
        session: Session,
        *,
        in_order: bool,
        filters: Iterable[Callable[[JsonObject], JsonObject]],
        faults: Mapping[str, Fault],
    ) -> None:
        """Raises UsageError for faults of commands that the session does not have."""
        self.greeting: JsonObject = session.greeting
        self._in_order, self._filters, self._faults = in_order, tuple(filters), dict(faults)
        self._names = _Names(session.pid)
        self._left: list[_Step] = []
        self._been: list[_Step] = []
        self._strays: list[str] = []
        # What any connection may ask, whenever it likes, or never.
        self._any_time = {name: Exchange(execute=name) for name in (_NEGOTIATION, _SCHEMA, _QUIT)}
        self._any_time[_SCHEMA] = self._any_time[_SCHEMA].evolve(says=())
        for each in session.exchanges:
            if each.execute in self._any_time:
                self._any_time[each.execute] = each
            else:
                self._left.append(_Step(self._text(each.execute, each.arguments), each))
        known = {GREETING, *self._any_time, *(step.exchange.execute for step in self._left)}
        if strays := sorted(self._faults.keys() - known):
            raise UsageError(f"a fault of {strays[0]!r}, which is not in the session")

    def fault_of(self, name: str, default: Fault | None = None) -> Fault | None:
        """Return the fault that a command, or the greeting, has each time."""
        if default is None and name == _QUIT:
            default = HangUp(at="after")
        return self._faults.get(name, default)

    def answer(self, message: JsonObject) -> Exchange:
        """Return the exchange of a command; it refuses a command that is not expected."""
        name = command_of(message)
        found = self._any_time.get(name) or self._matching(name, message.get("arguments"))
        if name == _SCHEMA and not found.says:
            found = self._any_time[name] = found.evolve(says=[_schema(self.greeting)])
        says = self._names.renewed(found.says)
        return found.evolve(says=says, fault=self.fault_of(name, found.fault))

    def refused(self, came: str, expected: str) -> Exchange:
        """Note an unexpected command; return its refusal."""
        differs_at = common_length(came, expected)
        came, expected = (_part(text, differs_at) for text in (came, expected))
        self._strays.append(f"expected: {expected}\n    came: {came}")
        desc = f"the replay expected {expected}, not {came}"
        return Exchange(execute="", says=[{"error": {"class": "GenericError", "desc": desc}}])

    def report(self, *, is_over: bool) -> str:
        """Return all differences from the session as lines; empty if there are none."""
        missing = self._left if is_over and self._in_order else []
        lines = [*self._strays, *(f"never came: {_part(step.text)}" for step in missing)]
        return "\n".join(["the session was not as it should be", *lines]) if lines else ""

    def _matching(self, name: str, arguments: object) -> Exchange:
        came = self._text(name, arguments)
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
        message = filtered(cast("JsonObject", {"execute": name, **members}), self._filters)
        name = command_of(message)
        return f"{name} {to_text(message['arguments'])}" if "arguments" in message else name


class _Names:
    """The generated names of a recording, and the names that stand for them now."""

    def __init__(self, pid: int) -> None:
        # Recordings of the first versions: the process id in place of the digits.
        older = rf"|-{pid:x}-[0-9]+\b" if pid else ""
        self._recorded = re.compile(rf"-[0-9a-f]{{8}}-[0-9]+\b{older}")
        self._now: dict[str, str] = {}

    def match(self, expected: str, came: str) -> bool:
        """Return whether texts are equal except for generated names, and note new names."""
        names = self._recorded.findall(expected)
        literals = map(re.escape, self._recorded.split(expected))
        pattern = next(literals)
        for name, literal in zip(names, literals, strict=True):
            known = self._now.get(name)
            pattern += f"({re.escape(known) if known else '-[0-9a-f]+-[0-9]+'}){literal}"
        found = re.fullmatch(pattern, came)
        if found is None:
            return False
        pairs = list(zip(names, found.groups(), strict=True))
        if any(dict(pairs)[name] != now for name, now in pairs):
            return False
        self._now.update(pairs)
        return True

    def renewed(self, messages: Sequence[JsonObject]) -> Sequence[JsonObject]:
        """Return messages with the current names."""
        if not self._now:
            return messages
        text = self._recorded.sub(lambda name: self._now.get(name[0], name[0]), to_text(messages))
        renewed: Sequence[JsonObject] = json.loads(text)
        return renewed


def greeting_of(version: tuple[int, int, int]) -> JsonObject:
    """Return the greeting of a QEMU."""
    major, minor, micro = version
    qemu = {"major": major, "minor": minor, "micro": micro}
    return {"QMP": {"version": {"qemu": qemu, "package": ""}, "capabilities": ["oob"]}}


def _schema(greeting: JsonObject) -> JsonObject:
    """Return the reply of a QEMU of that release, otherwise of the newest known one."""
    release = re.search(r'"major": (\d+), "micro": \d+, "minor": (\d+)', to_text(greeting))
    # What a storage daemon has, an emulator of its release has.
    names = [name for name in snapshots.available() if name.startswith("system-")]
    wanted = f"system-{release[1]}.{release[2]}" if release else ""
    path = snapshots.DIRECTORY / f"{wanted if wanted in names else names[-1]}.json"
    return {"return": json.loads(path.read_text(encoding="utf-8"))["schema"]}


def _part(text: str, differs_at: int = 0) -> str:
    """Return a text, or a part of it: its beginning, and the place where it differs."""
    if len(text) <= _SHOWN:
        return text
    begin = max(0, differs_at - _SHOWN // 4)
    head = f"{text[:40]}... " if begin > 40 else text[:begin]
    tail = text[begin : begin + _SHOWN]
    return f"{head}{tail}{'...' * (begin + _SHOWN < len(text))}"
