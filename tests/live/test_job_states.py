"""The tables of `jobs/state.py` against real jobs: each verb in each status, each step between."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import CommandError, Unsupported
from qemu_blocksdk.jobs import ALLOWED, FOLLOWS, JobVerb
from qemu_blocksdk.wire import JobStatus, JobStatusChange, QueryJobs

pytestmark = pytest.mark.timeout(60)

_BUILT_IN = ("undefined", "created", "aborting", "null")
"""Statuses in which no command finds a job: before its start's reply, within its end, after it."""

_COMMANDS: Mapping[JobVerb, tuple[str, str, JsonObject]] = {
    "cancel": ("job-cancel", "id", {}),
    "pause": ("job-pause", "id", {}),
    "resume": ("job-resume", "id", {}),
    "set-speed": ("block-job-set-speed", "device", {"speed": 1}),
    "complete": ("job-complete", "id", {}),
    "finalize": ("job-finalize", "id", {}),
    "dismiss": ("job-dismiss", "id", {}),
    "change": ("block-job-change", "id", {"type": "mirror", "copy-mode": "write-blocking"}),
}


class Stage:
    """A daemon with a mirror job, raw: what QEMU does is looked at, not what we make of it."""

    def __init__(self, daemon: StorageDaemon) -> None:
        self.daemon = daemon
        self.seen: list[JobStatus] = []
        self._events = daemon.qmp.events(JobStatusChange.where(id="job"))
        for name in ("source", "target", "other", "sink"):
            daemon.add_node(NullCo(node_name=name, size=1 << 26))

    def execute(self, name: str, **arguments: object) -> None:
        """Send a command as it is."""
        self.daemon.qmp.execute_raw(name, {k.replace("_", "-"): v for k, v in arguments.items()})

    def mirror(self, **options: object) -> None:
        """Start the mirror."""
        arguments = {"device": "source", "target": "target", "sync": "full", **options}
        self.execute("blockdev-mirror", job_id="job", auto_dismiss=False, **arguments)

    def until(self, status: JobStatus) -> None:
        """Wait until the job has come into a status."""
        while not self.seen or self.seen[-1] != status:
            self.seen.append(self._events.get(timeout=10).status)

    def told(self) -> None:
        """Take in the events that have arrived."""
        while (event := self._events.get_nowait()) is not None:
            self.seen.append(event.status)

    def status(self) -> JobStatus | None:
        """What QEMU says that the job is in; None when it has none."""
        jobs = self.daemon.qmp.execute(QueryJobs())
        return next((job.status for job in jobs if job.id == "job"), None)

    def refusal(self, verb: JobVerb) -> str | None:
        """What QEMU says against the verb; None where it takes it."""
        name, key, arguments = _COMMANDS[verb]
        try:
            self.daemon.qmp.execute_raw(name, {key: "job", **arguments})
        except CommandError as error:
            return error.desc
        return None


def _running(stage: Stage) -> None:
    stage.mirror(speed=1)
    stage.until("running")


def _paused(stage: Stage) -> None:
    _running(stage)
    stage.execute("job-pause", id="job")
    stage.until("paused")


def _ready(stage: Stage) -> None:
    stage.mirror(auto_finalize=False)
    stage.until("ready")


def _standby(stage: Stage) -> None:
    _ready(stage)
    stage.execute("job-pause", id="job")
    stage.until("standby")


def _waiting(stage: Stage) -> None:
    """A backup that is done, in a transaction with one that is not."""
    actions = [
        {
            "type": "blockdev-backup",
            "data": {
                "job-id": job,
                "device": source,
                "target": target,
                "sync": "full",
                "speed": speed,
                "auto-dismiss": False,
            },
        }
        for job, source, target, speed in (
            ("job", "source", "target", 0),
            ("slow", "other", "sink", 1),
        )
    ]
    stage.execute("transaction", actions=actions, properties={"completion-mode": "grouped"})
    stage.until("waiting")


def _pending(stage: Stage) -> None:
    _ready(stage)
    stage.execute("job-complete", id="job")
    stage.until("pending")


def _concluded(stage: Stage) -> None:
    _pending(stage)
    stage.execute("job-finalize", id="job")
    stage.until("concluded")


WAYS: Mapping[JobStatus, Callable[[Stage], None]] = {
    "running": _running,
    "paused": _paused,
    "ready": _ready,
    "standby": _standby,
    "waiting": _waiting,
    "pending": _pending,
    "concluded": _concluded,
}


def test_every_status_is_known_how_to_come_to() -> None:
    assert {*WAYS, *_BUILT_IN} == set(FOLLOWS)
    assert set(_COMMANDS) == set(ALLOWED)


@pytest.mark.parametrize("verb", ALLOWED)
@pytest.mark.parametrize("status", WAYS)
def test_a_verb_is_taken_where_the_table_says(
    daemon: StorageDaemon, status: JobStatus, verb: JobVerb, qemu_version: tuple[int, int]
) -> None:
    stage = Stage(daemon)
    WAYS[status](stage)
    assert stage.status() == status
    refusal = stage.refusal(verb)
    if verb == "change" and qemu_version < (8, 2):
        assert refusal is not None
        assert "block-job-change has not been found" in refusal
    elif status not in ALLOWED[verb]:
        assert refusal is not None
    elif refusal is not None:  # for another reason than the status
        assert "cannot accept command verb" not in refusal
    stage.told()
    for before, after in zip(stage.seen, stage.seen[1:], strict=False):
        assert after in FOLLOWS[before]


def test_every_step_of_the_table_is_taken_by_some_job(daemon: StorageDaemon) -> None:
    steps = set[tuple[JobStatus, JobStatus]]()
    for turn, way in enumerate((_running, _paused, _ready, _standby, _waiting, _pending)):
        for end in ("cancel", "on"):
            with StorageDaemon() as own:
                stage = Stage(own)
                way(stage)
                if end == "cancel":
                    stage.execute("job-cancel", id="job")
                    stage.until("concluded")
                    stage.execute("job-dismiss", id="job")
                    stage.until("null")
                elif turn in (1, 3):
                    stage.execute("job-resume", id="job")
                    stage.until("running" if turn == 1 else "ready")
                elif way is _waiting:
                    stage.execute("block-job-set-speed", device="slow", speed=0)
                    stage.until("concluded")
                elif way is _pending:
                    stage.execute("job-finalize", id="job")
                    stage.until("concluded")
                steps |= set(zip(["undefined", *stage.seen], stage.seen, strict=False))
    expected = {(before, after) for before, then in FOLLOWS.items() for after in then}
    # Steps inside one command: a transaction that fails, a job that is cancelled twice.
    inside = {("created", "aborting"), ("created", "null"), ("aborting", "aborting")}
    assert expected - inside <= steps
    assert steps <= expected


def test_the_copy_mode_of_a_mirror_changes_while_it_runs(
    daemon: StorageDaemon, qemu_version: tuple[int, int]
) -> None:
    source, target = (daemon.add_node(NullCo(node_name=n, size=1 << 26)) for n in "st")
    with source.start_mirror(target) as job:
        job.wait(until="ready", timeout=10)
        if qemu_version < (8, 2):
            with pytest.raises(Unsupported, match="block-job-change") as lacking:
                job.change(copy_mode="write-blocking")
            assert "storage-daemon-10.0" in lacking.value.available_in
        else:
            job.change(copy_mode="write-blocking")
            with pytest.raises(CommandError, match="copy mode") as refused:
                job.change(copy_mode="background")  # there is no way back
            assert refused.value.subject == f"mirror job {job.id!r}: ready"
