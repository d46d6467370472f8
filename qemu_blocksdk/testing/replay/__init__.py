"""QMP sessions without QEMU: recorded to a file or written down, and played by a server.

What a session says is data (``exchange.py``), be it read from a file (``recording.py``) or not;
``script.py`` knows what answers a command, ``server.py`` the socket. Faults of a real QEMU are in
``testing/faults.py``.
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
