"""How a script ended is told from what it left, however much that is."""

from __future__ import annotations

import os
from pathlib import Path

from qemu_blocksdk.iotests.outcome import judged


def test_output_that_does_not_fit_into_the_memory_is_told_by_its_beginning(tmp_path: Path) -> None:
    script, output = tmp_path / "001", tmp_path / "output"
    (tmp_path / "001.out").write_text("text\n")
    output.write_text("text\nmore\n")
    os.truncate(output, 1 << 40)
    verdict = judged(script, "raw", status=0, timeout=1, output=output, output_dir=tmp_path)
    assert verdict.what == "its output is not that of 001.out"
    assert "\n text\n+more\n" in verdict.report
