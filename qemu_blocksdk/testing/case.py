"""The base class of unittest: a test's environment, its QEMUs, assertions, and what it reports.

What is asserted of messages and block jobs is in ``assertions``, what QEMUs a test has in
``machines``. The one mechanism: an exception that leaves a test takes what is known of its
QEMUs along as a note, while they still run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar, Unpack
from unittest import SkipTest

from qemu_blocksdk import VM, Image, Job, Qmp, StorageDaemon
from qemu_blocksdk.blocking.objects import Qemu
from qemu_blocksdk.codec import evolved
from qemu_blocksdk.errors import BlockSdkError, JobCancelled, JobFailed, Unsupported, UsageError

from .assertions import Machine, QmpAssertions
from .env import TestEnv
from .golden import WithGolden
from .images import Images
from .machines import Machines, StorageDaemonOptions, VmOptions
from .matrix import Choices, matrix
from .queued import QueuedQmp
from .report import Section, joined
from .scratch import keep
from .switches import KEEP_FAILED, is_set

Q = TypeVar("Q", bound=Qemu)
__unittest: Final = True
"""unittest leaves the frames of this module out of its reports."""


class QMPTestCase(WithGolden, QmpAssertions):
    """A test with QEMUs of its own, which are gone after it::

    class TestCommit(QMPTestCase):
        def setUp(self) -> None:
            self.vm = self.launch_vm()

        def test_without_a_job(self) -> None:
            self.assert_no_active_block_jobs()

    Assertions and waits are about the QEMU that was launched last, or that :meth:`ask` was told.
    """

    @contextlib.contextmanager
    def make_env(self) -> Generator[TestEnv]:
        """Make what the test runs with; override it for another format, for other programs.

        It is what the environment variables of QEMU's ``check`` say (``IMGFMT=qcow2 python -m
        unittest``), but for the directories of images and sockets, which are the test's own.
        """
        with TestEnv.temporary() as made:
            (chosen,) = matrix(Choices(), os.environ).values()
            output_dir = Path(os.environ.get("OUTPUT_DIR") or made.output_dir)
            own = {"test_dir": made.test_dir, "sock_dir": made.sock_dir, "output_dir": output_dir}
            yield evolved(chosen, **own)

    @cached_property
    def env(self) -> TestEnv:
        """What the test runs with; its directories are gone after the test."""
        return self.enterContext(self.make_env())

    @cached_property
    def images(self) -> Images:
        """Makes the images of the test, and opens them in its QEMUs."""
        return Images(self.env)

    @cached_property
    def machines(self) -> Machines:
        """The QEMUs of the test, and what goes over their QMP (``machines.log``)."""
        return self.enterContext(Machines(self.env))

    def launch_vm(self, **options: Unpack[VmOptions]) -> VM:
        """Launch a VM for the rest of the test. Raises as :class:`VM` and its ``launch``."""
        return self._launched(self.machines.vm(**options))

    def launch_storage_daemon(self, **options: Unpack[StorageDaemonOptions]) -> StorageDaemon:
        """Launch a storage daemon for the rest of the test. Raises as :meth:`launch_vm`."""
        return self._launched(self.machines.storage_daemon(**options))

    def ask(self, machine: VM | StorageDaemon) -> None:
        """Have assertions and waits be about this one of the QEMUs launched here from now on."""
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

    def _environment(self) -> TestEnv:
        return self.env

    # -- assertions about typed objects -------------------------------------------------

    def assert_no_active_block_jobs(self) -> None:
        """Assert that there are no block jobs but such as have ended.

        A :class:`Job` dismisses its job a moment after that has ended.
        """
        jobs = self._listed("query-block-jobs")
        if active := {job["device"]: job["status"] for job in jobs if job["status"] != "concluded"}:
            self.fail(f"block jobs are active: {active}")

    def assert_job_failed(self, job: Job, error: str, *, timeout: float = 60.0) -> None:
        """Wait for the end of a job; assert that it failed, with these words among QEMU's."""
        with contextlib.suppress(JobFailed, JobCancelled):
            job.wait(timeout=timeout)
        result = job.result
        assert result is not None
        if result.outcome != "failed" or error not in (result.error or ""):
            self.fail(f"{job!r}: {result.error or result.outcome}, expected {error!r}")

    def assert_images_equal(self, one: Image, other: Image) -> None:
        """Assert that two images, which nobody writes to, are equal (``qemu-img compare``)."""
        found = one.compare(other).run()
        if not found.is_equal:
            where = "" if found.differs_at is None else f" at byte {found.differs_at}"
            self.fail(f"{one!r} and {other!r} differ in {found.difference}{where}")

    # -- reports ------------------------------------------------------------------------

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        """Add what is known of the QEMUs to an exception that leaves the block."""
        try:
            yield
        except SkipTest:
            raise
        except Exception as error:
            if known := joined(self._known()).rstrip():
                error.add_note(known)
            if isinstance(error, AssertionError | BlockSdkError):
                _cut_to_callers(error)
            raise

    def _known(self) -> Iterator[Section]:
        if "machines" in vars(self):
            yield from self.machines.describe()
        if "env" in vars(self) and is_set(KEEP_FAILED):
            keep(self.env.test_dir)
            yield Section(title=f"kept: {self.env.test_dir}", text="")

    @contextlib.contextmanager
    def subTest(self, *msg: object, **params: object) -> Generator[None]:
        """Do as unittest's, with the same report as of a test."""
        with super().subTest(*msg, **params), self._explained():
            yield

    # unittest has no public place where a test has failed and its clean-ups have not run yet.

    def _callSetUp(self) -> None:
        with self._explained():
            super()._callSetUp()  # type: ignore[misc]  # not in typeshed

    def _callTestMethod(self, method: Callable[[], object]) -> None:
        with self._explained():
            super()._callTestMethod(method)  # type: ignore[misc]  # nor this

    def _callTearDown(self) -> None:
        with self._explained():
            super()._callTearDown()  # type: ignore[misc]  # nor this


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


def _cut_to_callers(error: Exception) -> None:
    """Take our and unittest's frames from the end of a traceback: the sentence says it all."""
    frame = last = error.__traceback__
    while frame is not None:
        known = frame.tb_frame.f_globals
        if "__unittest" not in known and not known["__name__"].startswith("qemu_blocksdk."):
            last = frame
        frame = frame.tb_next
    if last is not None:
        last.tb_next = None
