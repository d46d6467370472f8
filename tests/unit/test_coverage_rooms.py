"""The figures of coverage by folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.coverage_rooms import main


def _file(lines: int, covered: int, branches: int = 0, taken: int = 0) -> dict[str, object]:
    return {
        "summary": {
            "num_statements": lines,
            "covered_lines": covered,
            "num_branches": branches,
            "covered_branches": taken,
            "percent_covered_display": "1",
        }
    }


def test_a_folder_is_the_sum_of_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "qemu_blocksdk/errors.py": _file(2, 2),
        "/somewhere/qemu_blocksdk/qmp/a.py": _file(10, 10, 6, 5),
        "qemu_blocksdk/qmp/b/c.py": _file(4, 2),
        "qemu_blocksdk/empty/__init__.py": _file(0, 0),
    }
    report = tmp_path / "report"
    report.write_text(json.dumps({"files": files}))
    assert main(str(report), "85") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["100.0 % of .", " 85.0 % of qmp"]
    assert main(str(report), "85.1") == 1
    assert capsys.readouterr().err == "less than 85.1 %: qmp\n"
