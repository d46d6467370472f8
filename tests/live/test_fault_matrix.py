"""Whatever fails in the middle of an operation: an error in time, and nothing is left behind."""

from __future__ import annotations

import os

import pytest

from tests.live.fault_matrix import CELLS, DOES_NOT_APPLY, FAULTS, OPERATIONS, run_cell

# What may be raised. Others would be a change that users notice.
EXPECTED: dict[str, set[str]] = {
    "killed": {"ConnectionLost", "LaunchError", "ToolError", "none"},
    "stopped": {"DeadlineExceeded", "LaunchError", "none"},
    # QEMU may answer first, and may wait for its own requests.
    "exits": {
        "ConnectionLost",
        "LaunchError",
        "ToolError",
        "TransactionFailed",
        "DeadlineExceeded",
        "none",
    },
    "closed": {"ConnectionLost", "LaunchError", "none"},
    "full": {"JobFailed", "ToolError", "none"},
    "nbd": {"JobFailed", "ToolError"},
    "sigint": {"KeyboardInterrupt"},
    "cancelled": {"CancelledError"},
    "limit": {"DeadlineExceeded", "LaunchError"},
    "fork": {"UsageError"},
    "descriptors": {"none", "LaunchError", "ConnectionLost", "DeadlineExceeded", "BlockSdkError"},
    # QEMU may need none, wait for some, or end.
    "memory": {"none", "ConnectionLost", "LaunchError", "ToolError", "DeadlineExceeded"},
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("fault", "operation"), CELLS, ids=[f"{fault}-{operation}" for fault, operation in CELLS]
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
    assert len(CELLS) + len(DOES_NOT_APPLY) == len(FAULTS) * len(OPERATIONS)
    assert all(DOES_NOT_APPLY.values())
