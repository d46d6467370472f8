"""QMP's messages as text: requests written, lines read, replies told apart. No I/O.

What QEMU's parser would reject is refused here: its error carries no id, so nobody knows which
command it is about.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable
from typing import cast

from qemu_blocksdk.codec import JsonObject, JsonValue, masked, redact, secrets_in
from qemu_blocksdk.errors import CommandError, UsageError

OnMessage = Callable[[JsonObject], object]
"""Is told of each message of a connection."""
dumps: Callable[[object], str] = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode
_decode: Callable[[str], tuple[object, int]] = json.JSONDecoder().raw_decode
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
_BRACKET = re.compile(r"[][{}]")
# Of QEMU's parser (7.2 to 11.1).
_MAX_SIZE = 64 << 20
_MAX_TOKENS = 2 << 20
_MAX_NESTING = 1024


@functools.lru_cache
def _quoted(name: str) -> str:
    return dumps(name)


def request_bytes(name: str, arguments: JsonObject, ident: int, *, oob: bool) -> bytes:
    """Return the message that asks for a command; QEMU needs no newline behind it.

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
    """Raise ValueError for a message that exceeds the bounds of QEMU's parser."""
    if len(text) > _MAX_SIZE:
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
    """Return a copy of a message without its secrets; ``of`` names the command that it is.

    ``known`` are those of the command that a reply answers.
    """
    if isinstance(message.get("return"), str):
        # A text alone may be any property's value, a secret's too.
        message = {**message, "return": "***"}
    return cast("JsonObject", redact(message, of=of, known=known))


def result(reply: JsonObject, name: str, arguments: JsonObject) -> JsonValue:
    """Return what a reply returns. Raises CommandError where it is a refusal."""
    if "return" in reply:
        return reply["return"]
    error = reply.get("error")
    error = error if isinstance(error, dict) else {}
    desc = str(error.get("desc", "a malformed reply"))
    raise CommandError(
        str(error.get("class", "GenericError")),
        masked(desc, known=secrets_in(arguments, of=name)),
        command=name,
        arguments=cast("JsonObject", redact(arguments, of=name)),
    )
