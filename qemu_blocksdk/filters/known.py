"""The filters that tests of QEMU's block layer use, by what they make equal from run to run.

What iotests' filter of the same purpose makes of a text or message is what these make of it;
docs/filters.md has the table.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError

from .filter import Filter, Pipeline
from .message import EventTimestamp, Message
from .text import Timing, drop_lines, replace, substitute

_Path: TypeAlias = "str | os.PathLike[str]"

carriage_returns: Filter[str] = replace("\r", by="")
qemu_io_timing: Filter[str] = carriage_returns | Timing()
chown_ids: Filter[str] = substitute("chown [0-9]+:[0-9]+", by="chown UID:GID")
virtio_scsi_bus: Filter[str] = substitute("virtio-scsi-(?:ccw|pci)", by="virtio-scsi")
generated_node_ids: Filter[str] = substitute("#block[0-9]+", by="NODE_NAME")
nbd_block_sizes: Filter[str] = (
    substitute("min block: [0-9]+", by="min block: XXX")
    | substitute("opt block: [0-9]+", by="opt block: XXX")
    | substitute("max block: [0-9]+", by="max block: XXX")
)
event_timestamp: Filter[Message] = EventTimestamp()


class Environment(Value):
    """What is different from run to run: a test's directories, its process, the image format."""

    test_dir: _Path
    sock_dir: _Path
    pid: int
    format: str


def test_dir(path: _Path) -> Filter[str]:
    """Return a filter that makes a directory ``TEST_DIR``. Raises UsageError for an empty path."""
    return _directory(path, name="TEST_DIR")


def sock_dir(path: _Path) -> Filter[str]:
    """Return a filter that makes a directory ``SOCK_DIR``. Raises UsageError for an empty path."""
    return _directory(path, name="SOCK_DIR")


def test_files(*, test_dir: _Path, sock_dir: _Path, pid: int) -> Filter[str]:
    """Return a filter of file names that begin with a process id, in either directory.

    They become ``TEST_DIR/PID-`` and ``SOCK_DIR/PID-``. Raises UsageError for an empty path.
    """
    return _files(test_dir, pid, name="TEST_DIR") | _files(sock_dir, pid, name="SOCK_DIR")


# pytest takes a function that is imported under such a name for a test.
vars(test_dir)["__test__"] = vars(test_files)["__test__"] = False


def image_format(name: str) -> Filter[str]:
    """Return a filter that makes an image format ``IMGFMT``. Raises UsageError for an empty one."""
    if not name:
        raise UsageError("the image format is empty")
    return replace(name, by="IMGFMT")


def image_info(filename: _Path, *, env: Environment) -> Filter[str]:
    """Return a filter of what ``qemu-img info`` prints of an image.

    File name and format become ``TEST_IMG`` and ``IMGFMT``; ids and iterations ``XXX``; the disk
    size is left out. Raises UsageError for an empty path or format.
    """
    return (
        drop_lines("disk size")
        | drop_lines("actual-size")
        | _directory(filename, name="TEST_IMG")
        | test_files(test_dir=env.test_dir, sock_dir=env.sock_dir, pid=env.pid)
        | image_format(env.format)
        | substitute("iters: [0-9]+", by="iters: XXX")
        | substitute("uuid: [-a-f0-9]+", by="uuid: XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX")
        | substitute("cid: [0-9]+", by="cid: XXXXXXXXXX")
    )


def default_filters(env: Environment) -> Filter[str]:
    """Return the filters that a test wants for all that it prints; ``lift`` it for messages.

    Raises UsageError for an empty path or format.
    """
    directories = sorted(
        [(os.fspath(env.test_dir), "TEST_DIR"), (os.fspath(env.sock_dir), "SOCK_DIR")],
        # One may be in the other, as one of its files.
        key=lambda directory: len(directory[0]),
        reverse=True,
    )
    paths = Pipeline[str](
        parts=tuple(
            part
            for path, name in directories
            for part in (_files(path, env.pid, name=name), _directory(path, name=name))
        )
    )
    return (
        qemu_io_timing
        | paths
        | chown_ids
        | virtio_scsi_bus
        | generated_node_ids
        | nbd_block_sizes
        | image_format(env.format)
    )


def _directory(path: _Path, *, name: str) -> Filter[str]:
    return replace(_checked(path, name), by=name)


def _files(directory: _Path, pid: int, *, name: str) -> Filter[str]:
    start = os.path.join(_checked(directory, name), f"{pid}-")  # noqa: PTH118 - says what it joins
    return replace(start, by=f"{name}/PID-")


def _checked(path: _Path, name: str) -> str:
    if not os.fspath(path):
        raise UsageError(f"the path of {name} is empty")
    return os.fspath(path)
