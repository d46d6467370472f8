"""iotests' assertions over a machine that answers what the test says, as events come.

What real jobs make of them is in ``tests/live/test_case.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import DeadlineExceeded, UsageError
from qemu_blocksdk.testing.assertions import Machine, QmpAssertions
from qemu_blocksdk.testing.event_queue import Wait, Wanted

Batch = Sequence[JsonObject]


def job_event(name: str, device: str = "drive0", **data: JsonValue) -> JsonObject:
    """An event of a block job."""
    return {"event": name, "data": {"device": device, "type": "mirror", **data}}


def status(word: str, job: str = "drive0") -> JsonObject:
    """A change of a job's status."""
    return {"event": "JOB_STATUS_CHANGE", "data": {"id": job, "status": word}}


COMPLETED = job_event("BLOCK_JOB_COMPLETED", len=8, offset=8)
READY = job_event("BLOCK_JOB_READY", len=8, offset=8)
CANCELLED = job_event("BLOCK_JOB_CANCELLED", len=8, offset=0)


class FakeMachine:
    """Answers commands from a table, and hands out events in the batches in which they come."""

    def __init__(self, *batches: Batch, **replies: JsonValue) -> None:
        self.batches = list(batches)
        self.replies: Mapping[str, JsonValue] = {"query-block-jobs": [], **replies}
        self.done: list[str] = []

    def qmp(self, cmd: str, conv_keys: bool = True, **args: object) -> JsonObject:
        self.done.append(f"{cmd} {args}" if args else cmd)
        reply = self.replies.get(cmd, {})
        return reply if isinstance(reply, dict) and "error" in reply else {"return": reply}

    def get_qmp_events(self, wait: Wait = False) -> list[JsonObject]:
        self.done.append(f"events {wait}")
        if not self.batches:
            raise DeadlineExceeded("an event", seconds=wait)
        return list(self.batches.pop(0))

    def events_wait(self, events: Sequence[Wanted]) -> JsonObject | None:
        self.done.append(f"wait {events}")
        return READY

    def resume_drive(self, drive: str) -> None:
        self.done.append(f"resume {drive}")


class Case(QmpAssertions):
    """A case that asks the fake."""

    machine: FakeMachine

    def _machine(self) -> Machine:
        return self.machine


def case(*batches: Batch, **replies: JsonValue) -> Case:
    """A case over a fake machine; underscores in names of commands are dashes."""
    made = Case("dictpath")
    made.machine = FakeMachine(
        *batches, **{name.replace("_", "-"): reply for name, reply in replies.items()}
    )
    return made


REFUSAL: JsonObject = {"error": {"class": "GenericError", "desc": "QEMU says no"}}


# -- messages -----------------------------------------------------------------------------


def test_a_value_at_a_path_is_compared() -> None:
    reply: JsonObject = {"return": {"a": 1, "list": [], "null": None}}
    case().assert_qmp(reply, "return/a", 1)
    case().assert_qmp(reply, "return/list", [])
    case().assert_qmp(reply, "return/null", None)
    case().assert_qmp(reply, "return/a", [5, 1])
    case().assert_qmp(reply, "return", {"a": 1, "list": [], "null": None})


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (2, "'return/a' is 1, expected 2\nin "),
        ([2, "x"], "'return/a' is 1, expected one of [2, \"x\"]\nin "),
        ([], "'return/a' is 1, expected []\nin "),
        (None, "'return/a' is 1, expected null\nin "),
    ],
)
def test_another_value_is_shown_with_what_was_expected(value: JsonValue, what: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(what)):
        case().assert_qmp({"return": {"a": 1}}, "return/a", value)


def test_a_list_is_expected_as_one_of_a_list() -> None:
    case().assert_qmp({"a": [1, 2]}, "a", [[1, 2]])
    with pytest.raises(AssertionError):
        case().assert_qmp({"a": [1, 2]}, "a", [1, 2])


def test_the_error_of_a_command_shows_where_its_return_is_missed() -> None:
    with pytest.raises(AssertionError, match=r"has no 'return', only 'error'(?s:.*)QEMU says no"):
        case().assert_qmp(REFUSAL, "return", {})


def test_absent_is_not_null() -> None:
    case().assert_qmp_absent({"a": {}}, "a/b")
    case().assert_qmp_absent({"a": [1]}, "a[1]")
    with pytest.raises(AssertionError, match=r"'a/b' is there: null"):
        case().assert_qmp_absent({"a": {"b": None}}, "a/b")


