"""What each driver insists on beyond its schema, found out by asking QEMU 7.2 and 10.0.

Here live the tables and the functions that hold one node's JSON against them; ``checking`` walks
through the nodes. What depends on the machine (is there such a file) is no constraint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from qemu_blocksdk.codec import JsonValue

Node = Mapping[str, JsonValue]
Complaint = tuple[str, str]
"""The member that is wrong, and why."""

LONGEST_NAME = 31
_NODE_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


class Limit(NamedTuple):
    """What an integer has to be. 0, where that is not too low, stands for the default."""

    lowest: int = 0
    highest: int = (1 << 63) - 1
    multiple_of: int = 1
    is_power_of_two: bool = False

    def beyond(self, value: int) -> str | None:
        """Return why a value is not within; None where it is."""
        if not self.lowest <= value <= self.highest:
            return f"{value} is not from {self.lowest} to {self.highest}"
        if value % self.multiple_of:
            return f"{value} is no multiple of {self.multiple_of}"
        if self.is_power_of_two and value & (value - 1):
            return f"{value} is no power of two"
        return None


class Driver(NamedTuple):
    """What a driver insists on: of single integers, and of members together."""

    limits: Mapping[str, Limit]
    together: Callable[[Node], Complaint | None] | None = None


def complaint(node: Node) -> Complaint | None:
    """Tell what a node cannot have, whatever is over it; None where all is well.

    Its members have the types of the schema.
    """
    if "node-name" in node and not _NODE_NAME.fullmatch(name := cast("str", node["node-name"])):
        return "node-name", f"{name!r} is not a letter and up to 30 letters, digits, '.', '_', '-'"
    if "detect-zeroes" in node and node["detect-zeroes"] == "unmap" != node.get("discard"):
        return "detect-zeroes", "unmap needs discard=unmap"
    driver = _DRIVERS.get(node["driver"])
    if driver is None:
        return None
    limits, together = driver
    for member, value in node.items():
        if type(value) is int and member in limits and (why := limits[member].beyond(value)):
            return member, why
    return together(node) if together else None


def _of_blkdebug(node: Node) -> Complaint | None:
    align = cast("int", node.get("align") or 1)
    for request in ("transfer", "write-zero", "discard"):
        unit, name = align, "align"
        for member in (f"opt-{request}", f"max-{request}"):
            value = cast("int", node.get(member) or 0)
            if value % unit:
                return member, f"{value} is no multiple of {name}={unit}"
            if member.startswith("opt") and value > unit:
                unit, name = value, member
    return None


def _of_nbd(node: Node) -> Complaint | None:
    if len(cast("str", node.get("export") or "").encode()) > 4096:
        return "export", "it has more than 4096 bytes"
    if "tls-hostname" in node and "tls-creds" not in node:
        return "tls-hostname", "it needs tls-creds"
    return None


def _of_qcow2(node: Node) -> Complaint | None:
    if "cache-size" not in node:
        return None
    parts = [name for name in ("l2-cache-size", "refcount-cache-size") if name in node]
    if len(parts) == 2:
        return "cache-size", "it cannot be told along with both its parts"
    for name in parts:
        if cast("int", node[name]) > cast("int", node["cache-size"]):
            return name, f"{node[name]} is more than cache-size={node['cache-size']}"
    return None


def _of_quorum(node: Node) -> Complaint | None:
    count = len(cast("list[object]", node["children"]))
    threshold = cast("int", node["vote-threshold"])
    if not count:
        return "children", "there have to be some"
    if threshold > count:
        return "vote-threshold", f"{threshold} is more than the {count} children"
    if node.get("blkverify") and (count, threshold) != (2, 2):
        return "blkverify", "it needs two children and vote-threshold=2"
    return None


def _of_replication(node: Node) -> Complaint | None:
    if (node["mode"] == "secondary") != ("top-id" in node):
        return "top-id", "it is for the secondary, which needs it"
    return None


def _of_vvfat(node: Node) -> Complaint | None:
    if node.get("fat-type", 16) not in (12, 16, 32):
        return "fat-type", f"{node['fat-type']} is none of 12, 16, 32"
    if len(cast("str", node.get("label") or "").encode()) > 11:
        return "label", "it has more than 11 bytes"
    return None


_ANY = Limit()
_UINT32 = Limit(highest=(1 << 32) - 1)
_BELOW_INT32 = Limit(highest=(1 << 31) - 2)
_SECTORS = Limit(multiple_of=512)
_CURL = Driver({"readahead": _SECTORS, "timeout": _ANY})
# QEMU 7.2 and 10.0 die of a negative size.
_NULL = Driver({"size": _ANY, "latency-ns": _ANY})
_DRIVERS: Mapping[JsonValue, Driver] = {
    "blkdebug": Driver(
        {
            "align": Limit(highest=1 << 30, is_power_of_two=True),
            "max-transfer": _BELOW_INT32,
            "opt-write-zero": _BELOW_INT32,
            "max-write-zero": _BELOW_INT32,
            "opt-discard": _BELOW_INT32,
            "max-discard": _BELOW_INT32,
        },
        _of_blkdebug,
    ),
    "blklogwrites": Driver({"log-sector-size": Limit(1, 1 << 23, is_power_of_two=True)}),
    # QEMU 10.0 dies of a cluster of more than 2 GiB.
    "copy-before-write": Driver(
        {
            "cbw-timeout": _UINT32,
            "min-cluster-size": Limit(highest=1 << 31, is_power_of_two=True),
        }
    ),
    **dict.fromkeys(("ftp", "ftps", "http", "https"), _CURL),
    "nbd": Driver({"reconnect-delay": _UINT32, "open-timeout": _UINT32}, _of_nbd),
    **dict.fromkeys(("null-aio", "null-co"), _NULL),
    "preallocate": Driver({"prealloc-align": _SECTORS, "prealloc-size": _ANY}),
    "qcow2": Driver(
        {
            "cache-size": _ANY,
            "l2-cache-size": _ANY,
            "refcount-cache-size": _ANY,
            "l2-cache-entry-size": Limit(512, 1 << 21, is_power_of_two=True),
            "cache-clean-interval": _UINT32,
        },
        _of_qcow2,
    ),
    "quorum": Driver({"vote-threshold": Limit(1)}, _of_quorum),
    "raw": Driver({"offset": _ANY, "size": _SECTORS}),
    "replication": Driver({}, _of_replication),
    "vvfat": Driver({}, _of_vvfat),
}
