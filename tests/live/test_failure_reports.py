"""docs/failure-reports.md shows what a failed test is told, as it comes out of real failures."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.live.helpers import ROOT

pytestmark = pytest.mark.timeout(60)

PAGE = (ROOT / "docs" / "failure-reports.md").read_text()
SHOWN = {
    name: block.splitlines()
    for name, block in re.findall(r"^## `(\w+)`$.*?^```text\n(.*?)^```$", PAGE, re.M | re.S)
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What pytest says of each of examples/failures, without what differs from run to run."""
    folder = tmp_path_factory.mktemp("failures")
    plugin = ("-p", "qemu_blocksdk.testing.pytest_plugin", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "--tb=short", str(ROOT / "examples/failures")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder),
        },
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    left = [path for path in folder.iterdir() if path.name.startswith("blocksdk-")]
    assert left == []
    _, *parts = re.split(r"^_{3,} (\w+) _{3,}$", done.stdout, flags=re.M)
    return {name: told(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def told(text: str) -> list[str]:
    for pattern, word in (
        (r"\(pid \d+\)", "(pid PID)"),
        (r"-{3,} (.*) -{3,}", r"--- \1"),
        (r"QEMU \d+\.\d+\.\d+", "QEMU VERSION"),
        (r"#block\d+", "#block"),
        (r"fd=\d+", "fd=FD"),
        (r"-accel \w+", "-accel ACCEL"),
        (re.escape(str(ROOT)) + "/", ""),
        (r"\.py:\d+:", ".py:LINE:"),
        # Whether QEMU confirms a dismissal before the report is written is chance.
        (r"concluded, null$", "concluded"),
    ):
        text = re.sub(pattern, word, text, flags=re.M)
    return text.splitlines()


def test_there_is_a_report_for_each_failure(reports: dict[str, list[str]]) -> None:
    assert set(SHOWN) == set(reports)
    assert len(SHOWN) == 5


@pytest.mark.parametrize("name", SHOWN)
def test_a_failure_is_told_as_the_page_shows_it(name: str, reports: dict[str, list[str]]) -> None:
    found = iter(reports[name])
    for line in SHOWN[name]:
        if line.strip() != "...":
            # `in` goes on from the line that was found before.
            assert line in found, f"{line!r} is not in:\n" + "\n".join(reports[name])


def test_a_report_is_short(reports: dict[str, list[str]]) -> None:
    assert max(map(len, reports.values())) < 100
