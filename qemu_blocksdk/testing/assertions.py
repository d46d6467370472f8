"""The assertions and waits of iotests' ``QMPTestCase``, over a small protocol.

The protocol is :class:`Machine`. Its implementations are iotests' own VM, for old scripts, and
:class:`QueuedQmp`, for typed objects. As in iotests are the names and the order of arguments, which
events are taken from the queue, what is asserted, and in which order.
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
from .event_queue import Wait, Wanted, listed
from .notrun import case_notrun

_PAUSE_LIMIT = 3.0


class Machine(Protocol):
    """The methods that the assertions call; :class:`QueuedQmp` implements them."""

    def qmp(self, cmd: str, conv_keys: bool = ..., **args: object) -> JsonObject:
        """Send a command; return its whole reply."""
        ...

    def get_qmp_events(self, wait: Wait = ...) -> list[JsonObject]:
        """Return all events; if there are none, wait for the first."""
        ...

    def events_wait(self, events: Sequence[Wanted]) -> JsonObject | None:
        """Return the first event that matches one of these, waiting 60 s at most."""
        ...

    def resume_drive(self, drive: str) -> None:
        """Resume the requests that a breakpoint holds."""
        ...


@sealed_class
class MessageAssertions(unittest.TestCase):
    """Assertions about QMP messages."""

    def _environment(self) -> TestEnv:
        """What the test runs with."""
        raise NotImplementedError

    def case_skip(self, reason: str) -> NoReturn:
        """Skip the test and report the reason to the runner (``notrun.case_notrun``)."""
        case_notrun(reason, env=self._environment())
        self.skipTest(reason)

    def dictpath(self, d: JsonValue, path: str) -> JsonValue:
        """Return the value at a path of a message (``testing.dictpath``); fail if there is none."""
        return dictpath(d, path)

    def assert_qmp_absent(self, d: JsonValue, path: str) -> None:
        """Assert that a message has nothing at a path, not even a null."""
        try:
            found = self.dictpath(d, path)
        except AssertionError:
            return
        self.fail(masked(f"{path!r} is there: {shown(found)}\nin {shown(d)}", known=secrets_in(d)))

    def assert_qmp(self, d: JsonValue, path: str, value: JsonValue) -> None:
        """Assert the value at a path: ``value``, or one of its items if it is a list.

        An empty list is compared as a value.
        """
        found = self.dictpath(d, path)
        several = value if isinstance(value, list) and value else None
        if found not in (several or [value]):
            wanted = f"{'one of ' if several else ''}{shown(value)}"
            what = f"{path!r} is {shown(found)}, expected {wanted}\nin {shown(d)}"
            self.fail(masked(what, known=secrets_in(d)))

    def assert_json_filename_equal(self, json_filename: str, reference: JsonValue) -> None:
        """Assert that a ``json:`` file name has the members of ``reference``, nested or dotted."""
        if json_filename[:5] != "json:":
            self.fail(f"{redact(json_filename)!r} does not begin with 'json:'")
        found, wanted = flatten(from_text(json_filename[5:])), flatten(reference)
        if found != wanted:
            self.fail(f"the file name says {shown(found)}, expected {shown(wanted)}")


@sealed_class
class QmpAssertions(MessageAssertions):
    """Assertions about the :class:`Machine` of a test.

    A ``drive`` is the id of a block job. Waits raise DeadlineExceeded; ``wait`` is the limit for
    each round of events, in seconds.
    """

    def _machine(self) -> Machine:
        """The machine that is asked."""
        raise NotImplementedError

    # -- what there is ------------------------------------------------------------------

    def assert_no_active_block_jobs(self) -> None:
        """Assert that ``query-block-jobs`` lists no jobs."""
        self.assert_qmp(self._machine().qmp("query-block-jobs"), "return", [])

    def assert_has_block_node(
        self, node_name: str | None = None, file_name: str | None = None
    ) -> None:
        """Assert that there is a block node with this name, this file, or both.

        Raises UsageError if neither is given.
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
        """Cancel a block job, wait for its end, and return the event that reported it.

        ``resume=True`` resumes requests that a breakpoint holds.
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
        """Wait for the end of a block job; return the event that reported it.

        Asserts that it ended with this ``error``, by default with none; with ``check_offset``, that
        all of its work was done; and that no block job is left.
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
        """Wait until a mirror or commit is ready; return that event and keep the others."""
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

        It waits until the job is ready first, unless ``wait_ready`` is False.
        """
        if wait_ready:
            self.wait_ready(drive=drive)
        reply = self._machine().qmp("block-job-complete", device=drive)
        self.assert_qmp(reply, "return", {})
        event = self.wait_until_completed(drive=drive, error=completion_error)
        self.assert_qmp(event, "data/type", ["mirror", "commit"])

    def pause_wait(self, job_id: str = "job0") -> JsonObject:
        """Wait 3 s at most until a block job has paused; return its ``query-block-jobs`` entry."""
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
        """Pause a block job; return what :meth:`pause_wait` does, or without ``wait`` the reply."""
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
