"""Strings and QMP messages as text, and :func:`log`.

Filters change what is shown; the logger decides where it goes.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar, cast

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import UsageError

M = TypeVar("M", str, JsonObject, Sequence[JsonValue])
LOGGER: Final = logging.getLogger("qemu_blocksdk.testing")


def log(
    message: M,
    *,
    filters: Iterable[Callable[[M], M]] = (),
    indent: int | None = None,
    logger: logging.Logger = LOGGER,
) -> None:
    """Log a string, or a QMP message as JSON, at level INFO, after applying filters in order.

    JSON is one line, or several with ``indent``. Keys are sorted, unless the message is an
    ``OrderedDict`` after the filters. Raises UsageError for a message that has no JSON form.
    """
    message = filtered(message, filters)
    # Without arguments, so that a % in it is no format.
    logger.info(to_text(message, indent=indent))


def filtered(message: M, filters: Iterable[Callable[[M], M]]) -> M:
    """Return the message after applying the filters in order."""
    for one in filters:
        message = one(message)
    return message


def to_text(message: object, *, indent: int | None = None) -> str:
    """Return a string unchanged, a message as JSON in ASCII. Raises UsageError for others."""
    if isinstance(message, str):
        return message
    if not isinstance(message, Mapping | list | tuple):
        raise UsageError(f"a {type(message).__name__} is no message: it takes text or JSON")
    try:
        return json.dumps(
            message,
            sort_keys=not isinstance(message, OrderedDict),
            indent=indent,
            default=_mapping,
        )
    except RecursionError as error:
        raise UsageError("a message is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"a message has no JSON form: {error}") from error


def _mapping(value: object) -> dict[str, object]:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    raise TypeError(f"a {type(value).__name__} in it has none")
