"""The examples run, verify what they did, and leave nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.live.helpers import ROOT

pytestmark = pytest.mark.timeout(120)

# The demonstration, the copy and the suite have tests of their own.
EXAMPLES = sorted(
    path.stem
    for path in (ROOT / "examples").glob("*.py")
    if path.stem not in ("convert", "incremental_backup", "unittest_suite")
)


def test_there_are_examples() -> None:
    assert [
        *("backup_disks", "live_disk", "mirror_graph", "over_qmpclient"),
        *("point_in_time", "storage_migration"),
    ] == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_verifies_what_it_did(name: str) -> None:
    # Not tmp_path, whose name leaves no room for that of a socket.
    folder = Path(tempfile.mkdtemp())
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(ROOT / "examples" / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # asyncio's debug mode also tells what took 0.1 s, which is the machine's business.
    assert [line for line in done.stderr.splitlines() if not line.startswith("Executing <")] == []
    assert "erified" in done.stdout
    folder.rmdir()  # nothing is left in it


def topology(picture: Path) -> Counter[str]:
    """The nodes and edges of an SVG: Graphviz gives each a title (some give the graph one, too)."""
    svg = "{http://www.w3.org/2000/svg}"
    groups = ElementTree.parse(picture).iter(f"{svg}g")
    found = [each for each in groups if each.get("class") in ("node", "edge")]
    return Counter(each.findtext(f"{svg}title", "") for each in found)


@pytest.mark.skipif(shutil.which("dot") is None, reason="no program 'dot'")
def test_the_pictures_of_the_guide_are_what_the_example_draws(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "examples" / "mirror_graph.py"), str(tmp_path)],
        capture_output=True,
        timeout=60,
        check=True,
    )
    drawn = {path.name: topology(path) for path in tmp_path.glob("*.svg")}
    shown = {path.name: topology(path) for path in (ROOT / "docs" / "graph").iterdir()}
    assert drawn == shown
    assert shown["during.svg"]["job 'mirror'->node 'copy'"] == 1
    assert set(re.findall(r"\(graph/(.*)\)", (ROOT / "docs" / "graph.md").read_text())) == set(
        shown
    )
