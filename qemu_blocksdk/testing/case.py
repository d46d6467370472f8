"""The unittest base class: the QEMUs of a test, and assertions about them.

Assertions about messages and block jobs are in ``assertions``, the report of a failure is in
``explained_case``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from functools import cached_property
from typing import Final, TypeVar, Unpack

from qemu_blocksdk import VM, Image, Job, NbdServer, Qmp, StorageDaemon
from qemu_blocksdk.blocking import Qemu
from qemu_blocksdk.errors import JobCancelled, JobFailed, Unsupported, UsageError

from .assertions import Machine, QmpAssertions
from .event_queue import QueuedQmp
from .explained_case import ExplainedCase
from .images import Images
from .machines import ServerOptions, StorageDaemonOptions, VmOptions

Q = TypeVar("Q", bound=Qemu)
__unittest: Final = True
"""unittest leaves the frames of this module out of its reports."""


class QMPTestCase(ExplainedCase, QmpAssertions):
    """A test case with QEMUs of its own, which end with the test::

        class TestCommit(QMPTestCase):
            def setUp(self) -> None:
                self.vm = self.launch_vm()

            def test_without_a_job(self) -> None:
                self.assert_no_active_block_jobs()

    Assertions and waits are about the QEMU that was launched last, or the one given to :meth:`ask`.
    """

    @cached_property
    def images(self) -> Images:
        """Creates the images of the test and opens them in its QEMUs."""
        return Images(self.env)

    def launch_vm(self, **options: Unpack[VmOptions]) -> VM:
        """Launch a VM that ends with the test. Raises as :class:`VM` and its ``launch``."""
        return self._launched(self.machines.vm(**options))

    def launch_storage_daemon(self, **options: Unpack[StorageDaemonOptions]) -> StorageDaemon:
        """Launch a storage daemon that ends with the test. Raises as :meth:`launch_vm`."""
        return self._launched(self.machines.storage_daemon(**options))

    def launch_nbd_server(self, image: Image, **options: Unpack[ServerOptions]) -> NbdServer:
        """Launch a ``qemu-nbd`` that ends with the test. Raises as :meth:`launch_vm`."""
        return self.machines.nbd_server(image, **options)

    def ask(self, machine: VM | StorageDaemon) -> None:
        """Make later assertions and waits be about this QEMU, which this test launched."""
        if machine not in self._asked:
            raise UsageError(f"{machine!r} was not launched by this test")
        # The last one is asked.
        self._asked[machine] = self._asked.pop(machine)

    @cached_property
    def _asked(self) -> dict[Qemu, _Asked]:
        return {}

    def _launched(self, machine: Q) -> Q:
        self._asked[machine] = _Asked(machine)
        return machine

    def _machine(self) -> Machine:
        if not self._asked:
            raise UsageError("this test has launched no QEMU yet")
        machine, asked = next(reversed(self._asked.items()))
        if not asked.is_of(machine.qmp):  # it was launched anew
            asked = self._asked[machine] = _Asked(machine)
        return asked

    # -- assertions about typed objects -------------------------------------------------

    def assert_no_active_block_jobs(self) -> None:
        """Assert that there are no block jobs, except jobs that have ended.

        A :class:`Job` dismisses its job a moment after the job has ended.
        """
        jobs = self._listed("query-block-jobs")
        if active := {job["device"]: job["status"] for job in jobs if job["status"] != "concluded"}:
            self.fail(f"block jobs are active: {active}")

    def assert_job_failed(self, job: Job, error: str, *, timeout: float = 60.0) -> None:
        """Wait for the end of a job; assert that it failed with an error with this text in it."""
        with contextlib.suppress(JobFailed, JobCancelled):
            job.wait(timeout=timeout)
        result = job.result
        assert result is not None
        if result.outcome != "failed" or error not in (result.error or ""):
            self.fail(f"{job!r}: {result.error or result.outcome}, expected {error!r}")

    def assert_images_equal(self, one: Image, other: Image) -> None:
        """Assert that two images are equal (``qemu-img compare``). Nothing may write to them."""
        found = one.compare(other)
        if not found.is_equal:
            where = "" if found.differs_at is None else f" at byte {found.differs_at}"
            self.fail(f"{one!r} and {other!r} differ in {found.difference}{where}")

    @contextlib.contextmanager
    def subTest(self, *msg: object, **params: object) -> Generator[None]:
        """Like unittest's ``subTest``, with the same report as for a test."""
        with super().subTest(*msg, **params), self._explained():
            yield


class _Asked(QueuedQmp):
    """A QEMU as the assertions ask it."""

    def __init__(self, machine: Qemu) -> None:
        super().__init__(machine.qmp)
        self._machine = machine

    def is_of(self, qmp: Qmp) -> bool:
        return qmp == self._qmp

    def resume_drive(self, drive: str) -> None:
        if not isinstance(self._machine, VM):
            raise Unsupported("human monitor, which holds and resumes drives")
        self._machine.resume_drive(drive)
