"""The examples run, verify what they did, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers import ROOT

pytestmark = pytest.mark.timeout(120)

# The demonstration and the copy have tests of their own.
EXAMPLES = sorted(
    path.stem
    for path in (ROOT / "examples").glob("*.py")
    if path.stem not in ("convert", "incremental_backup")
)


def test_there_are_examples() -> None:
    assert EXAMPLES == ["backup_disks", "live_disk", "point_in_time", "storage_migration"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_verifies_what_it_did(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(ROOT / "examples" / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "erified" in done.stdout
    assert list(tmp_path.iterdir()) == []
