"""qemu-io's language: which lines go to it, and what its answers mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.qemu_io import (
    IoExtent,
    IoFailure,
    IoResult,
    Request,
    checked,
    line,
    request,
)
from qemu_blocksdk.tools.qemu_io_answers import (
    allocation,
    at_least,
    dumped,
    extents,
    image_info,
    is_complaint,
    report,
    without_asides,
)

CSV = "512,1,0:00:00.00,652333174.072,9953.814\n"


def dump(data: bytes, offset: int) -> str:
    """A hex dump as qemu-io prints it: letters and digits of ASCII are shown, the rest is dots."""
    lines: list[str] = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        shown = "".join(chr(c) if chr(c).isascii() and chr(c).isalnum() else "." for c in row)
        lines.append(f"{offset + start:08x}:  {''.join(f'{c:02x} ' for c in row)} {shown}\n")
    return "".join(lines)


@given(data=st.binary(max_size=200), offset=st.integers(0, 1 << 34) | st.just((1 << 32) - 24))
def test_a_hex_dump_is_the_bytes_that_were_dumped(data: bytes, offset: int) -> None:
    assert dumped(dump(data, offset) + CSV, request("read", offset, len(data))) == data


def test_a_dump_without_a_report_is_a_failure() -> None:
    assert dumped("read failed: Input/output error\n", request("read", 0, 16)) is None


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("read failed: Input/output error\n", True),
        ('command "failed" not found\n', True),
        ("bad argument count 1 to read, expected at least 2 arguments\n", True),
        ("300 is not a valid pattern byte\n", True),
        ("-n requires -z to be specified\n", True),
        (CSV, False),
        ("", False),
        (dump(b"sleeping failed.", 1 << 33) + CSV, False),
        ("00000000:  66 61 69 6c 65 64 20 20 20 20 20 20 20 20 20 20  failed\n", False),
    ],
)
def test_a_complaint_is_told_from_what_was_asked_for(text: str, fails: bool) -> None:
    assert is_complaint(text) is fails


@pytest.mark.parametrize("words", ["wrote", "read"])
def test_what_requests_say_in_between_is_not_the_commands_answer(words: str) -> None:
    aside = (
        f"{words} 512/512 bytes at offset 1024\n"
        "512 bytes, 1 ops; 00.01 sec (97.656 KiB/sec and 195.3125 ops/sec)\n"
    )
    text, ended = without_asides(f"{aside}64 MiB\n", [], age=1.0)
    assert text == "64 MiB\n"
    assert ended == [
        IoResult(
            operation="write" if words == "wrote" else "read",
            offset=1024,
            bytes_done=512,
            bytes_asked=512,
            operations=1,
            elapsed=1 / 195.3125,
        )
    ]


def test_an_asynchronous_failure_is_told_with_its_error() -> None:
    text, ended = without_asides("aio_write failed: No space left on device\n", [], age=1.0)
    assert (text, ended) == ("", [IoFailure(operation="write", error="No space left on device")])


def test_a_pattern_belongs_to_the_request_that_looked_for_it() -> None:
    under_way = [request("aio_read", 0, 512), request("aio_read", 512, 512, P=7)]
    rest = "512 bytes, 1 ops; 00.01 sec (97.656 KiB/sec and 195.3125 ops/sec)\n"
    printed = "".join(f"read 512/512 bytes at offset {offset}\n{rest}" for offset in (512, 0))
    _, ended = without_asides(printed, under_way, age=1.0)
    found = [e.pattern_matches for e in ended if isinstance(e, IoResult)]
    assert found == [True, None]
    assert under_way == []


def test_a_time_before_the_tool_was_started_is_not_told() -> None:
    printed = (
        "wrote 32/32 bytes at offset 0\n"
        "32 bytes, 1 ops; 3:39:09.37 (0.002434 bytes/sec and 0.0001 ops/sec)\n"
    )
    _, (ended,) = without_asides(printed, [], age=100.0)
    assert isinstance(ended, IoResult)
    assert ended.elapsed is None


@pytest.mark.parametrize(
    ("printed", "elapsed"),
    [
        ("512,1,0:00:00.00,1,2000.000\n", 0.0005),
        ("512,1,0:00:02.50,1,0.400\n", 2.5),
        ("512,1,1:00:02.50,1,0.000\n", 3602.5),
    ],
)
def test_a_fast_request_is_timed_by_its_rate(printed: str, elapsed: float) -> None:
    result = report(printed, request("write", 0, 512))
    assert result is not None
    assert result.elapsed == elapsed


def test_a_mismatch_is_told_and_is_no_failure() -> None:
    printed = f"Pattern verification failed at offset 0, 512 bytes\n{CSV}"
    result = report(printed, request("read", 0, 512, P=7))
    assert result is not None
    assert result.pattern_matches is False


def test_a_map_is_told_in_exact_bytes() -> None:
    printed = (
        "192 KiB (0x30000) bytes     allocated at offset 0 bytes (0x0)\n"
        "63.812 MiB (0x3fd0001) bytes not allocated at offset 192 KiB (0x30000)\n"
    )
    assert extents(printed) == (
        IoExtent(offset=0, length=0x30000, allocated=True),
        IoExtent(offset=0x30000, length=0x3FD0001, allocated=False),
    )
    assert extents("") == ()
    assert extents(printed + "Failed\n") is None


def test_an_allocation_has_both_numbers() -> None:
    assert allocation("512/1024 bytes allocated at offset 64 KiB\n") == (512, 1024)
    assert allocation("is_allocated failed: Input/output error\n") is None


@given(st.integers(0, 1 << 62))
def test_a_rounded_length_gives_a_bound_that_is_near(length: int) -> None:
    unit = max(n for n in range(7) if n == 0 or length >= 1 << 10 * n)
    name = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit]
    printed = f"{length / (1 << 10 * unit):.3f}".removesuffix(".000")
    bound = at_least(f"{printed} {name}\n")
    assert bound is not None
    assert length - (2 << 10 * unit) // 1000 - 1 <= bound <= length


def test_info_tells_format_and_cluster_size() -> None:
    printed = "format name: qcow2\ncluster size: 64 KiB\nvm state offset: 512 MiB\n"
    info = image_info(printed)
    assert info is not None
    assert (info.format, info.cluster_size, info.text) == ("qcow2", 65536, printed)
    raw = image_info("format name: raw\ncluster size: 0 bytes\n")
    assert raw is not None
    assert raw.cluster_size is None
    assert image_info("nothing\n") is None


def test_options_come_before_what_is_asked_for() -> None:
    assert request("read", 0, 512, P=7, b=False, s=None).line == "read -C -P 7 0 512"
    assert request("aio_write", 0, 512, 1024, z=True) == Request(
        line="aio_write -z 0 512 1024",
        operation="write",
        offset=0,
        bytes_asked=1536,
        has_pattern=False,
    )


@pytest.mark.parametrize("numbers", [(-1, 512), (0, -1), (1 << 63, 512), (0, 1 << 63), (0,)])
def test_what_is_nowhere_is_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        request("read", *numbers)


@pytest.mark.parametrize("pattern", [-1, 256])
def test_a_pattern_is_a_byte(pattern: int) -> None:
    with pytest.raises(UsageError, match="0 to 255"):
        request("write", 0, 512, P=pattern)


@pytest.mark.parametrize("word", ["", "a b", "a\nb", "a\0b", "a" * 1023])
def test_a_word_that_would_be_more_than_one_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        line("write", "0", "512", s=word)


@pytest.mark.parametrize("text", ["", "  ", "q", "quit", " quit ", "a\nb", "a\0", "x" * 1023])
def test_a_line_that_is_no_single_command_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        checked(text)
