"""Each public name of a live object is used in a live test; what it does there, the test says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import qemu_blocksdk

LIVE = (
    *("VM", "StorageDaemon", "Node", "Job", "Bitmap", "Transaction", "Device", "Migration"),
    *("Export", "UriExport", "FileExport", "ExportServer", "ThrottleGroup", "IoThread"),
    *("Backup", "Disk", "PointInTime", "StorageMigration"),
)
_TESTS = "\n".join(
    path.read_text() for path in (Path(__file__).parents[1] / "live").glob("test_*.py")
)
_USED = set(re.findall(r"\.(\w+)\b", _TESTS))


@pytest.mark.parametrize("name", LIVE)
def test_every_public_name_is_used_in_a_live_test(name: str) -> None:
    cls: type = getattr(qemu_blocksdk, name)
    public = {member for member in dir(cls) if not member.startswith("_")}
    assert public - _USED == set()
