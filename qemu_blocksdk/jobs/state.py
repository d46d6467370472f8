"""The state machine of a job as tables: what follows which status, which verb is allowed where.

``tests/live/test_job_states.py`` holds every row against real jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from qemu_blocksdk.wire import JobStatus

JobVerb = Literal[
    "cancel", "pause", "resume", "set-speed", "complete", "finalize", "dismiss", "change"
]
"""What can be asked of a job, in QEMU's words."""

FOLLOWS: Mapping[JobStatus, frozenset[JobStatus]] = {
    "undefined": frozenset({"created"}),
    "created": frozenset({"running", "aborting", "null"}),
    "running": frozenset({"paused", "ready", "waiting", "aborting"}),
    "paused": frozenset({"running"}),
    "ready": frozenset({"standby", "waiting", "aborting"}),
    "standby": frozenset({"ready"}),
    "waiting": frozenset({"pending", "aborting"}),
    "pending": frozenset({"aborting", "concluded"}),
    "aborting": frozenset({"aborting", "concluded"}),
    "concluded": frozenset({"null"}),
    "null": frozenset(),
}
"""The statuses that may come next."""

_AT_WORK: frozenset[JobStatus] = frozenset({"created", "running", "paused", "ready", "standby"})
_WAITING: frozenset[JobStatus] = frozenset({"waiting", "pending"})

ALLOWED: Mapping[JobVerb, frozenset[JobStatus]] = {
    "cancel": _AT_WORK | _WAITING,
    "pause": _AT_WORK,
    "resume": _AT_WORK,
    "set-speed": _AT_WORK,
    "complete": frozenset({"ready", "standby"}),
    "finalize": frozenset({"pending"}),
    "dismiss": frozenset({"concluded"}),
    "change": frozenset({"running", "paused", "ready", "standby"}),
}
"""The statuses in which QEMU takes a verb; it may refuse it there for other reasons."""

PAUSED: frozenset[JobStatus] = frozenset({"paused", "standby"})
"""The statuses of a job that stands still because it was told to, or because of an error."""

OVER: frozenset[JobStatus] = frozenset({"concluded", "null"})
"""The statuses of a job whose outcome is fixed."""


_ABORTING: frozenset[JobStatus] = frozenset({"aborting"})
ENDING: frozenset[JobStatus] = OVER | _ABORTING
"""The statuses of a job that does nothing more."""


def can_become(status: JobStatus, later: JobStatus) -> bool:
    """Whether a job in one status may still come into another, however many steps away."""
    reached: set[JobStatus] = set()
    ahead: set[JobStatus] = set(FOLLOWS.get(status, ()))
    while ahead - reached:
        reached |= ahead
        ahead = {after for each in ahead for after in FOLLOWS[each]}
    return later in reached
