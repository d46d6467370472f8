"""The command-line tools as typed functions: what they are told, what they answer.

A tool gets its options as an argument vector, never through a shell; it dies with us,
and with the task that waits for it.
"""

from .drivers import DriverSupport
from .luks import LuksSupport
from .nbd import NbdUri
from .programs import Programs
from .qemu_io import write
from .run import Completed, ask, run
from .version import Version

__all__ = [
    "Completed",
    "DriverSupport",
    "LuksSupport",
    "NbdUri",
    "Programs",
    "Version",
    "ask",
    "run",
    "write",
]
