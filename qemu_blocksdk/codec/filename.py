"""File names in QEMU's syntax, where what comes before a colon may be a protocol."""

from __future__ import annotations

import os
import re

_PROTOCOL = re.compile(r"[^/:]*:")


def has_protocol(name: str) -> bool:
    """Tell whether QEMU reads a protocol at the start of a name: ``nbd:``, ``json:``, ``fat:``."""
    return _PROTOCOL.match(name) is not None


def qemu_name(name: str | os.PathLike[str]) -> str:
    """Return a file name in QEMU's syntax: a str is one, a path object is a literal path."""
    if isinstance(name, str):
        return name
    path = os.fspath(name)
    return f"./{path}" if has_protocol(path) else path
