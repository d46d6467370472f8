"""What the tools print is read, or is an error of the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.tools import TEXTS, fuzz_printed


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_printed_is_read(name: str) -> None:
    text, understand = TEXTS[name]
    assert understand(text)


@pytest.mark.timeout(60)
def test_a_short_fuzz_finds_nothing(tmp_path: Path) -> None:
    assert fuzz_printed(tmp_path, seconds=1.0, seed=1) > 0
