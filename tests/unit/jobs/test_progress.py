"""What a reading of a job's progress says."""

from __future__ import annotations

import pytest

from qemu_blocksdk.jobs import JobProgress


def reading(current: int, total: int, elapsed: float) -> JobProgress:
    return JobProgress(
        job_id="job0", status="running", current=current, total=total, elapsed=elapsed
    )


def test_fraction_rate_and_time_left_follow_from_the_numbers() -> None:
    half = reading(50, 100, 2.0)
    assert (half.fraction, half.rate, half.remaining) == (0.5, 25.0, 2.0)


def test_a_job_with_nothing_to_do_is_complete() -> None:
    assert reading(0, 0, 0.0).fraction == 1.0


def test_before_anything_has_moved_the_time_left_is_unknown() -> None:
    assert reading(0, 100, 1.0).remaining is None
    assert reading(0, 100, 0.0).rate == 0.0


def test_a_total_that_lags_behind_does_not_exceed_the_whole() -> None:
    assert reading(101, 100, 1.0).fraction == pytest.approx(1.0)
