"""The assertions and waits of iotests' ``QMPTestCase``, written once over what they ask.

What they ask is a :class:`Machine`: iotests' own VM for old scripts, :class:`QueuedQmp` for typed
objects. Names and places of arguments are iotests'; so is which events are taken from the queue,
what is asserted, and in which order.
"""

from __future__ import annotations

import time
import unittest
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

from qemu_blocksdk.codec import JsonObject, JsonValue, flatten, masked, redact, secrets_in
from qemu_blocksdk.codec.json_text import from_text
from qemu_blocksdk.errors import DeadlineExceeded, UsageError
from qemu_blocksdk.sealed import sealed_class

from .dictpath import dictpath, shown
from .env import TestEnv
from .notrun import case_notrun
from .queued import Wait, Wanted, listed

_PAUSE_LIMIT = 3.0


class Machine(Protocol):
    """What the assertions ask, as :class:`QueuedQmp` has it."""

    def qmp(self, cmd: str, conv_keys: bool = ..., **args: object) -> JsonObject:
        """Send a command; return its whole reply."""
        ...

    def get_qmp_events(self, wait: Wait = ...) -> list[JsonObject]:
        """Return all events; where none is there, wait for the first."""
        ...

    def events_wait(self, events: Sequence[Wanted]) -> JsonObject | None:
        """Return the first event that one of these matches, waiting 60 s at most."""
        ...

    def resume_drive(self, drive: str) -> None:
        """Let the requests go on that a breakpoint holds."""
        ...


@sealed_class
class MessageAssertions(unittest.TestCase):
    """What can be asserted of QMP messages."""

    def _environment(self) -> TestEnv:
        """What the test runs with."""
        raise NotImplementedError

    def case_skip(self, reason: str) -> NoReturn:
        """Skip the test, and tell a runner why: ``notrun.case_notrun``. Raises as that."""
        case_notrun(reason, env=self._environment())
        self.skipTest(reason)

    def dictpath(self, d: JsonValue, path: str) -> JsonValue:
        """Return what is at a path of a message, as ``testing.dictpath``; fail where it is not."""
        return dictpath(d, path)

    def assert_qmp_absent(self, d: JsonValue, path: str) -> None:
        """Assert that there is nothing at a path, not even a null."""
        try:
            found = self.dictpath(d, path)
        except AssertionError:
            return
        self.fail(masked(f"{path!r} is there: {shown(found)}\nin {shown(d)}", known=secrets_in(d)))

    def assert_qmp(self, d: JsonValue, path: str, value: JsonValue) -> None:
        """Assert what is at a path: ``value``, or one of them where that is a list.

        An empty list is a value.
        """
        found = self.dictpath(d, path)
        several = value if isinstance(value, list) and value else None
        if found not in (several or [value]):
            wanted = f"{'one of ' if several else ''}{shown(value)}"
            what = f"{path!r} is {shown(found)}, expected {wanted}\nin {shown(d)}"
            self.fail(masked(what, known=secrets_in(d)))

    def assert_json_filename_equal(self, json_filename: str, reference: JsonValue) -> None:
        """Assert that a file name is a ``json:`` one of the same members, nested or dotted."""
        if json_filename[:5] != "json:":
            self.fail(f"{redact(json_filename)!r} does not begin with 'json:'")
        found, wanted = flatten(from_text(json_filename[5:])), flatten(reference)
        if found != wanted:
            self.fail(f"the file name says {shown(found)}, expected {shown(wanted)}")


