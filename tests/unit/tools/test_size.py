"""Sizes as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.size import MAX_SIZE, to_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("010", 10),
        ("5b", 5),
        ("512k", 512 << 10),
        ("64M", 64 << 20),
        ("1.5G", 3 << 29),
        ("10T", 10 << 40),
        ("8191P", 8191 << 50),
        ("1E", 1 << 60),
        ("1e", 1 << 60),
        ("1.", 1),
        ("1.0", 1),
        ("1.1k", 1126),
        ("1.9999k", 2048),
        ("0.1E", 115292150460684704),
        ("0x10", 16),
        ("0x1E", 30),
        ("9223372036854775807", MAX_SIZE),
    ],
)
def test_text_is_bytes_by_the_power_of_1024_that_its_letter_says(text: str, size: int) -> None:
    assert to_bytes(text) == size


@given(st.integers(0, MAX_SIZE))
def test_a_number_is_that_number_of_bytes_as_number_and_as_text(size: int) -> None:
    assert to_bytes(size) == to_bytes(str(size)) == to_bytes(hex(size)) == size


@pytest.mark.parametrize(
    "text",
    [
        *("", " 1", "1 ", "1\n", "+1", "-1", "k", ".5k", "1.5", "1.5b", "10Q", "1KB", "1kk"),
        *("1_000", "1e3", "nan", "inf", "0x", "0x10k", "1\u212a", "١", "9" * 5000),
    ],
)
def test_text_that_is_no_size_to_every_qemu_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        to_bytes(text)


@pytest.mark.parametrize("size", [-1, "8E", MAX_SIZE + 1, str(MAX_SIZE + 1), "99999999999999999T"])
def test_a_size_that_qemu_cannot_count_is_refused(size: int | str) -> None:
    with pytest.raises(UsageError, match="is not from 0 to 9223372036854775807 bytes"):
        to_bytes(size)


@pytest.mark.parametrize("size", [True, False, 1.0, None, b"1M"])
def test_what_is_neither_number_nor_text_is_refused(size: object) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        to_bytes(size)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose
