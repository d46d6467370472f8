"""What must never be shown: in a repr, a log, an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

_MASK = "***"
# In text: the password of a URL, a member of a json: file name, an option of -object.
_IN_TEXT = re.compile(
    r"""(?P<lead>://[^/@\s:'"]*:)[^/@\s]*(?=@)"""
    r"""|(?P<member>\\?["'][\w-]*password\\?["']\s*:\s*\\?["'])[^"'\\]*"""
    r"""|(?P<option>\bsecret\b[^\s]*?,data=|\bpassword=)[^,\s]*"""
)


def is_secret(member: str, *, of: str) -> bool:
    """Tell whether a member's value must never be shown; ``of`` names its object or command.

    A member of a member is told by its dotted name (``file.cookie``).
    """
    member = member.rpartition(".")[2]
    kind = of.lower().replace("-", "")
    return (
        member.endswith("password")
        or member == "cookie"
        or (member == "data" and "secret" in kind)
        or (member == "value" and kind == "qomset")
    )


def masked(text: str) -> str:
    """Return the text with the secrets that it shows replaced."""
    return _IN_TEXT.sub(lambda found: f"{found[found.lastgroup or 0]}{_MASK}", text)


def masked_words(words: Iterable[str]) -> tuple[str, ...]:
    """Return a command line with its secrets replaced."""
    return tuple(map(masked, words))


def redact(json: object, *, of: str = "") -> object:
    """Return JSON with its secrets replaced; ``of`` names the command that it belongs to."""
    if isinstance(json, Mapping):
        members = cast("Mapping[str, object]", json)
        kind = str(members.get("qom-type", of))
        return {
            name: _MASK if is_secret(name, of=kind) else redact(member, of=kind)
            for name, member in members.items()
        }
    if isinstance(json, list | tuple):
        return [redact(item, of=of) for item in cast("list[object]", json)]
    return masked(json) if isinstance(json, str) else json
