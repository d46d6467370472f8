"""Nothing that comes from others steers a terminal."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk import errors
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    GraphError,
    JobFailed,
    LaunchError,
    MalformedReply,
    MigrationFailed,
    OperationCancelled,
    SandboxUnavailable,
    StateError,
    ToolError,
    Unsupported,
)
from qemu_blocksdk.terminal import escaped

BAD = "\x1b[31m\x07\r\x7f\x9b2J\u202e\u2066\u200f\u2028\udc9b"
ERRORS = [
    CommandError("GenericError", BAD, command=BAD, arguments={"a": BAD}),
    ConnectionLost(BAD, output=BAD),
    LaunchError(BAD, argv=(BAD,), exit_status=1, output=BAD),
    ToolError((f"/bin/{BAD}", BAD), exit_status=1, output=f"qemu-img: one {BAD}\n  two\n"),
    JobFailed(BAD, error=BAD),
    MigrationFailed(error=BAD),
    GraphError(BAD, found=BAD, path=BAD),
    StateError(BAD, verb=BAD),
    Unsupported(BAD, available_in=(BAD,)),
    SandboxUnavailable(BAD),
    OperationCancelled(BAD),
    MalformedReply(BAD, expected=BAD, found=BAD),
    BlockSdkError(BAD),
]


def is_safe(text: str) -> bool:
    """Whether a terminal shows a text as it is."""
    return all(c.isprintable() or c in "\n\t" for c in text)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_error_steers_the_terminal(error: BlockSdkError) -> None:
    error.subject = f"node {BAD}"
    for each in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert is_safe(str(each))
        assert is_safe(repr(each))
        assert "\\x1b[31m" in str(each)


def test_each_error_that_has_texts_is_among_them() -> None:
    without = {"DeadlineExceeded", "UsageError", "TransactionFailed", "UnplugRefused"}
    without |= {"JobCancelled", "JobStopped", "MigrationCancelled"}  # an id alone, in quotes
    assert {type(error).__name__ for error in ERRORS} | without == set(errors.__all__)


def test_what_a_tool_said_keeps_its_lines() -> None:
    error = ToolError(("qemu-img",), exit_status=1, output="one \x1b[1m\n\ttwo\n")
    assert error.output == "one \\x1b[1m\n\ttwo\n"


@given(st.text(st.characters()))
def test_an_escaped_text_is_safe_and_stays_as_it_is(text: str) -> None:
    assert is_safe(escaped(text))
    assert escaped(escaped(text)) == escaped(text)
    assert escaped(text, keep="").isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\r\nb", "a\\r\nb"),
        ("\x9b", r"\x9b"),
        ("\u202e", r"\u202e"),
        (b"\xff\x9b".decode(errors="surrogateescape"), r"\xff\x9b"),
        ("äöü 漢字 \N{PILE OF POO}", "äöü 漢字 \N{PILE OF POO}"),
        ("\x00", r"\x00"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_a_character_shows_as_python_writes_it(text: str, shown: str) -> None:
    assert escaped(text) == shown