@pytest.mark.parametrize("path", ["a[b]", ""])
def test_what_is_no_path_is_refused_by_every_assertion(path: str) -> None:
    with pytest.raises(UsageError):
        case().dictpath({}, path)
    with pytest.raises(UsageError):
        case().assert_qmp({}, path, 1)
    with pytest.raises(UsageError):
        case().assert_qmp_absent({}, path)


def test_a_json_file_name_is_compared_nested_or_dotted() -> None:
    reference: JsonObject = {"driver": "qcow2", "file": {"driver": "file", "filename": "a"}}
    for name in (
        'json:{"driver": "qcow2", "file.driver": "file", "file.filename": "a"}',
        'json:{"file": {"filename": "a", "driver": "file"}, "driver": "qcow2"}',
    ):
        case().assert_json_filename_equal(name, reference)
    with pytest.raises(
        AssertionError, match=r'says {"driver": "raw"}, expected {"driver": "qcow2"'
    ):
        case().assert_json_filename_equal('json:{"driver": "raw"}', reference)
    with pytest.raises(UsageError, match="not JSON"):
        case().assert_json_filename_equal("json:{", reference)
    with pytest.raises(AssertionError, match="'/a' does not begin with 'json:'"):
        case().assert_json_filename_equal("/a", reference)


# -- what there is ------------------------------------------------------------------------

NODES: JsonValue = [{"node-name": "disk", "file": "/a"}, {"node-name": "other", "file": "/b"}]


@pytest.mark.parametrize(("node", "file"), [("disk", None), (None, "/b"), ("other", "/b")])
def test_a_block_node_is_found(node: str | None, file: str | None) -> None:
    case(query_named_block_nodes=NODES).assert_has_block_node(node, file)


@pytest.mark.parametrize(("node", "file"), [("a", None), (None, "/c"), ("disk", "/b")])
def test_no_such_block_node_shows_those_there_are(node: str | None, file: str | None) -> None:
    with pytest.raises(AssertionError, match=r'no block node is (?s:.*), there are .*"/a"'):
        case(query_named_block_nodes=NODES).assert_has_block_node(node, file)


def test_block_jobs_that_are_there_are_shown() -> None:
    case().assert_no_active_block_jobs()
    with pytest.raises(AssertionError, match=r"'return' is \[{\"device\": \"b\"}\], expected \[\]"):
        case(query_block_jobs=[{"device": "b"}]).assert_no_active_block_jobs()


def test_a_block_node_of_no_name_is_not_looked_for() -> None:
    with pytest.raises(UsageError):
        case(query_named_block_nodes=NODES).assert_has_block_node()


# -- waits --------------------------------------------------------------------------------


def test_the_end_of_a_job_takes_the_events_up_to_it_and_the_rest_of_its_batch() -> None:
    one = case([status("created")], [status("pending"), COMPLETED, status("null")], [READY])
    assert one.wait_until_completed() is COMPLETED
    assert one.machine.batches == [[READY]]
    assert one.machine.done == ["events 60.0", "events 60.0", "query-block-jobs"]


def test_waits_hand_on_how_long() -> None:
    one = case([COMPLETED], [COMPLETED])
    one.wait_until_completed(wait=5.0)
    one.cancel_and_wait(wait=True)
    assert [what for what in one.machine.done if "events" in what] == ["events 5.0", "events True"]


FAILED = job_event("BLOCK_JOB_COMPLETED", len=8, offset=4, error="Input/output error")


@pytest.mark.parametrize(
    ("batch", "options", "what"),
    [
        ([FAILED], {}, "block job 'drive0' failed: Input/output error"),
        ([FAILED], {"error": "No space"}, '\'data/error\' is "Input/output error", expected "No'),
        ([COMPLETED], {"error": "No space"}, "'data' has no 'error'"),
        ([COMPLETED], {"drive": "other"}, '\'data/device\' is "drive0", expected "other"'),
        ([status("running", job="other")], {}, '\'data/id\' is "other", expected "drive0"'),
        (
            [job_event("BLOCK_JOB_COMPLETED", len=8, offset=4)],
            {},
            "'data/offset' is 4, expected 8",
        ),
    ],
)
def test_another_end_than_expected_is_told(
    batch: Batch, options: Mapping[str, str], what: str
) -> None:
    with pytest.raises(AssertionError, match=re.escape(what)):
        case(batch).wait_until_completed(**cast("dict[str, str]", options))  # type: ignore[arg-type]  # all are texts


def test_an_expected_end_is_accepted() -> None:
    case([FAILED]).wait_until_completed(error="Input/output error")
    case([job_event("BLOCK_JOB_COMPLETED", len=8, offset=4)]).wait_until_completed(
        check_offset=False
    )


