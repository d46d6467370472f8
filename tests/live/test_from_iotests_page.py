"""The page that maps iotests to typed objects: its code is right, and so are its two tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers import ROOT

PAGE = (ROOT / "docs" / "from-iotests.md").read_text()
BEFORE, AFTER, PREAMBLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LINES = [
    line
    for right in re.findall(r"^\| `.+? \| (.+) \|$", PAGE, re.MULTILINE)
    for line in re.findall(r"`([^`]+)`", right)
]


@pytest.mark.timeout(180)
def test_all_of_its_typed_code_is_strictly_typed(tmp_path: Path) -> None:
    assert len(LINES) > 200
    after, lines = tmp_path / "after.py", tmp_path / "lines.py"
    after.write_text(AFTER)
    # Each line in a function of its own: those that never return would hide the rest.
    functions = (f"def line{number}() -> None:\n    {line}\n" for number, line in enumerate(LINES))
    lines.write_text(PREAMBLE + "".join(functions))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "mypy.ini")]
    done = subprocess.run(
        [*command, str(after), str(lines)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout


def test_its_test_passes_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "before").write_text(BEFORE)
    rule = "-" * 70
    (tmp_path / "before.out").write_text(f".\n{rule}\nRan 1 tests\n\nOK\n")
    (tmp_path / "after.py").write_text(AFTER)
    iotests = ["qemu_blocksdk.iotests", "run", "--fmt", "qcow2", "before"]
    for words in (iotests, ["unittest", "after"]):
        done = subprocess.run(
            [sys.executable, "-m", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
