"""The connection to a running QEMU: transports, session, events, version gate, child process.

This package knows the types of commands, not their effects; ``objects`` does.
"""

from .address import Address
from .events import AsyncEventStream
from .gate import ServerKind
from .messages import OnMessage
from .process import AsyncProcess, located
from .sandbox import Sandbox
from .session import AsyncQmp
from .unwind import CLEANUP_TIMEOUT, as_unit, clean_up, shielded, together

__all__ = [
    "CLEANUP_TIMEOUT",
    "Address",
    "AsyncEventStream",
    "AsyncProcess",
    "AsyncQmp",
    "OnMessage",
    "Sandbox",
    "ServerKind",
    "as_unit",
    "clean_up",
    "located",
    "shielded",
    "together",
]
