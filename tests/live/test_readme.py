"""What the README and the guides show runs as it stands there, and type-checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers import ROOT, MakeImage

PAGES = {
    "README.md": 4,
    "docs/blockdev.md": 7,
    "docs/golden.md": 4,
    "docs/faults.md": 3,
    "docs/filters.md": 1,
    "docs/graph.md": 4,
    "docs/images.md": 9,
    "docs/live.md": 8,
    "docs/pytest.md": 1,
    "docs/replay.md": 3,
    "docs/unittest.md": 2,
}
BLOCKS = {
    f"{page}-{number}": block
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    )
}


def test_there_is_something_to_see() -> None:
    assert len(BLOCKS) == sum(PAGES.values())


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_runs(name: str, tmp_path: Path, make_image: MakeImage) -> None:
    make_image("disk.qcow2")
    if name.startswith("README"):
        make_image("copy.qcow2")
    for raw in ("disk.raw", "upload"):
        make_image(raw, size="2M", fmt="raw", write="-P 7 0 2M")
    script = tmp_path / "script.py"
    script.write_text(BLOCKS[name])
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr.endswith("OK\n")  # where unittest reports
    # What pytest says of a test that could not begin: without the plugin, say.
    assert "ERROR" not in done.stdout, done.stdout


@pytest.mark.timeout(180)
def test_all_blocks_are_strictly_typed(tmp_path: Path) -> None:
    scripts = [tmp_path / f"block{number}.py" for number in range(len(BLOCKS))]
    for script, block in zip(scripts, BLOCKS.values(), strict=True):
        script.write_text(block)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "mypy.ini")]
    done = subprocess.run(
        [*command, *map(str, scripts)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout
