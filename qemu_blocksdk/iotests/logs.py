"""What a script logs, and what of it goes to its output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from qemu_blocksdk.testing.text import to_text

Msg = TypeVar("Msg", dict[str, Any], list[Any], str)

logger: logging.Logger = logging.getLogger("qemu.iotests")
logger.addHandler(logging.NullHandler())
test_logger: logging.Logger = logging.getLogger("qemu.iotests.diff_io")


def log(msg: Msg, filters: Iterable[Callable[[Msg], Msg]] = (), indent: int | None = None) -> None:
    """Log a text, or a message as JSON, after the filters: a line of the script's output."""
    for each in filters:
        msg = each(msg)
    is_json = isinstance(msg, dict | list)
    test_logger.info("%s", to_text(msg, indent=indent) if is_json else msg)


def activate_logging() -> None:
    """Let what is logged by :func:`log` go to stdout."""
    handler = logging.StreamHandler(stream=sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    test_logger.addHandler(handler)
    test_logger.setLevel(logging.INFO)
    test_logger.propagate = False