@sealed_class
class QmpAssertions(MessageAssertions):
    """What can be asserted of the :class:`Machine` that a test is about.

    A ``drive`` is the id of a block job. Waits raise DeadlineExceeded; a ``wait`` is in seconds,
    for each round of events.
    """

    def _machine(self) -> Machine:
        """The machine that is asked."""
        raise NotImplementedError

    # -- what there is ------------------------------------------------------------------

    def assert_no_active_block_jobs(self) -> None:
        """Assert that ``query-block-jobs`` lists none."""
        self.assert_qmp(self._machine().qmp("query-block-jobs"), "return", [])

    def assert_has_block_node(
        self, node_name: str | None = None, file_name: str | None = None
    ) -> None:
        """Assert that there is a block node of that name, that file, or both.

        Raises UsageError where neither is told.
        """
        if not node_name and not file_name:
            raise UsageError("assert_has_block_node takes a node name, a file name, or both")
        wanted = {"node-name": node_name, "file": file_name}
        nodes = self._listed("query-named-block-nodes")
        for node in nodes:
            if all(
                None in (node.get(key), value) or node[key] == value
                for key, value in wanted.items()
            ):
                return
        there = [{key: node.get(key) for key in wanted} for node in nodes]
        self.fail(f"no block node is {shown(wanted)}, there are {shown(there)}")

    # -- block jobs ---------------------------------------------------------------------

    def cancel_and_wait(
        self, drive: str = "drive0", force: bool = False, resume: bool = False, wait: Wait = 60.0
    ) -> JsonObject:
        """Cancel a block job, wait for its end, and return the event that told of it.

        With ``resume``, requests that a breakpoint holds go on.
        """
        machine = self._machine()
        reply = machine.qmp("block-job-cancel", device=drive, force=force)
        self.assert_qmp(reply, "return", {})
        if resume:
            machine.resume_drive(drive)
        result: JsonObject | None = None
        seen: list[JsonObject] = []
        while result is None:
            for event in self._events(wait, drive, seen):
                if event["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"):
                    self.assert_qmp(event, "data/device", drive)
                    result = event
                elif event["event"] == "JOB_STATUS_CHANGE":
                    self.assert_qmp(event, "data/id", drive)
        self.assert_no_active_block_jobs()
        return result

    def wait_until_completed(
        self,
        drive: str = "drive0",
        check_offset: bool = True,
        wait: Wait = 60.0,
        error: str | None = None,
    ) -> JsonObject:
        """Wait for the end of a block job, and return the event that told of it.

        Asserts that it ended with that ``error``, by default with none and, by ``check_offset``,
        with all of its work done, and that no block job is left.
        """
        seen: list[JsonObject] = []
        while True:
            for event in self._events(wait, drive, seen):
                if event["event"] == "BLOCK_JOB_COMPLETED":
                    self.assert_qmp(event, "data/device", drive)
                    if error is not None:
                        self.assert_qmp(event, "data/error", error)
                    else:
                        self._assert_no_error(event)
                        if check_offset:
                            self._assert_all_done(event)
                    self.assert_no_active_block_jobs()
                    return event
                if event["event"] == "JOB_STATUS_CHANGE":
                    self.assert_qmp(event, "data/id", drive)

    def wait_ready(self, drive: str = "drive0") -> JsonObject:
        """Wait until a mirror or commit is ready, and return that event; others are kept."""
        event = self._machine().events_wait(
            [
                ("BLOCK_JOB_READY", {"data": {"type": kind, "device": drive}})
                for kind in ("mirror", "commit")
            ]
        )
        assert event is not None
        return event

    def wait_ready_and_cancel(self, drive: str = "drive0") -> None:
        """Wait until a mirror is ready, and cancel it, which completes it."""
        self.wait_ready(drive=drive)
        event = self.cancel_and_wait(drive=drive)
        self.assert_qmp(event, "event", "BLOCK_JOB_COMPLETED")
        self.assert_qmp(event, "data/type", "mirror")
        self._assert_all_done(event)

    def complete_and_wait(
        self,
        drive: str = "drive0",
        wait_ready: bool = True,
        completion_error: str | None = None,
    ) -> None:
        """Complete a mirror or commit and wait for its end, as :meth:`wait_until_completed`.

        Before, wait until it is ready, unless ``wait_ready`` is False.
        """
        if wait_ready:
            self.wait_ready(drive=drive)
        reply = self._machine().qmp("block-job-complete", device=drive)
        self.assert_qmp(reply, "return", {})
        event = self.wait_until_completed(drive=drive, error=completion_error)
        self.assert_qmp(event, "data/type", ["mirror", "commit"])

    def pause_wait(self, job_id: str = "job0") -> JsonObject:
        """Wait until a block job stands still, 3 s at most; return what is known of it."""
        end = time.monotonic() + _PAUSE_LIMIT
        while True:
            jobs = self._listed("query-block-jobs")
            job = next((job for job in jobs if job["device"] == job_id), None)
            if job is None:
                self.fail(f"no block job {job_id!r}, there are {shown(jobs)}")
            if job["paused"] and not job["busy"]:
                return job
            if time.monotonic() > end:
                raise DeadlineExceeded(f"the pause of block job {job_id!r}", seconds=_PAUSE_LIMIT)

    def pause_job(self, job_id: str = "job0", wait: bool = True) -> JsonObject:
        """Pause a block job; return what :meth:`pause_wait` does, or the reply without ``wait``."""
        reply = self._machine().qmp("block-job-pause", device=job_id)
        self.assert_qmp(reply, "return", {})
        return self.pause_wait(job_id) if wait else reply

    # -- what they share ----------------------------------------------------------------

    def _assert_no_error(self, event: JsonObject) -> None:
        data = cast("JsonObject", self.dictpath(event, "data"))
        if "error" in data:
            self.fail(f"block job {data['device']!r} failed: {data['error']}")

    def _assert_all_done(self, event: JsonObject) -> None:
        self.assert_qmp(event, "data/offset", self.dictpath(event, "data/len"))

    def _listed(self, command: str) -> list[JsonObject]:
        reply = self._machine().qmp(command)
        return cast("list[JsonObject]", self.dictpath(reply, "return"))

    def _events(self, wait: Wait, drive: str, seen: list[JsonObject]) -> list[JsonObject]:
        """Take the events that are next; a time limit that runs out says which came before."""
        try:
            events = self._machine().get_qmp_events(wait=wait)
        except DeadlineExceeded as error:
            what = f"the end of block job {drive!r} (there was {listed(seen)})"
            raise DeadlineExceeded(what, seconds=error.seconds) from None
        seen += events
        return events
