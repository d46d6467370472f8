"""QMP messages: encode requests, parse lines, read replies; show messages without secrets. No I/O.

What QEMU's parser would reject is refused here: the parser's error has no id, so nobody could
tell which command it is about.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
from collections.abc import Callable, Iterable
from typing import cast

from qemu_blocksdk.codec import JsonObject, JsonValue, masked, redact, secrets_in
from qemu_blocksdk.errors import CommandError, MalformedReply, UsageError

OnMessage = Callable[[JsonObject], object]
"""Called with each message of a connection."""
dumps: Callable[[object], str] = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode
_decode: Callable[[str], tuple[object, int]] = json.JSONDecoder().raw_decode
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
_BRACKET = re.compile(r"[][{}]")
# Limits of QEMU's parser (7.2 to 11.1).
MAX_SIZE = 64 << 20
_MAX_TOKENS = 2 << 20
_MAX_NESTING = 1024
_log = logging.getLogger(__name__)


@functools.lru_cache
def _quoted(name: str) -> str:
    return dumps(name)


def request_bytes(name: str, arguments: JsonObject, ident: int, *, oob: bool) -> bytes:
    """Return the encoded request of a command. QEMU needs no newline after it.

    Raises UsageError for arguments that have no JSON form or that QEMU cannot read.
    """
    text = f'{{"{"exec-oob" if oob else "execute"}":{_quoted(name)}'
    try:
        if arguments:
            text += f',"arguments":{dumps(arguments)}'
        if "\\u0000" in text and _NUL.search(text):
            raise ValueError("a string has a NUL character")
        if len(text) > _MAX_NESTING:
            _assert_in_bounds(text)
        return f'{text},"id":{ident}}}'.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: arguments have no JSON form: {error}") from error


def _assert_in_bounds(text: str) -> None:
    """Raise ValueError for a message that exceeds the limits of QEMU's parser."""
    if len(text) > MAX_SIZE:
        raise ValueError("QEMU reads messages of 64 MiB at most")
    # Characters inside strings count as well, so most messages need no second look.
    if sum(map(text.count, "{[")) < _MAX_NESTING and sum(map(text.count, ",:")) < _MAX_TOKENS // 4:
        return
    outline = _STRING.sub("0", text)
    depth = deepest = 0
    for bracket in _BRACKET.finditer(outline):
        depth += 1 if bracket[0] in "{[" else -1
        deepest = max(deepest, depth)
    if deepest >= _MAX_NESTING:
        raise ValueError(f"QEMU reads objects and lists up to {_MAX_NESTING} deep")
    if 2 * sum(map(outline.count, ",:")) + 2 * sum(map(outline.count, "{[")) >= _MAX_TOKENS:
        raise ValueError(f"QEMU reads {_MAX_TOKENS} tokens at most")


def parse(line: bytes) -> JsonObject:
    """Return the message of a line. Raises ValueError where it is none."""
    text = line.decode().rstrip()
    try:
        message, end = _decode(text)
    except RecursionError as error:
        raise ValueError("a message is nested too deeply") from error
    if end != len(text) or not isinstance(message, dict):
        raise ValueError("a QMP message is one object")
    return cast("JsonObject", message)


def shown(message: JsonObject, *, of: str = "", known: Iterable[str] = ()) -> JsonObject:
    """Return a copy of a message without its secrets; ``of`` is the name of a command.

    ``known`` are the secrets of the command that a reply belongs to.
    """
    if isinstance(message.get("return"), str):
        # A text alone may be any property's value, a secret's too.
        message = {**message, "return": "***"}
    return cast("JsonObject", redact(message, of=of, known=known))


def result(reply: JsonObject, name: str, arguments: JsonObject) -> JsonValue:
    """Return the value of a reply.

    Raises CommandError where QEMU refused the command, MalformedReply for a reply without a
    result and without an error.
    """
    if "return" in reply:
        return reply["return"]
    if "error" not in reply:
        raise MalformedReply(name, expected="a result or an error", found="a reply without either")
    error = reply["error"]
    error = error if isinstance(error, dict) else {}
    desc = str(error.get("desc", "a malformed reply"))
    raise CommandError(
        str(error.get("class", "GenericError")),
        masked(desc, known=secrets_in(arguments, of=name)),
        command=name,
        arguments=cast("JsonObject", redact(arguments, of=name)),
    )


class MessageLog:
    """Log the messages of one connection, and show them to ``on_message``, without secrets.

    Each command has a number, by which its reply is found; ``on_message`` does not get it.
    """

    def __init__(self, on_message: OnMessage | None) -> None:
        self.on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._numbers = ShownIds()
        # What a reply may quote, while somebody looks.
        self._secrets: dict[object, frozenset[str]] = {}

    @property
    def is_active(self) -> bool:
        """Whether messages are logged or shown at all."""
        return self.on_message is not None or _log.isEnabledFor(logging.DEBUG)

    def log_command(self, name: str, arguments: JsonObject, number: int) -> None:
        """Log a command, and keep its secrets, which its reply may quote."""
        is_logged = _log.isEnabledFor(logging.DEBUG)
        is_shown = is_logged or self.on_message is not None
        if is_shown and (found := secrets_in(arguments, of=name)):
            self._secrets[number] = found
        if is_logged:
            _log.debug("--> %s %s", name, redact(arguments, of=name))

    def log_received(self, message: JsonObject) -> None:
        """Log an event or a reply."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("<-- %s", shown(message, known=self._known(message)))

    def show_command(self, message: JsonObject, name: str) -> None:
        """Call ``on_message`` with a command."""
        if self.on_message is not None:
            self._show(self.on_message, self._numbers.of_command(message), name)

    def show_received(self, message: JsonObject) -> None:
        """Call ``on_message`` with an event or a reply."""
        if self.on_message is not None:
            known = self._known(message)
            self._show(self.on_message, self._numbers.of_reply(message), known=known)

    def forget(self, number: int) -> None:
        """Forget a command whose reply has arrived, or will not be seen."""
        self._secrets.pop(number, None)
        if self.on_message is not None:
            self._numbers.forget(number)

    def _known(self, message: JsonObject) -> frozenset[str]:
        return self._secrets.get(message.get("id"), frozenset())

    def _show(
        self,
        on_message: OnMessage,
        message: JsonObject,
        name: str = "",
        *,
        known: frozenset[str] = frozenset(),
    ) -> None:
        try:
            on_message(shown(message, of=name, known=known))
        except Exception as error:  # noqa: BLE001 - must not keep it from its receiver
            context = {"message": "on_message raised", "exception": error}
            self._loop.call_exception_handler(context)


class ShownIds:
    """Ids as ``on_message`` gets them: the same in every run, and only where they are needed.

    A command has one where it is sent before the reply to the one without an id has come.
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

    def forget(self, ident: int) -> None:
        """Forget a command whose reply has been shown or will not be."""
        self._shown.pop(str(ident), None)


def _with_id(message: JsonObject, ident: str | None) -> JsonObject:
    others = {name: value for name, value in message.items() if name != "id"}
    return others if ident is None else {**others, "id": ident}
