"""Places where something is before a call, and what is there afterwards."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

OWNER = 65534
MIB = 1 << 20
_ANYONE = 0xFFFFFFFF
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        *((1, 6, _ANYONE), (2, 4, 4711), (4, 0, _ANYONE)),
        *((16, 4, _ANYONE), (32, 0, _ANYONE)),
    )
)

KINDS = (
    *("file", "link", "dangling link", "owned", "mounted"),
    *("device", "link to a device", "character device"),
    *("fifo", "socket", "directory"),
)
"""What may be at a place."""

ALWAYS_REFUSED = ("mounted", "character device", "fifo", "socket", "directory")
DEVICES = ("device", "link to a device")


@contextlib.contextmanager
def loop_device(folder: Path) -> Generator[Path]:
    """A block device of 1 MiB; skips where none can be had."""
    (folder / "loop").write_bytes(b"d" * MIB)
    found = subprocess.run(
        ["losetup", "--find", "--show", folder / "loop"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"no right to make a loop device: {found.stderr.strip()}")
    try:
        yield Path(found.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", found.stdout.strip()], check=True)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A loop device, where there is the right to have one."""
    if os.geteuid() != 0:
        yield None
        return
    with loop_device(tmp_path_factory.mktemp("loop")) as found:
        yield found


@contextlib.contextmanager
def place(kind: str, folder: Path, device: Path | None) -> Generator[Path]:
    """Put something of that kind at a path; skips where that takes rights that we lack."""
    if kind in ("owned", "mounted", "character device", *DEVICES) and os.geteuid() != 0:
        pytest.skip(f"only root can make this: {kind}")
    path = folder / "place"
    with contextlib.ExitStack() as stack:
        match kind:
            case "nothing":
                pass
            case "file":
                path.write_text("old")
                path.chmod(0o640)
            case "link":
                (folder / "real").write_text("old")
                path.symlink_to("real")
            case "dangling link":
                path.symlink_to("real")
            case "owned":
                path.write_text("old")
                os.chown(path, OWNER, OWNER)
                path.chmod(0o600)
                with contextlib.suppress(OSError):  # a file system without
                    os.setxattr(path, "system.posix_acl_access", _ACL)
                    os.setxattr(path, "user.note", b"keep me")
            case "mounted":
                for name in ("real", "place"):
                    (folder / name).write_text("old")
                command = ["mount", "--bind", str(folder / "real"), str(path)]
                done = subprocess.run(command, capture_output=True, check=False)
                if done.returncode:
                    pytest.skip(f"no right to mount: {done.stderr.decode().strip()}")
                stack.callback(subprocess.run, ["umount", str(path)], check=True)
            case "device" | "link to a device":
                assert device is not None
                node = path if kind == "device" else folder / "real"
                os.mknod(node, 0o600 | stat.S_IFBLK, device.stat().st_rdev)
                if kind != "device":
                    path.symlink_to("real")
            case "character device":
                os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
            case "fifo":
                os.mkfifo(path)
            case "socket":
                stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
            case _:
                path.mkdir()
        yield path
        path.unlink() if path.is_socket() else None


def state(folder: Path, *, content: bool = True) -> dict[str, tuple[object, ...]]:
    """What is in a folder: kinds, owners, modes, attributes, links, and the content of files."""
    found: dict[str, tuple[object, ...]] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names
        path = folder / name
        status = path.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        names = [] if is_link else sorted(os.listxattr(path))
        found[name] = (
            *(stat.filemode(status.st_mode), status.st_uid, status.st_gid, status.st_rdev),
            os.readlink(path) if is_link else "",  # noqa: PTH115 - a str
            tuple((name, os.getxattr(path, name)) for name in names),
            path.read_bytes() if content and stat.S_ISREG(status.st_mode) else b"",
        )
    return found
