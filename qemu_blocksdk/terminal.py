"""Text of others, made safe for a terminal. This is the one place that escapes."""

from __future__ import annotations

import re

_RUN = re.compile(r"[^ -~]+")


def escaped(text: str, *, keep: str = "\n\t") -> str:
    r"""Return a text in which nothing can steer a terminal or hide what is there.

    Control characters, marks that turn the direction of text, and all else that Python does not
    call printable become escapes as in a Python literal (``\x1b``, ``\u202e``); a byte that was
    not UTF-8 becomes ``\xff``. Characters to ``keep`` stay. Repeated, it changes nothing.
    """
    if text.isprintable():
        return text

    def shown(run: re.Match[str]) -> str:
        return "".join(c if c in keep or c.isprintable() else _literal(c) for c in run[0])

    return _RUN.sub(shown, text)


def _literal(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte, by ``surrogateescape``
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
