"""The command-line tools: what they are told and what they answer, as values.

A tool gets its options as an argument vector, never through a shell; it dies with us,
and with the task that waits for it. Each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.lazy import loader

if TYPE_CHECKING:
    from qemu_blocksdk.graphviz import svg

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

_HOMES = {
    name: home
    for home, names in {
        "amendment": "AmendLuks AmendOptions AmendQcow2",
        "creation": "CreateLuks CreateParallels CreateQcow CreateQcow2 CreateQed CreateRaw"
        " CreateVdi CreateVhdx CreateVmdk CreateVpc CreationOptions EncryptAes"
        " EncryptLuks ImageFormat",
        "drivers": "DriverSupport",
        ".graphviz": "svg",
        "luks": "LuksSupport",
        "nbd": "NbdUri",
        "probe": "ImageProbe",
        "programs": "Programs",
        "progress": "ToolProgress",
        "qemu_io": "IoExtent IoFailure IoInfo IoResult",
        "qemu_nbd": "NbdExport NbdServerOptions",
        "results": "BenchResult BlockGraphInfo BlockMeasureInfo Comparison ImageCheck MapEntry",
        "run": "Completed",
        "tls": "TlsAnon TlsCredentials TlsPsk TlsX509",
        "version": "Version",
        "words": "AioMode CacheMode Preallocation",
    }.items()
    for name in names.split()
}


if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
