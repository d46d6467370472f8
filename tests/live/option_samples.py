"""Options of every driver that a machine without servers can open, and what they open."""

from __future__ import annotations

import base64
import contextlib
import struct
import subprocess
import threading
import zlib
from collections.abc import Callable, Generator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qemu_blocksdk.blockdev import (
    NULL,
    Blkdebug,
    BlkdebugInjectErrorOptions,
    Blklogwrites,
    Blkreplay,
    Blkverify,
    BlockdevCacheOptions,
    BlockdevOptions,
    BlockdevQcow2EncryptionLuks,
    Bochs,
    Cloop,
    Compress,
    CopyBeforeWrite,
    CopyOnRead,
    Dmg,
    File,
    HostDevice,
    Http,
    Luks,
    Nbd,
    NullAio,
    NullCo,
    Parallels,
    Preallocate,
    Qcow,
    Qcow2,
    Qcow2OverlapCheckFlags,
    Qed,
    Quorum,
    Raw,
    Replication,
    SnapshotAccess,
    Throttle,
    Vdi,
    Vhdx,
    Vmdk,
    Vpc,
    Vvfat,
)
from qemu_blocksdk.wire import SocketAddressUnix
from tests.live.helpers import run

SIZE = 1 << 20
OBJECTS = ("secret,id=key,data=secret", "throttle-group,id=group,x-iops-total=1000")
"""What the options refer to."""


class Lab:
    """Makes what options open, in a folder with a comma in its name; closes it on leaving."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a,b = c"
        self.folder.mkdir()
        self._made = 0
        self.stack = contextlib.ExitStack()

    def file(self, content: bytes | None = None) -> File:
        """A file of its own, as its options; empty unless there is content."""
        self._made += 1
        path = self.folder / f"file {self._made}"
        path.write_bytes(bytes(SIZE) if content is None else content)
        return File(filename=str(path))

    def image(self, format: str, *words: str) -> File:
        """A new image."""
        file = self.file(b"")
        secret = ("--object", f"{OBJECTS[0]}")
        run("qemu-img", "create", "-q", *secret, "-f", format, *words, file.filename, str(SIZE))
        return file

    def over(self, base: File) -> File:
        """A new qcow2 image whose backing file does not matter."""
        return self.image("qcow2", "-u", "-b", base.filename, "-F", "raw")

    def nbd(self) -> SocketAddressUnix:
        """An NBD server."""
        path = self.folder / "nbd"
        argv = ["qemu-nbd", "-t", "-e", "9", "-f", "raw", "-k", str(path), self.file().filename]
        server = subprocess.Popen(argv)
        self.stack.callback(path.unlink, missing_ok=True)
        self.stack.callback(server.wait, timeout=5)
        self.stack.callback(server.kill)
        return SocketAddressUnix(path=str(path))

    def url(self) -> str:
        """A file that an HTTP server offers."""
        name = Path(self.file().filename).name.replace(" ", "%20")
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranges, directory=self.folder))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.stack.callback(server.server_close)
        self.stack.callback(thread.join)
        self.stack.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}/{name}"

    def device(self) -> str:
        """A block device; skips where there can be none."""
        argv = ["losetup", "--find", "--show", self.file().filename]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        except FileNotFoundError:
            pytest.skip("no program 'losetup'")
        if done.returncode:
            pytest.skip(f"no right to make a loop device: {done.stderr.strip()}")
        device = done.stdout.strip()
        self.stack.callback(run, "losetup", "--detach", device)
        return device


class _Ranges(SimpleHTTPRequestHandler):
    """What curl's driver needs of a server: it says that it has ranges, and has one for 512."""

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _bochs() -> bytes:
    header = struct.pack(
        "<32s16s16sIIIIIIQ",
        *(b"Bochs Virtual HD Image", b"Redolog", b"Growing", 0x20000, 512),
        *(1, 512, SIZE, 0, SIZE),
    )
    return header.ljust(512, b"\0") + b"\xff" * 512


