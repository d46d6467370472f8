"""Common base of the unittest classes: environment, QEMUs, and the report of a failure.

``machines`` starts the QEMUs. While they still run, their state is added as a note to an exception
that leaves a test.
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
from qemu_blocksdk.sealed import entries

from .assertions import MessageAssertions
from .env import TestEnv
from .golden import WithGolden
from .machines import Machines
from .matrix import Choices, matrix
from .report import Section, sections_text
from .scratch import keep
from .switches import KEEP_FAILED, is_set

__unittest: Final = True
"""unittest leaves the frames of this module out of its reports."""


class ExplainedCase(WithGolden, MessageAssertions):
    """A test case with an environment of its own; its failures report the state of its QEMUs."""

    @contextlib.contextmanager
    def make_env(self) -> Generator[TestEnv]:
        """Return the environment of the test; override it to choose a format or other programs.

        By default it is what the environment variables of QEMU's ``check`` say (``IMGFMT=qcow2
        python -m unittest``), with directories of the test's own.
        """
        with TestEnv.temporary() as made:
            (chosen,) = matrix(Choices(), os.environ).values()
            output_dir = Path(os.environ.get("OUTPUT_DIR") or made.output_dir)
            own = {"test_dir": made.test_dir, "sock_dir": made.sock_dir, "output_dir": output_dir}
            yield evolve(chosen, **own)

    @cached_property
    def env(self) -> TestEnv:
        """The environment of the test; its directories are removed after the test."""
        return self.enterContext(self.make_env())

    @cached_property
    def machines(self) -> Machines:
        """The QEMUs of the test and their QMP messages (``machines.log``)."""
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
            if known := sections_text(self._known()).rstrip():
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
    last = error.__traceback__
    for frame in entries(error.__traceback__):
        known = frame.tb_frame.f_globals
        if "__unittest" not in known and not known["__name__"].startswith("qemu_blocksdk."):
            last = frame
    if last is not None:
        last.tb_next = None
