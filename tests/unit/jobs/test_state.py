"""The job tables as such; against real jobs they are held in the live tests."""

from __future__ import annotations

from typing import get_args

import pytest

from qemu_blocksdk.errors import JobCancelled, JobFailed
from qemu_blocksdk.jobs import ALLOWED, FOLLOWS, JobOutcome, JobResult, JobVerb, can_become
from qemu_blocksdk.wire import JobStatus


def test_every_status_and_verb_has_its_row() -> None:
    assert set(FOLLOWS) == set(get_args(JobStatus))
    assert set(ALLOWED) == set(get_args(JobVerb))
    assert {status for row in (*FOLLOWS.values(), *ALLOWED.values()) for status in row} <= set(
        FOLLOWS
    )


def test_every_status_leads_to_the_end_and_none_back_from_it() -> None:
    for status in FOLLOWS:
        assert can_become(status, "null") == (status != "null")
        assert not can_become("null", status)


@pytest.mark.parametrize(
    ("status", "later", "can"),
    [
        ("running", "paused", True),
        ("paused", "paused", True),  # and again
        ("ready", "running", False),
        ("pending", "concluded", True),
        ("pending", "ready", False),
        ("concluded", "aborting", False),
    ],
)
def test_what_may_come_of_a_status(status: JobStatus, later: JobStatus, can: bool) -> None:
    assert can_become(status, later) == can


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("completed", None), ("failed", JobFailed), ("cancelled", JobCancelled)],
)
def test_a_result_is_checked(outcome: JobOutcome, error: type[Exception] | None) -> None:
    words = "No space left on device" if outcome == "failed" else None
    result = JobResult(job_id="b0", job_type="backup", outcome=outcome, error=words)
    if error is None:
        result.check()
    else:
        with pytest.raises(error, match="backup job 'b0'"):
            result.check()
