"""What the cases of unittest have in common: an environment, QEMUs, and what a failure tells.

What QEMUs a test has is in ``machines``. The one mechanism: an exception that leaves a test takes
what is known of its QEMUs along as a note, while they still run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final
from unittest import SkipTest

from qemu_blocksdk.codec import evolve
from qemu_blocksdk.errors import BlockSdkError

from .assertions import MessageAssertions
from .env import TestEnv
from .golden import WithGolden
from .machines import Machines
from .matrix import Choices, matrix
from .report import Section, joined
from .scratch import keep
from .switches import KEEP_FAILED, is_set

__unittest: Final = True
"""unittest leaves the frames of this module out of its reports."""


class ExplainedCase(WithGolden, MessageAssertions):
    """A test with an environment of its own, whose failure says what is known of its QEMUs."""

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
            yield evolve(chosen, **own)

    @cached_property
    def env(self) -> TestEnv:
        """What the test runs with; its directories are gone after the test."""
        return self.enterContext(self.make_env())

    @cached_property
    def machines(self) -> Machines:
        """The QEMUs of the test, and what goes over their QMP (``machines.log``)."""
        return self.enterContext(Machines(self.env))

    def _environment(self) -> TestEnv:
        return self.env

    def _described(self) -> Sequence[Section]:
        return self.machines.describe()

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
            yield from self._described()
        if "env" in vars(self) and is_set(KEEP_FAILED):
            keep(self.env.test_dir)
            yield Section(title=f"kept: {self.env.test_dir}", text="")

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
