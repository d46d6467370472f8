"""The command-line tools: what they are told and what they answer, as values.

A tool gets its options as an argument vector, never through a shell; it dies with us,
and with the task that waits for it.
"""

from .amendment import AmendLuks, AmendOptions, AmendQcow2
from .creation import (
    CreateLuks,
    CreateParallels,
    CreateQcow,
    CreateQcow2,
    CreateQed,
    CreateRaw,
    CreateVdi,
    CreateVhdx,
    CreateVmdk,
    CreateVpc,
    CreationOptions,
    EncryptAes,
    EncryptLuks,
    ImageFormat,
)
from .drivers import DriverSupport
from .graphviz import svg
from .luks import LuksSupport
from .nbd import NbdUri
from .probe import ImageProbe
from .programs import Programs
from .progress import ToolProgress
from .qemu_io import IoExtent, IoFailure, IoInfo, IoResult
from .qemu_nbd import NbdExport, NbdServerOptions
from .results import (
    BenchResult,
    BlockGraphInfo,
    BlockMeasureInfo,
    Comparison,
    ImageCheck,
    MapEntry,
)
from .run import Completed
from .tls import TlsAnon, TlsCredentials, TlsPsk, TlsX509
from .version import Version
from .words import AioMode, CacheMode, Preallocation

__all__ = [
    "AioMode",
    "AmendLuks",
    "AmendOptions",
    "AmendQcow2",
    "BenchResult",
    "BlockGraphInfo",
    "BlockMeasureInfo",
    "CacheMode",
    "Comparison",
    "Completed",
    "CreateLuks",
    "CreateParallels",
    "CreateQcow",
    "CreateQcow2",
    "CreateQed",
    "CreateRaw",
    "CreateVdi",
    "CreateVhdx",
    "CreateVmdk",
    "CreateVpc",
    "CreationOptions",
    "DriverSupport",
    "EncryptAes",
    "EncryptLuks",
    "ImageCheck",
    "ImageFormat",
    "ImageProbe",
    "IoExtent",
    "IoFailure",
    "IoInfo",
    "IoResult",
    "LuksSupport",
    "MapEntry",
    "NbdExport",
    "NbdServerOptions",
    "NbdUri",
    "Preallocation",
    "Programs",
    "TlsAnon",
    "TlsCredentials",
    "TlsPsk",
    "TlsX509",
    "ToolProgress",
    "Version",
    "svg",
]
