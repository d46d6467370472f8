"""Images that refer to other files and to servers, in all the ways that QEMU reads."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from tests.live.helpers import run, wait_until

MARK = b"FOREIGN-CONTENT-"
MIB = 1 << 20
VMDK = 'CID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
HEAD = "# Disk DescriptorFile\nversion=1\n" + VMDK


class World:
    """A folder with what nobody may open, and two servers to which nobody may connect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.foreign = folder / "foreign"
        self.foreign.write_bytes(MARK * (MIB // len(MARK)))
        self.linked = folder / "linked"
        self.linked.symlink_to(self.foreign)
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        self.socket = folder / "s"
        run("qemu-img", "create", "-q", "-f", "qcow2", folder / "empty.qcow2", "1M")
        self._hits = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in (self.foreign, self.fifo):
            opened_or_read = 0x20 | 0x1
            assert self._libc.inotify_add_watch(self._watch, bytes(path), opened_or_read) > 0
        self._listeners = [
            socket.create_server(("127.0.0.1", 0)),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        ]
        self._listeners[1].bind(os.path.relpath(self.socket))
        self._listeners[1].listen()
        self.port: int = self._listeners[0].getsockname()[1]
        self._end, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select(
                [*(one.fileno() for one in self._listeners), self._end], [], []
            )
            for listener in self._listeners:
                if listener.fileno() in ready:
                    with contextlib.suppress(OSError):
                        listener.accept()[0].close()
                    self._hits += 1
            if self._end in ready:
                return

    def close(self) -> None:
        os.close(self._stop)
        self._thread.join(5)
        for listener in self._listeners:
            listener.close()
        self.socket.unlink()
        os.close(self._end)
        os.close(self._watch)

    def touched(self) -> bool:
        """Whether somebody opened the file, or connected, since this was asked last."""
        # Those that came before us have been counted when we have.
        hits = self._hits
        for listener in self._listeners:
            with socket.socket(listener.family, socket.SOCK_STREAM) as own:
                name = listener.getsockname()
                own.connect(name)
        wait_until(lambda: self._hits >= hits + 2, what="our own connections")
        others, self._hits = self._hits - 2, 0
        opened = b""
        with contextlib.suppress(BlockingIOError):
            opened = os.read(self._watch, 4096)
        return bool(others or opened)

    # -- images -------------------------------------------------------------------------

    def qcow2(self, backing: str = "", *, data_file: str = "", before: int = 0) -> bytes:
        """An empty qcow2 of 1 MiB that refers to others.

        The name of the data file is the header extension that has so many ``before`` it.
        """
        image = bytearray((self.folder / "empty.qcow2").read_bytes())
        (length,) = struct.unpack_from(">I", image, 100)
        if backing:
            struct.pack_into(">QI", image, 8, 8192, len(backing.encode()))
            image[8192 : 8192 + len(backing.encode())] = backing.encode()
        if data_file:
            name = data_file.encode()
            image[79] |= 4
            record = struct.pack(">II", 0x6803F857, 0) * before
            record += struct.pack(">II", 0x44415441, len(name)) + name.ljust(-len(name) % 8, b"\0")
            image[length : length + len(record) + 8 + 8] = record.ljust(len(record) + 16, b"\0")
        return bytes(image)

    def qed(self, backing: str) -> bytes:
        name = backing.encode()
        header = b"QED\0" + struct.pack(
            "<IIIQQQQQII", 65536, 4, 1, 1, 0, 0, 65536, MIB, 64, len(name)
        )
        return (header + name).ljust(65536 * 5, b"\0")

    def qcow(self, backing: str) -> bytes:
        name = backing.encode()
        header = b"QFI\xfb" + struct.pack(
            ">IQIIQBBHIQ", 1, 4096, len(name), 0, MIB, 12, 9, 0, 0, 48
        )
        return header.ljust(4096, b"\0")[:4096] + name.ljust(4096, b"\0")


def sparse(capacity: int, descriptor_at: int, after: bytes, *, head: bytes = b"") -> bytes:
    """A sparse vmdk of 1 MiB, its tables empty; ``after`` is what follows its header."""
    header = head or b"KDMV" + struct.pack(
        "<IIQQQQIQQQBBBBBH", 1, 3, capacity, 128, descriptor_at, 20, 512, 26, 21, 128, *(0,) * 6
    )
    return (header.ljust(512, b"\0") + after).ljust(MIB, b"\0")


def cowd(after: bytes) -> bytes:
    header = b"COWD" + struct.pack("<IIIIII", 1, 3, 2048, 16, 4, 1)
    return sparse(0, 0, after, head=header)


Build = Callable[[World], bytes | str]


def extent(line: str, head: str = HEAD) -> Build:
    """A vmdk descriptor with one line; ``@`` is the foreign file."""
    return lambda world: head + line.replace("@", str(world.foreign)) + "\n"


def hint(text: str) -> Build:
    """A sparse vmdk whose descriptor, which its header does not mention, names a parent."""
    return lambda w: sparse(2048, 0, (VMDK + text.replace("@", str(w.foreign))).encode())


def backed(name: Callable[[World], str]) -> Build:
    return lambda world: world.qcow2(name(world))


def options(members: Callable[[World], object]) -> Build:
    return backed(lambda world: f"json:{json.dumps(members(world))}")


def file(world: World) -> dict[str, object]:
    return {"driver": "file", "filename": str(world.foreign)}


def nbd(world: World) -> dict[str, object]:
    return {"driver": "nbd", "server": {"type": "unix", "path": str(world.socket)}}


def nested(world: World) -> bytes:
    (world.folder / "inner.vmdk").write_text(f'{HEAD}RW 2048 FLAT "{world.foreign}" 0\n')
    return world.qcow2(f"{world.folder}/inner.vmdk")


VMFS = HEAD.replace("monolithicFlat", "vmfs")
WITH_CR = HEAD.replace("\n", "\r\n")

IMAGES: dict[str, Build] = {
    "vmdk: plain": extent('RW 2048 FLAT "@" 0'),
    "vmdk: two spaces": extent('RW  2048  FLAT  "@"  0'),
    "vmdk: tabs": extent('RW\t2048\tFLAT\t"@"\t0'),
    "vmdk: white space in front": extent(' \t RW 2048 FLAT "@" 0'),
    "vmdk: one word a line": extent('RW\n2048\nFLAT\n"@"\n0'),
    "vmdk: other white space": extent('RW\v2048\fFLAT\r"@"\v0'),
    "vmdk: a sign": extent('RW +2048 FLAT "@" +0'),
    "vmdk: no space after the size": extent('RW 2048FLAT "@" 0'),
    "vmdk: no space before the offset": extent('RW 2048 FLAT "@"0'),
    "vmdk: zeros": extent('RW 0002048 FLAT "@" 000'),
    "vmdk: vmfs": extent('RW 2048 VMFS "@"', VMFS),
    "vmdk: a sparse extent": extent('RW 2048 SPARSE "@"'),
    "vmdk: text behind": extent('RW 2048 FLAT "@" 0 # nothing'),
    "vmdk: an empty extent first": extent('RW 0 FLAT "other" 0\nRW 2048 FLAT "@" 0'),
    "vmdk: ends of lines of Windows": extent('RW 2048 FLAT "@" 0\r', WITH_CR),
    "vmdk: no first line": extent('RW 2048 FLAT "@" 0', "version=1\n" + VMDK),
    "vmdk: no version": extent('RW 2048 FLAT "@" 0', VMDK),
    "vmdk: extents first": extent('RW 2048 FLAT "@" 0\n' + HEAD, ""),
    "vmdk: blank lines first": extent('RW 2048 FLAT "@" 0', "\n \n\t\n" + HEAD),
    "vmdk: a long comment first": extent('RW 2048 FLAT "@" 0', HEAD + "#" * 70_000 + "\n"),
    "vmdk: far away": extent('RW 2048 FLAT "@" 0', HEAD + "#\n" * 20_000),
    "vmdk: a relative name": extent('RW 2048 FLAT "foreign" 0'),
    "vmdk: a name over folders": lambda w: f'{HEAD}RW 2048 FLAT "../{w.folder.name}/foreign" 0\n',
    "vmdk: a link": extent('RW 2048 FLAT "linked" 0'),
    "vmdk: a FIFO": extent('RW 2048 FLAT "fifo" 0'),
    "vmdk: a descriptor in disguise": lambda w: sparse(
        0, 1, f'{HEAD}RW 2048 FLAT "{w.foreign}" 0\n'.encode()
    ),
    "vmdk: a descriptor in disguise, far away": lambda w: sparse(
        0, 99, bytes(98 * 512) + f'{HEAD}RW 2048 FLAT "{w.foreign}" 0\n'.encode()
    ),
    "vmdk: a parent that the header does not mention": hint('parentFileNameHint="@"\n'),
    "vmdk: a parent, otherwise quoted": hint('xparentFileNameHint  @"'),
    "vmdk: a parent, far away": hint("#" * 9000 + '\nparentFileNameHint="@"\n'),
    "vmdk: a parent of a descriptor": lambda w: (
        f'{HEAD}parentFileNameHint="{w.foreign}"\nRW 2048 FLAT "{w.foreign}" 0\n'
    ),
    "vmdk: a parent of COWD": lambda w: cowd(f'{VMDK}parentFileNameHint="{w.foreign}"\n'.encode()),
    "qcow2: a backing file": backed(lambda w: str(w.foreign)),
    "qcow2: a relative backing file": backed(lambda _: "foreign"),
    "qcow2: a backing file by a link": backed(lambda w: str(w.linked)),
    "qcow2: a backing FIFO": backed(lambda w: str(w.fifo)),
    "qcow2: file:": backed(lambda w: f"file:{w.foreign}"),
    "qcow2: fat:": backed(lambda w: f"fat:{w.folder}"),
    "qcow2: json: with a file": options(file),
    "qcow2: json: with raw over a file": options(lambda w: {"driver": "raw", "file": file(w)}),
    "qcow2: json: with a quorum": options(
        lambda w: {"driver": "quorum", "vote-threshold": 1, "children": [file(w)]}
    ),
    "qcow2: json: with blkdebug": options(lambda w: {"driver": "blkdebug", "image": file(w)}),
    "qcow2: json: with a log": options(
        lambda w: {"driver": "blklogwrites", "file": file(w), "log": file(w)}
    ),
    "qcow2: json: with a detached LUKS header": options(
        lambda w: {"driver": "luks", "file": file(w), "header": file(w)}
    ),
    "qcow2: json: with NBD over a unix socket": options(nbd),
    "qcow2: json: with TCP": options(
        lambda w: {"driver": "nbd", "host": "127.0.0.1", "port": str(w.port)}
    ),
    "qcow2: nbd:": backed(lambda w: f"nbd:127.0.0.1:{w.port}"),
    "qcow2: nbd:unix:": backed(lambda w: f"nbd:unix:{w.socket}"),
    "qcow2: nbd://": backed(lambda w: f"nbd://127.0.0.1:{w.port}/x"),
    "qcow2: nbd+unix://": backed(lambda w: f"nbd+unix:///x?socket={w.socket}"),
    "qcow2: http://": backed(lambda w: f"http://127.0.0.1:{w.port}/x"),
    "qcow2: ssh://": backed(lambda w: f"ssh://127.0.0.1:{w.port}/x"),
    "qcow2: nfs://": backed(lambda w: f"nfs://127.0.0.1/x?nfsport={w.port}&mountport={w.port}"),
    "qcow2: a data file": lambda w: w.qcow2(data_file=str(w.foreign)),
    "qcow2: a data file behind many extensions": lambda w: w.qcow2(
        data_file=str(w.foreign), before=100
    ),
    "qcow2: a backing file that goes on behind a NUL": backed(lambda w: f"{w.foreign}\0x"),
    "qed: a backing file that goes on behind a NUL": lambda w: w.qed(f"{w.foreign}\0x"),
    "qcow2: a data file by a link": lambda w: w.qcow2(data_file=str(w.linked)),
    "qcow2: a data file behind NBD": lambda w: w.qcow2(
        data_file=f"nbd+unix:///x?socket={w.socket}"
    ),
    "qcow2: both": lambda w: w.qcow2(str(w.foreign), data_file=str(w.foreign)),
    "qcow2: a vmdk as its backing file": nested,
    "qed: a backing file": lambda w: w.qed(str(w.foreign)),
    "qed: nbd+unix://": lambda w: w.qed(f"nbd+unix:///x?socket={w.socket}"),
    "qcow: a backing file": lambda w: w.qcow(str(w.foreign)),
    "qcow: nbd://": lambda w: w.qcow(f"nbd://127.0.0.1:{w.port}/x"),
}

NOT_REACHED = {
    "vmdk: a sparse extent": "the foreign file is opened, but is no sparse file",
    "vmdk: no version": "",
    "vmdk: a FIFO": "QEMU waits for a writer",
    "qcow2: a backing FIFO": "QEMU waits for a writer",
    "qcow2: a data file behind NBD": "QEMU takes the name for a path",
    "qcow2: http://": "takes a module",
    "qcow2: ssh://": "takes a module",
    "qcow2: nfs://": "takes a module",
    "qcow2: json: with a detached LUKS header": "is new in QEMU 9.0",
}
"""Images by which not every QEMU reaches something, and why."""


@contextlib.contextmanager
def world(folder: Path) -> Generator[World]:
    made = World(folder)
    try:
        yield made
    finally:
        made.close()
