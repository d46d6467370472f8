"""The command-line tools as typed functions: what they are told, what they answer.

A tool gets its options as an argument vector, never through a shell; it dies with us,
and with the task that waits for it.
"""

from .drivers import DriverSupport
from .luks import LuksSupport
from .nbd import NbdUri
from .programs import Programs
from .qemu_io import write
from .qemu_nbd import NbdExport, NbdServerOptions
from .run import Completed, ask, run
from .tls import TlsAnon, TlsCredentials, TlsPsk, TlsX509
from .version import Version

__all__ = [
    "Completed",
    "DriverSupport",
    "LuksSupport",
    "NbdExport",
    "NbdServerOptions",
    "NbdUri",
    "Programs",
    "TlsAnon",
    "TlsCredentials",
    "TlsPsk",
    "TlsX509",
    "Version",
    "ask",
    "run",
    "write",
]
