"""QMP's messages as text: requests written, lines read, replies told apart. No I/O.

What QEMU's parser would reject is refused here: its complaint carries no id, so it could
not be told whose it is.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
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


@functools.lru_cache
def _quoted(name: str) -> str:
    return dumps(name)


def request_line(name: str, arguments: JsonObject, *, oob: bool) -> bytes:
    """Return the line that asks for a command.

    Raises UsageError for arguments that have no JSON form or that QEMU cannot read.
    """
    text = f'{{"{"exec-oob" if oob else "execute"}":{_quoted(name)}'
    try:
        if arguments:
            text += f',"arguments":{dumps(arguments)}'
        if "\\u0000" in text and _NUL.search(text):
            raise ValueError("a string has a NUL character")
        return f"{text}}}\n".encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: arguments have no JSON form: {error}") from error


def with_id(request: bytes, ident: str) -> bytes:
    """Return the request with an id."""
    return b'%b,"id":"%b"}\n' % (request[:-2], ident.encode())


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


def shown(message: JsonObject, *, of: str = "") -> JsonObject:
    """Return a copy of a message without its secrets; ``of`` names the command that it is."""
    if isinstance(message.get("return"), str):
        # A text alone may be any property's value, a secret's too.
        message = {**message, "return": "***"}
    return cast("JsonObject", redact(message, of=of))


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