def test_a_job_that_is_left_fails_the_wait_for_its_end() -> None:
    with pytest.raises(AssertionError, match=r"expected \[\]"):
        case([COMPLETED], query_block_jobs=[{"device": "x"}]).wait_until_completed()


def test_a_time_limit_says_what_was_waited_for_and_what_came() -> None:
    one = case([status("created"), status("running")], [status("running")])
    with pytest.raises(DeadlineExceeded) as caught:
        one.wait_until_completed(wait=5.0)
    assert str(caught.value) == (
        "gave up on the end of block job 'drive0' (there was JOB_STATUS_CHANGE created, "
        "JOB_STATUS_CHANGE running (2 times)) after 5 s"
    )


def test_cancelling_reads_the_whole_batch_in_which_the_end_is() -> None:
    one = case([status("aborting"), CANCELLED, status("null")], [READY])
    assert one.cancel_and_wait(force=True, resume=True) is CANCELLED
    assert one.machine.done == [
        "block-job-cancel {'device': 'drive0', 'force': True}",
        "resume drive0",
        "events 60.0",
        "query-block-jobs",
    ]
    assert case([CANCELLED, COMPLETED]).cancel_and_wait() is COMPLETED
    with pytest.raises(AssertionError, match="'data/id'"):
        case([CANCELLED, status("created", job="next")]).cancel_and_wait()


def test_a_refused_cancel_is_told() -> None:
    with pytest.raises(AssertionError, match="QEMU says no"):
        case([CANCELLED], block_job_cancel=REFUSAL).cancel_and_wait()


def test_ready_is_that_of_a_mirror_or_a_commit() -> None:
    one = case()
    assert one.wait_ready("d") is READY
    assert one.machine.done == [
        "wait [('BLOCK_JOB_READY', {'data': {'type': 'mirror', 'device': 'd'}}), "
        "('BLOCK_JOB_READY', {'data': {'type': 'commit', 'device': 'd'}})]"
    ]


def test_a_ready_mirror_is_cancelled_to_completion() -> None:
    case([COMPLETED]).wait_ready_and_cancel()
    with pytest.raises(AssertionError, match="'event' is \"BLOCK_JOB_CANCELLED\""):
        case([CANCELLED]).wait_ready_and_cancel()
    with pytest.raises(AssertionError, match="'data/type' is \"commit\""):
        case(
            [job_event("BLOCK_JOB_COMPLETED", len=8, offset=8, type="commit")]
        ).wait_ready_and_cancel()
    with pytest.raises(AssertionError, match="'data/offset' is 4"):
        case([job_event("BLOCK_JOB_COMPLETED", len=8, offset=4)]).wait_ready_and_cancel()


def test_completing_waits_for_ready_unless_told_not_to() -> None:
    one = case([COMPLETED])
    one.complete_and_wait()
    assert one.machine.done[0].startswith("wait ")
    assert one.machine.done[1:] == [
        "block-job-complete {'device': 'drive0'}",
        "events 60.0",
        "query-block-jobs",
    ]
    one = case([FAILED])
    one.complete_and_wait(wait_ready=False, completion_error="Input/output error")
    assert not any(what.startswith("wait") for what in one.machine.done)
    with pytest.raises(AssertionError, match='"stream", expected one of'):
        case([job_event("BLOCK_JOB_COMPLETED", len=8, offset=8, type="stream")]).complete_and_wait()


PAUSED: JsonObject = {"device": "job0", "paused": True, "busy": False}


def test_a_pause_is_waited_for_unless_told_not_to() -> None:
    assert case(query_block_jobs=[{"device": "x"}, PAUSED]).pause_job() == PAUSED
    assert case(query_block_jobs=[PAUSED]).pause_job(wait=False) == {"return": {}}
    with pytest.raises(AssertionError, match="QEMU says no"):
        case(block_job_pause=REFUSAL).pause_job()


def test_a_job_to_pause_that_is_not_there_is_told() -> None:
    with pytest.raises(AssertionError, match=r"no block job 'job0', there are \[{\"device\": \"x"):
        case(query_block_jobs=[{"device": "x"}]).pause_wait()


@pytest.mark.parametrize("state", [{"paused": False}, {"busy": True}])
def test_a_job_that_does_not_stand_still_is_given_up(
    state: JsonObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qemu_blocksdk.testing.assertions._PAUSE_LIMIT", 0.02)
    with pytest.raises(DeadlineExceeded, match="gave up on the pause of block job 'job0' after 0"):
        case(query_block_jobs=[{**PAUSED, **state}]).pause_wait()
