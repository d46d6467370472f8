"""Sizes as people type them (``64M``), in bytes: QEMU's rules, without asking QEMU."""

from __future__ import annotations

import re

from qemu_blocksdk.errors import UsageError

Size = int | str
"""Bytes, or text such as ``"64M"``."""

MAX_SIZE = (1 << 63) - 1
"""The largest size that QEMU knows, in bytes."""

_NUMBER = re.compile(r"([0-9]{1,99})(?:\.([0-9]*))?([bkmgtpe]?)", re.IGNORECASE | re.ASCII)
_HEX = re.compile(r"0x[0-9a-f]{1,99}", re.IGNORECASE)


def to_bytes(size: Size) -> int:
    """Return a size in bytes: a number of them, or text as qemu-img takes it.

    Text is decimal with one of the letters b, k, M, G, T, P and E (powers of 1024, in
    either case) and, with a letter above b, a fraction (``1.5G``, to the nearest byte);
    or hexadecimal without a letter. Raises UsageError for all else, for what is negative
    and for more than `MAX_SIZE`.
    """
    found = _parsed(size) if isinstance(size, str) else size
    if not isinstance(found, int) or isinstance(found, bool):
        raise UsageError(f"{size!r} is not a size such as 65536 or '64M'")
    if not 0 <= found <= MAX_SIZE:
        raise UsageError(f"a size of {size} is not from 0 to {MAX_SIZE} bytes")
    return int(found)


def _parsed(text: str) -> int | None:
    if _HEX.fullmatch(text):
        return int(text, 16)
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    whole, fraction, letter = found.groups()
    unit = 1 << 10 * "bkmgtpe".index(letter.lower() or "b")
    rest = float(f"0.{fraction or 0}")
    if rest and unit == 1:
        return None
    # QEMU computes the fraction as a double, so we do.
    return int(whole) * unit + int(rest * unit + 0.5)
