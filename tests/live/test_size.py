"""Sizes are to us what they are to qemu-img."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.size import to_bytes

on_the_tool = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ours(text: str) -> int | None:
    try:
        return to_bytes(text)
    except UsageError:
        return None


def theirs(text: str, folder: Path) -> int | None:
    """What qemu-img says that it creates; whether the file system can hold it does not count."""
    argv = ["qemu-img", "create", "-f", "raw", str(folder / "image"), text]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"^Formatting .* size=(\d+)$", done.stdout, re.M)
    assert found is not None or "Invalid image size" in done.stderr
    return None if found is None else int(found[1])


@pytest.mark.timeout(120)
@on_the_tool
# QEMU 7.2: a fraction that rounds up to 1 counts for nothing, so there are no more digits here.
@given(
    st.from_regex(r"[0-9]{1,20}(\.[0-9]{0,16})?[bkmgtpeqBKMGTPEQ]?", fullmatch=True)
    | st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,9})?[kmgtpKMGTP]", fullmatch=True)
    | st.from_regex(r"0[xX][0-9a-fA-F]{1,17}", fullmatch=True)
)
def test_what_looks_like_a_size_is_the_same_size_or_none_to_both(tmp_path: Path, text: str) -> None:
    assert ours(text) == theirs(text, tmp_path)


@pytest.mark.timeout(120)
@on_the_tool
@given(st.from_regex(r"[ +]?[0-9a-f_]{0,3}[.,x]?[0-9]{0,3} ?[xkKmbBeE]{0,2}[+i ]?", fullmatch=True))
def test_nothing_is_a_size_to_us_that_is_none_to_qemu(tmp_path: Path, text: str) -> None:
    size = ours(text)
    assert size is None or size == theirs(text, tmp_path)
