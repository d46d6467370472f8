"""What the README shows runs as it stands there, and type-checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers import ROOT, MakeImage

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_there_is_something_to_see() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_readme_runs(number: int, tmp_path: Path, make_image: MakeImage) -> None:
    make_image("disk.qcow2")
    make_image("copy.qcow2")
    script = tmp_path / "script.py"
    script.write_text(BLOCKS[number])
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.timeout(180)
def test_the_readme_is_strictly_typed(tmp_path: Path) -> None:
    scripts = [tmp_path / f"block{number}.py" for number in range(len(BLOCKS))]
    for script, block in zip(scripts, BLOCKS, strict=True):
        script.write_text(block)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "mypy.ini")]
    done = subprocess.run(
        [*command, *map(str, scripts)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout
