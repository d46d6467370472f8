"""What QEMU takes for a member that is absent, as its manual has it; the same in every QEMU.

Here live the tables alone, under the dotted names of the wire. What depends on the image, the
machine or another member (the size of qcow2's caches) is no default and not in here. A live
test holds the tables against the manual and against QEMU.
"""

from __future__ import annotations

from collections.abc import Mapping

from qemu_blocksdk.codec import JsonValue

_Defaults = Mapping[str, JsonValue]

COMMON: _Defaults = {
    "active": True,
    "auto-read-only": False,
    "cache.direct": False,
    "cache.no-flush": False,
    "detect-zeroes": "off",
    "discard": "ignore",
    "force-share": False,
    "read-only": False,
}

_FILE: _Defaults = {
    "aio": "threads",
    "aio-max-batch": 0,
    "drop-cache": True,
    "locking": "auto",
    "x-check-cache-dropped": False,
}
_CURL: _Defaults = {"readahead": 256 << 10, "timeout": 5}
_CURL_TLS: _Defaults = {**_CURL, "sslverify": True}
_NULL: _Defaults = {"size": 1 << 30, "latency-ns": 0, "read-zeroes": False}

OF_DRIVER: Mapping[str, _Defaults] = {
    "blkdebug": {
        "align": 0,
        "inject-error.delay-ns": 0,
        "inject-error.errno": 5,
        "inject-error.immediately": False,
        "inject-error.once": False,
        "max-discard": 0,
        "max-transfer": 0,
        "max-write-zero": 0,
        "opt-discard": 0,
        "opt-write-zero": 0,
    },
    "blklogwrites": {
        "log-append": False,
        "log-sector-size": 512,
        "log-super-update-interval": 4096,
    },
    "copy-before-write": {
        "cbw-timeout": 0,
        "min-cluster-size": 0,
        "on-cbw-error": "break-guest-write",
    },
    "file": _FILE,
    "ftp": _CURL,
    "ftps": _CURL_TLS,
    "gluster": {"debug": 4, "logfile": "/dev/stderr"},
    "host_cdrom": _FILE,
    "host_device": _FILE,
    "http": {**_CURL, "force-range": False},
    "https": {**_CURL_TLS, "force-range": False},
    "iscsi": {"header-digest": "none-crc32c", "lun": 0, "timeout": 0},
    "nbd": {"open-timeout": 0, "reconnect-delay": 0},
    "null-aio": _NULL,
    "null-co": _NULL,
    "preallocate": {"prealloc-align": 1 << 20, "prealloc-size": 128 << 20},
    "qcow2": {
        "cache-clean-interval": 600,
        "overlap-check": "cached",
        "overlap-check.template": "cached",
        "pass-discard-other": False,
        "pass-discard-snapshot": True,
    },
    "quorum": {"blkverify": False, "read-pattern": "quorum"},
    "ssh": {"host-key-check.mode": "known_hosts"},
    "vvfat": {"floppy": False, "label": "QEMU VVFAT", "rw": False},
}
