"""QMP sessions without QEMU: recorded to a file or written in Python, and played by a server.

A session is data (``exchange.py``), also when it comes from a file (``recording.py``).
``script.py`` chooses the answer to a command, ``server.py`` has the socket. Faults of a real QEMU
are in ``testing/faults.py``.
"""

from .exchange import Exchange, Expected, expect
from .fault import Fault, Garbage, HangUp, Late, Silent, Slow, Twice
from .recording import record
from .server import ReplayServer

__all__ = [
    "Exchange",
    "Expected",
    "Fault",
    "Garbage",
    "HangUp",
    "Late",
    "ReplayServer",
    "Silent",
    "Slow",
    "Twice",
    "expect",
    "record",
]
