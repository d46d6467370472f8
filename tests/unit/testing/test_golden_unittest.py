"""Golden files in unittest: a process of its own for each test here."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing import WithGolden
from tests.live.helpers import ROOT

TEST = """
import unittest
from qemu_blocksdk.testing import WithGolden

class Common(WithGolden, unittest.TestCase):
    def test_a(self):
        self.golden.check("1\\n")
        with self.subTest("second"):
            self.golden.check("2\\n", name="second")

class Disk(Common):
    def test_b(self):
        self.golden.check("3\\n", fmt="qcow2")

if __name__ == "__main__":
    unittest.main()
"""


def session(
    folder: Path, *words: str, update: str = "", ci: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder, as a user does."""
    words = words or ("-m", "unittest", "test_disk")
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "UPDATE_GOLDEN": update, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def golden_files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.out")}


FILES = {
    **{f"test_disk.{cls}.test_a.out": "1\n" for cls in ("Common", "Disk")},
    **{f"test_disk.{cls}.test_a+second.out": "2\n" for cls in ("Common", "Disk")},
    "test_disk.Disk.test_b.out": "3\n",
}


@pytest.mark.parametrize("words", [("-m", "unittest", "test_disk"), ("test_disk.py",)])
def test_a_run_fails_without_files_updates_them_and_then_passes(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "test_disk.py").write_text(TEST)
    missing = session(tmp_path, *words)
    assert "FAILED (failures=" in missing.stderr
    assert "no golden file" in missing.stderr
    assert "UPDATE_GOLDEN=1, or pytest --blocksdk-update-golden, makes it" in missing.stderr
    assert golden_files(tmp_path) == {}

    assert session(tmp_path, *words, update="1").returncode == 0
    assert golden_files(tmp_path) == FILES
    assert session(tmp_path, *words).returncode == 0

    (tmp_path / "test_disk.Disk.test_b.out").write_text("0\n")
    different = session(tmp_path, *words)
    assert "FAILED (failures=1)" in different.stderr
    assert "--- golden\n+++ found\n@@ -1 +1 @@\n-0\n+3\n" in different.stderr


def test_ci_refuses_to_update(tmp_path: Path) -> None:
    (tmp_path / "test_disk.py").write_text(TEST)
    refused = session(tmp_path, update="1", ci="true")
    assert refused.returncode == 1
    assert "golden files are not updated where CI is set: unset UPDATE_GOLDEN" in refused.stderr
    assert golden_files(tmp_path) == {}


def test_a_mix_in_of_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"WithGolden is no unittest\.TestCase"):
        _ = WithGolden().golden


def test_a_test_without_a_file_is_an_error() -> None:
    class Homeless(WithGolden, unittest.TestCase):
        def test_a(self) -> None: ...

    Homeless.__module__ = "builtins"
    with pytest.raises(UsageError, match="is in no file"):
        _ = Homeless("test_a").golden
