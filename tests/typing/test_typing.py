"""Types are tested: samples that must pass, and samples in which exactly the marked lines fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PASSING = sorted((HERE / "pass").glob("*.py"))
FAILING = sorted((HERE / "fail").glob("*.py"))


def options_of(path: Path) -> list[str]:
    """The Python version that a sample is for, if it names one."""
    version = re.search(r"^# python_version=(.*)$", path.read_text(), re.M)
    return ["--python-version", version[1]] if version else []


def complaints(path: Path) -> dict[int, str]:
    """What mypy --strict says of a file, by line; lines of other files do not count."""
    command = [
        *(sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "mypy.ini")),
        *("--enable-error-code", "deprecated", "--no-pretty", "--hide-error-context"),
        *options_of(path),
        str(path),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.stderr == ""
    found = re.findall(rf"^{path.relative_to(ROOT)}:(\d+): error: (.*)$", run.stdout, re.M)
    messages: dict[int, str] = {}
    for line, message in found:
        messages[int(line)] = f"{messages.get(int(line), '')}{message}\n"
    return messages


@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", PASSING, ids=lambda path: path.stem)
def test_a_right_program_is_not_complained_about(path: Path) -> None:
    assert complaints(path) == {}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", FAILING, ids=lambda path: path.stem)
def test_exactly_the_wrong_lines_are_red_with_the_message_they_name(path: Path) -> None:
    lines = path.read_text().splitlines()
    expected = {
        number: line.partition("# error: ")[2]
        for number, line in enumerate(lines, 1)
        if "# error: " in line
    }
    found = complaints(path)
    assert found.keys() == expected.keys()
    for number, message in expected.items():
        assert message in found[number]
