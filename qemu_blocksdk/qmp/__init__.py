"""The connection to a running QEMU: transports, session, events, version gate, child process.

This package knows the types of commands, not their effects; ``objects`` does.
"""

from .address import Address
from .cancellation import CLEANUP_TIMEOUT, clean_up, gather, run_with_cleanup, shielded
from .events import AsyncEventStream
from .gate import ServerKind
from .messages import OnMessage
from .process import AsyncProcess, find_program
from .sandbox import Sandbox
from .session import AsyncQmp

__all__ = [
    "CLEANUP_TIMEOUT",
    "Address",
    "AsyncEventStream",
    "AsyncProcess",
    "AsyncQmp",
    "OnMessage",
    "Sandbox",
    "ServerKind",
    "clean_up",
    "find_program",
    "gather",
    "run_with_cleanup",
    "shielded",
]
