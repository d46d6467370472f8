"""Options as QEMU's command line takes them: ``file.driver=file,file.filename=a,,b``.

JSON is the better way wherever an option takes it; ``-drive`` does not. What the options
mean belongs elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qemu_blocksdk.errors import UsageError

from .convert import encode
from .struct import JsonValue, Struct


def dotted(options: Struct) -> dict[str, str]:
    """Return the texts of all members under their dotted names: ``backing.file.filename``.

    An item of a list is named by its number. Raises UsageError for a null and for an empty
    object or list, which have no such form.
    """
    return dict(_leaves(encode(options), ""))


def keyval(texts: Mapping[str, str | int | bool]) -> str:
    """Return the one word of a command line: ``name=text,...``, with commas in it doubled."""
    return ",".join(f"{name}={doubled(_text(value))}" for name, value in texts.items())


def doubled(text: str) -> str:
    """Return a value as it stands in a list that commas separate."""
    return text.replace(",", ",,")


def _leaves(value: JsonValue, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str | int | float):
        yield name, _text(value)
        return
    if isinstance(value, Mapping):
        members = dict(value)
    else:
        members = {str(number): item for number, item in enumerate(value or ())}
    if not members:
        raise UsageError(f"{name or 'options'}: {value!r} has no form on a command line but JSON")
    for key, member in members.items():
        yield from _leaves(member, f"{name}.{key}" if name else key)


def _text(value: str | float) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
