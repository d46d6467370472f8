"""Which snapshots have what."""

from __future__ import annotations

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import (
    JobInfo,
    JobStatusChange,
    Nbd,
    Qcow2,
    RbdEncryptionOptionsLuksAny,
    available_in,
)

NEWER = ("storage-daemon-10.0", "system-10.0", "storage-daemon-11.1", "system-11.1")
EVERYWHERE = ("storage-daemon-7.2", "system-7.2", *NEWER)


def test_what_every_snapshot_has_is_everywhere() -> None:
    assert available_in(JobInfo) == EVERYWHERE
    assert available_in(JobStatusChange, "status") == EVERYWHERE
    assert available_in("JobStatus", "ready") == EVERYWHERE


def test_a_newer_member_tells_where_it_is() -> None:
    assert available_in(Qcow2, "discard_no_unref") == NEWER


def test_a_member_is_nowhere_where_its_class_is_not() -> None:
    assert available_in("DeviceAdd") == ("system-7.2", "system-10.0", "system-11.1")
    assert available_in("DeviceAdd", "driver") == ("system-7.2", "system-10.0", "system-11.1")


def test_a_branch_of_a_union_is_asked_for_by_its_class() -> None:
    assert available_in(Nbd) == EVERYWHERE
    assert available_in(RbdEncryptionOptionsLuksAny) == NEWER
    assert available_in(RbdEncryptionOptionsLuksAny, "format") == NEWER


@pytest.mark.parametrize(
    "name",
    [
        ("Qcow2", "discard_no_unre"),
        ("JobStatus", "redy"),
        ("BlockdevOptions", "nbd"),
        ("NoSuchType", None),
        ("available_in", None),
        ("SNAPSHOTS", None),
    ],
)
def test_what_nobody_has_is_an_error(name: tuple[str, str | None]) -> None:
    with pytest.raises(UsageError, match=f"wire has no {name[0]}"):
        available_in(*name)
