"""Filters: output of tools and QMP made equal from run to run. Pure, no I/O.

A filter is a value that is called with a text or a message and returns a new one; ``f | g`` runs
one after the other, ``lift`` makes of a filter of texts one of messages. ``docs/filters.md``
has them all.
"""

from .filter import Filter, Pipeline
from .known import (
    Environment,
    carriage_returns,
    chown_ids,
    default_filters,
    event_timestamp,
    generated_node_ids,
    image_format,
    image_info,
    nbd_block_sizes,
    qemu_io_timing,
    sock_dir,
    test_dir,
    test_files,
    virtio_scsi_bus,
)
from .message import Message, each_value, lift, ordered, value_at, without
from .text import drop_lines, replace, stream, substitute

__all__ = [
    "Environment",
    "Filter",
    "Message",
    "Pipeline",
    "carriage_returns",
    "chown_ids",
    "default_filters",
    "drop_lines",
    "each_value",
    "event_timestamp",
    "generated_node_ids",
    "image_format",
    "image_info",
    "lift",
    "nbd_block_sizes",
    "ordered",
    "qemu_io_timing",
    "replace",
    "sock_dir",
    "stream",
    "substitute",
    "test_dir",
    "test_files",
    "value_at",
    "virtio_scsi_bus",
    "without",
]
