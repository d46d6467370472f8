"""The tree of errors: one sentence each, and errors travel."""

from __future__ import annotations

import copy
import pickle

import pytest

from qemu_blocksdk import errors
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    GraphError,
    JobCancelled,
    JobFailed,
    JobStopped,
    LaunchError,
    MalformedReply,
    MigrationCancelled,
    MigrationFailed,
    OperationCancelled,
    SandboxUnavailable,
    StateError,
    ToolError,
    TransactionFailed,
    UnplugRefused,
    Unsupported,
    UsageError,
)

_REFUSAL = CommandError("GenericError", "no", command="stop", arguments={"a": 1})

ONE_OF_EACH: list[BlockSdkError] = [
    BlockSdkError("something"),
    _REFUSAL,
    TransactionFailed(_REFUSAL, [1], "action 1, blockdev-backup"),
    Unsupported("command 'x'", available_in=["system-10.0"]),
    SandboxUnavailable("Landlock"),
    ConnectionLost("gone", exit_status=-9, output="a\nb"),
    LaunchError("cannot", argv=["qemu", "-x"], exit_status=1, output="bad"),
    ToolError(["/usr/bin/qemu-img", "info"], exit_status=1, output="bad"),
    MalformedReply("query-block[0].inserted", expected="an object", found="null"),
    JobFailed("job0", error="No space left on device"),
    JobCancelled("job0"),
    TransactionFailed(
        CommandError("GenericError", "no 'b'", command="transaction", arguments={}),
        [1],
        "action 1: block-dirty-bitmap-clear",
    ),
    JobStopped("job0", operation="write"),
    StateError("job 'a': completed", verb="pause"),
    MigrationFailed(error="Broken pipe"),
    MigrationCancelled(),
    OperationCancelled("the copy of 'a' to 'b'"),
    UnplugRefused("disk0"),
    GraphError("node 'a'", found="no nodes", path="/backing"),
    DeadlineExceeded("the reply", seconds=2.5),
    UsageError("no"),
]


def test_there_is_one_of_each() -> None:
    assert {type(error).__name__ for error in ONE_OF_EACH} == set(errors.__all__)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_an_error_survives_copying_and_pickling(error: BlockSdkError) -> None:
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line(error: BlockSdkError) -> None:
    assert str(error)
    assert "\n" not in str(error)


def test_an_error_begins_with_the_object_that_it_is_about() -> None:
    error = ConnectionLost("gone")
    error.subject = "node 'a': blockdev-del"
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert str(each) == "node 'a': blockdev-del: gone"


def test_the_complaint_is_quoted_and_not_the_hint_after_it() -> None:
    output = "qemu-img: Invalid image size specified\nTry 'qemu-img --help' for more information\n"
    error = ToolError(["qemu-img", "create"], exit_status=1, output=output)
    assert str(error) == "qemu-img failed (exit status 1): qemu-img: Invalid image size specified"


@pytest.mark.parametrize("place", ["", "-drive driver=x,backing=: "])
def test_a_warning_before_the_complaint_is_not_quoted(place: str) -> None:
    output = f"qemu-io: {place}warning: 'x' is deprecated\nqemu-io: Cannot change the option 'x'\n"
    error = ToolError(["qemu-io"], exit_status=1, output=output)
    assert str(error) == "qemu-io failed (exit status 1): qemu-io: Cannot change the option 'x'"


def test_without_a_complaint_the_last_line_is_quoted() -> None:
    error = ConnectionLost("gone", exit_status=-6, output="one\ntwo\n\n")
    assert str(error) == "gone (killed by signal 6): two"


def test_an_error_holds_no_secret_whoever_raises_it() -> None:
    error = UsageError("{'password': 'hunter2'} is no command")
    error.subject = "image 'https://user:hunter2@host/disk'"
    assert "hunter2" not in f"{error}{error!r}{error.args}{vars(error)}"
    late = DeadlineExceeded("qemu-io, asked to 'open -o password=hunter2'", seconds=1)
    assert "hunter2" not in f"{late}{late!r}{vars(late)}"
    words = ["qemu-img", "--object", "secret,id=s,data=hunter2"]
    failed = ToolError(words, exit_status=1, output="qemu-img: secret,id=s,data=hunter2: no")
    assert "hunter2" not in f"{failed}{failed!r}{vars(failed)}"
