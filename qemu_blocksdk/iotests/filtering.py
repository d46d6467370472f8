"""The filters by their old names, over those of ``filters``; a message is changed in place."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar, cast

from qemu_blocksdk.filters import (
    Filter,
    carriage_returns,
    chown_ids,
    generated_node_ids,
    image_format,
    image_info,
    nbd_block_sizes,
    qemu_io_timing,
    test_files,
    virtio_scsi_bus,
)
from qemu_blocksdk.filters import test_dir as test_dir_filter

from .environ import ENV, imgfmt, sock_dir, test_dir

QMPMessage = dict[str, Any]
_M = TypeVar("_M", dict[str, Any], list[Any])

test_dir_re: re.Pattern[str] = re.compile(test_dir)
win32_re: re.Pattern[str] = re.compile(r"\r")
qemu_io_re: re.Pattern[str] = re.compile(
    r"[0-9]* ops; [0-9/:. sec]* \([0-9/.inf]* [EPTGMKiBbytes]*/sec and [0-9/.inf]* ops/sec\)"
)
chown_re: re.Pattern[str] = re.compile(r"chown [0-9]+:[0-9]+")
index_re: re.Pattern[str] = re.compile(r"([^\[]+)\[([^\]]+)\]")


def is_str(val: object) -> TypeGuard[str]:
    """Tell whether a value is a text."""
    return isinstance(val, str)


def filter_test_dir(msg: str) -> str:
    """Make the directory of the images ``TEST_DIR``."""
    return test_dir_filter(test_dir)(msg)


def filter_win32(msg: str) -> str:
    """Take out the carriage returns."""
    return carriage_returns(msg)


def filter_qemu_io(msg: str) -> str:
    """Make what qemu-io tells of speed and time ``X`` and ``XXX``."""
    return qemu_io_timing(msg)


def filter_chown(msg: str) -> str:
    """Make the ids of a ``chown`` ``UID:GID``."""
    return chown_ids(msg)


def filter_qmp_event(event: QMPMessage) -> QMPMessage:
    """Make the time of an event ``SECS`` and ``USECS``; the event itself is copied."""
    event = dict(event)
    if "timestamp" in event:
        event["timestamp"].update(seconds="SECS", microseconds="USECS")
    return event


def filter_qmp(qmsg: _M, filter_fn: Callable[[Any, Any], Any]) -> _M:
    """Put ``filter_fn(key, value)`` in place of each value that is no object or list."""
    holder: Any = qmsg
    keys: list[Any] = list(holder) if _is(dict, holder) else list(range(len(holder)))
    for key in keys:
        value: Any = holder[key]
        is_nested = _is(list, value) or _is(dict, value)
        holder[key] = filter_qmp(value, filter_fn) if is_nested else filter_fn(key, value)
    return qmsg


def _is(kind: type, value: object) -> bool:
    # isinstance() itself would have the type checkers know less of the value than Any.
    return isinstance(value, kind)


def _filter_texts(qmsg: _M, text_filter: Callable[[str], str]) -> _M:
    return filter_qmp(qmsg, lambda _, value: text_filter(value) if is_str(value) else value)


def filter_testfiles(msg: str) -> str:
    """Make the names of this process's files ``TEST_DIR/PID-`` and ``SOCK_DIR/PID-``."""
    return _files()(msg)


def filter_qmp_testfiles(qmsg: _M) -> _M:
    """Do as :func:`filter_testfiles` with every text of a message."""
    return _filter_texts(qmsg, _files())


def filter_virtio_scsi(output: str) -> str:
    """Leave the bus out of ``virtio-scsi-pci`` and ``virtio-scsi-ccw``."""
    return virtio_scsi_bus(output)


def filter_qmp_virtio_scsi(qmsg: _M) -> _M:
    """Do as :func:`filter_virtio_scsi` with every text of a message."""
    return _filter_texts(qmsg, virtio_scsi_bus)


def filter_generated_node_ids(msg: str) -> str:
    """Make the names that QEMU gives to nodes ``NODE_NAME``."""
    return generated_node_ids(msg)


def filter_img_info(output: str, filename: str) -> str:
    """Make what ``qemu-img info`` prints equal from run to run."""
    return image_info(filename, env=ENV.for_filters())(output)


def filter_imgfmt(msg: str) -> str:
    """Make the image format ``IMGFMT``."""
    return image_format(imgfmt)(msg)


def filter_qmp_imgfmt(qmsg: _M) -> _M:
    """Do as :func:`filter_imgfmt` with every text of a message."""
    return _filter_texts(qmsg, image_format(imgfmt))


def filter_nbd_exports(output: str) -> str:
    """Make the block sizes of an NBD export ``XXX``."""
    return nbd_block_sizes(output)


def ordered_qmp(qmsg: Any, conv_keys: bool = True) -> Any:
    """Sort the keys of a message, with dashes for underscores in the outermost."""
    if isinstance(qmsg, list):
        return [ordered_qmp(each) for each in cast("Sequence[Any]", qmsg)]
    if not isinstance(qmsg, dict):
        return qmsg  # a tuple too, with the keys in it as they are
    pairs = sorted(cast("dict[str, Any]", qmsg).items())
    return OrderedDict(
        (key.replace("_", "-") if conv_keys else key, ordered_qmp(value, conv_keys=False))
        for key, value in pairs
    )


def _files() -> Filter[str]:
    # Of this process, which may be a child of os.fork().
    return test_files(test_dir=test_dir, sock_dir=sock_dir, pid=os.getpid())