def _cloop() -> bytes:
    block = zlib.compress(bytes(SIZE // 4))
    begin = 128 + 8 + 8 * 5
    offsets = [begin + len(block) * number for number in range(5)]
    return bytes(128) + struct.pack(">II5Q", SIZE // 4, 4, *offsets) + block * 4


def _dmg() -> bytes:
    zeros = struct.pack(">IIQQQQ", 2, 0, 0, SIZE // 512, 0, 0)
    end = struct.pack(">IIQQQQ", 0xFFFFFFFF, 0, SIZE // 512, 0, 0, 0)
    mish = b"mish".ljust(200, b"\0") + struct.pack(">I", 2) + zeros + end
    plist = b"<data>" + base64.b64encode(mish) + b"</data>"
    koly = bytearray(512)
    koly[:4] = b"koly"
    koly[0xD8:0xE8] = struct.pack(">QQ", 0, len(plist))
    koly[0x1EC:0x1F4] = struct.pack(">Q", SIZE // 512)
    return plist + koly


def _qcow2(lab: Lab) -> Qcow2:
    backing = Raw(file=lab.file(), offset=512, size=SIZE - 512)
    return Qcow2(
        node_name="top",
        file=lab.over(lab.file()),
        backing=backing,
        lazy_refcounts=True,
        cache=BlockdevCacheOptions(no_flush=True),
        overlap_check=Qcow2OverlapCheckFlags(template="cached", bitmap_directory=True),
        l2_cache_size=1 << 20,
        detect_zeroes="unmap",
        discard="unmap",
    )


def _snapshot_access(lab: Lab) -> SnapshotAccess:
    before_write = CopyBeforeWrite(
        node_name="cbw", file=lab.file(), target=lab.image("qcow2"), on_cbw_error="break-snapshot"
    )
    return SnapshotAccess(node_name="top", file=before_write)


def _blkdebug(lab: Lab) -> Blkdebug:
    error = BlkdebugInjectErrorOptions(event="l2_load", errno=5, once=True, sector=7)
    permissions: list[str] = ["write", "resize"]
    return Blkdebug(
        node_name="top",
        image=lab.file(),
        align=4096,
        inject_error=[error, BlkdebugInjectErrorOptions(event="none", state=2)],
        unshare_child_perms=permissions,  # type: ignore[arg-type]
    )


SAMPLES: dict[str, Callable[[Lab], BlockdevOptions]] = {
    "raw": lambda lab: Raw(node_name="top", file=lab.file(), offset=512, size=1024),
    "qcow2": _qcow2,
    "qcow2 of null": lambda lab: Qcow2(
        node_name="top", file=lab.over(lab.file()), backing=NULL, overlap_check="constant"
    ),
    "qcow2 of luks": lambda lab: Qcow2(
        node_name="top",
        file=lab.image(
            "qcow2",
            *("-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"),
            *("-o", "encrypt.hash-alg=sha512"),
        ),
        encrypt=BlockdevQcow2EncryptionLuks(key_secret="key"),
    ),
    "luks": lambda lab: Luks(
        node_name="top",
        file=lab.image("luks", "-o", "key-secret=key,iter-time=10,hash-alg=sha512"),
        key_secret="key",
    ),
    "qcow": lambda lab: Qcow(node_name="top", file=lab.image("qcow")),
    "qed": lambda lab: Qed(node_name="top", file=lab.image("qed")),
    "vmdk": lambda lab: Vmdk(node_name="top", file=lab.image("vmdk")),
    "vdi": lambda lab: Vdi(node_name="top", file=lab.image("vdi")),
    "vhdx": lambda lab: Vhdx(node_name="top", file=lab.image("vhdx")),
    "vpc": lambda lab: Vpc(node_name="top", file=lab.image("vpc")),
    "parallels": lambda lab: Parallels(node_name="top", file=lab.image("parallels")),
    "bochs": lambda lab: Bochs(node_name="top", file=lab.file(_bochs()), read_only=True),
    "cloop": lambda lab: Cloop(node_name="top", file=lab.file(_cloop()), read_only=True),
    "dmg": lambda lab: Dmg(node_name="top", file=lab.file(_dmg()), read_only=True),
    "blkdebug": _blkdebug,
    "blkverify": lambda lab: Blkverify(node_name="top", test=lab.file(), raw=lab.file()),
    "blklogwrites": lambda lab: Blklogwrites(
        node_name="top", file=lab.file(), log=lab.file(), log_sector_size=4096
    ),
    "blkreplay": lambda lab: Blkreplay(node_name="top", image=lab.file()),
    "quorum": lambda lab: Quorum(
        node_name="top",
        vote_threshold=2,
        children=[lab.file(), Raw(file=lab.file()), NullCo(size=SIZE, read_zeroes=True)],
        read_pattern="quorum",
    ),
    "throttle": lambda lab: Throttle(node_name="top", throttle_group="group", file=lab.file()),
    "copy-on-read": lambda lab: CopyOnRead(
        node_name="top", file=Qcow2(file=lab.over(lab.file()), backing=Raw(file=lab.file()))
    ),
    "copy-before-write": lambda lab: CopyBeforeWrite(
        node_name="top", file=lab.file(), target=Qcow2(file=lab.image("qcow2")), cbw_timeout=5
    ),
    "compress": lambda lab: Compress(node_name="top", file=Qcow2(file=lab.image("qcow2"))),
    "preallocate": lambda lab: Preallocate(
        node_name="top", file=lab.file(), prealloc_align=1 << 20, prealloc_size=1 << 20
    ),
    "snapshot-access": _snapshot_access,
    "replication": lambda lab: Replication(
        node_name="top", mode="primary", file=Qcow2(file=lab.image("qcow2"))
    ),
    "null-co": lambda _: NullCo(node_name="top", size=SIZE, latency_ns=7, read_zeroes=True),
    "null-aio": lambda _: NullAio(node_name="top", size=SIZE, latency_ns=7),
    "nbd": lambda lab: Nbd(node_name="top", server=lab.nbd(), open_timeout=5, reconnect_delay=0),
    "http": lambda lab: Http(
        node_name="top", url=lab.url(), readahead=4096, timeout=5, read_only=True
    ),
    "vvfat": lambda lab: Vvfat(
        node_name="top", dir=str(lab.folder), fat_type=16, rw=False, read_only=True
    ),
    "file": lambda lab: File(
        node_name="top", filename=lab.file().filename, locking="off", aio="threads"
    ),
    "a node by its name": lambda _: Raw(node_name="top", file="base"),
    "host_device": lambda lab: HostDevice(node_name="top", filename=lab.device()),
}


@contextlib.contextmanager
def lab_in(folder: Path) -> Generator[Lab]:
    """A lab whose servers end with the block."""
    lab = Lab(folder)
    with lab.stack:
        yield lab
