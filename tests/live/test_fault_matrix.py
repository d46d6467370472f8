"""Whatever fails in the middle of an operation: an error in time, and nothing is left behind."""

from __future__ import annotations

import os

import pytest

from tests.live.fault_matrix import DOES_NOT_APPLY, FAULTS, OPERATIONS, cells, run_cell

# What may be raised. Others would be a change that users notice.
EXPECTED: dict[str, set[str]] = {
    "killed": {"ConnectionLost", "LaunchError", "ToolError", "JobStopped", "none"},
    "stopped": {"DeadlineExceeded", "none"},
    "exits": {"ConnectionLost", "LaunchError", "ToolError", "JobStopped", "JobCancelled", "none"},
    "closed": {"ConnectionLost", "LaunchError", "DeadlineExceeded", "none"},
    "full": {"JobFailed", "ToolError", "LaunchError", "none"},
    "nbd": {"JobFailed", "ToolError", "CommandError"},
    "sigint": {"KeyboardInterrupt"},
    "cancelled": {"CancelledError"},
    "limit": {"DeadlineExceeded", "LaunchError"},
    "fork": {"UsageError", "none"},
    "descriptors": {"none", "LaunchError", "ToolError", "ConnectionLost", "UsageError", "OSError"},
    "memory": {
        "none",
        "ConnectionLost",
        "LaunchError",
        "ToolError",
        "DeadlineExceeded",
        "JobFailed",
        "CommandError",
    },
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("fault", "operation"), cells(), ids=[f"{fault}-{operation}" for fault, operation in cells()]
)
def test_a_fault_ends_an_operation_in_time_and_leaves_nothing(fault: str, operation: str) -> None:
    if fault == "full" and os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    cell = run_cell(fault, operation)
    assert cell.complaints == [], cell
    assert cell.raised in EXPECTED[fault], cell
    if cell.raised not in ("none", "KeyboardInterrupt", "CancelledError"):
        assert cell.is_of_the_tree, cell


def test_a_cell_runs_or_says_why_it_does_not_apply() -> None:
    assert len(list(cells())) + len(DOES_NOT_APPLY) == len(FAULTS) * len(OPERATIONS)
    assert all(DOES_NOT_APPLY.values())
