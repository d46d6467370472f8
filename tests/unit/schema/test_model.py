"""What a QEMU has, by its path: commands, members, branches, values."""

from __future__ import annotations

import pytest

from qemu_blocksdk.schema import snapshots


@pytest.mark.parametrize(
    "path",
    [
        "blockdev-add",
        "blockdev-backup.sync",
        "blockdev-backup.sync.bitmap",  # a value of an enum
        "blockdev-add.qcow2",  # a branch of a union
        "blockdev-add.lazy-refcounts",  # a member of some branch
        "blockdev-add.qcow2.lazy-refcounts",
        "blockdev-add.file.locking",  # `file` is a member, of several types, and a branch
        "blockdev-add.file.file.file.locking",
        "transaction.actions.block-dirty-bitmap-add.data.granularity",  # in a list
        "query-block.inserted.node-name",  # of the reply
        "query-block",
    ],
)
def test_what_is_there_is_found(path: str) -> None:
    assert snapshots.load("system-7.2").has(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "blockdev-ad",
        "BLOCK_JOB_READY",  # an event
        "blockdev-backup.",
        "blockdev-backup..sync",
        "blockdev-backup.sync.bitmap.x",
        "blockdev-backup.sync.sometimes",
        "blockdev-backup.job-id.x",
        "blockdev-add.vdi.lazy-refcounts",
        "sync",
    ],
)
def test_what_is_not_there_is_not(path: str) -> None:
    assert not snapshots.load("system-7.2").has(path)


@pytest.mark.parametrize(
    "path", ["blockdev-backup.discard-source", "blockdev-add.qcow2.discard-no-unref"]
)
def test_versions_are_told_apart(path: str) -> None:
    has = {name: snapshots.load(name).has(path) for name in ("system-7.2", "system-10.0")}
    assert has == {"system-7.2": False, "system-10.0": True}
