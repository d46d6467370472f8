"""Which snapshots have what."""

from __future__ import annotations

import pytest

from qemu_blocksdk.codec import available_in
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import JobInfo, JobStatusChange, Qcow2

EVERYWHERE = ("storage-daemon-7.2", "system-7.2", "storage-daemon-10.0", "system-10.0")


def test_what_every_snapshot_has_is_everywhere() -> None:
    assert available_in(JobInfo) == EVERYWHERE
    assert available_in(JobStatusChange, "status") == EVERYWHERE
    assert available_in("JobStatus", "ready") == EVERYWHERE


def test_a_newer_member_tells_where_it_is() -> None:
    assert available_in(Qcow2, "discard_no_unref") == ("storage-daemon-10.0", "system-10.0")


def test_a_member_is_nowhere_where_its_class_is_not() -> None:
    assert available_in("DeviceAdd") == ("system-7.2", "system-10.0")
    assert available_in("DeviceAdd", "driver") == ("system-7.2", "system-10.0")


@pytest.mark.parametrize(
    "name", [("Qcow2", "discard_no_unre"), ("JobStatus", "redy"), ("NoSuchType", None)]
)
def test_what_nobody_has_is_an_error(name: tuple[str, str | None]) -> None:
    with pytest.raises(UsageError):
        available_in(*name)
