"""How a file of tests runs as a program, a script or unittest's; its output is the same each time.

Whether it can run here is ``notrun``'s business, what it logs ``text``'s.
"""

from __future__ import annotations

import logging
import re
import sys
import unittest
from collections.abc import Callable, Sequence
from typing import Protocol, TypedDict, Unpack

from . import notrun
from .env import TestEnv
from .text import LOGGER


class Supported(TypedDict, total=False):
    """What a script is for, as the functions of ``notrun`` take it."""

    supported_fmts: Sequence[str]
    supported_platforms: Sequence[str]
    supported_cache_modes: Sequence[str]
    supported_aio_modes: Sequence[str]
    unsupported_fmts: Sequence[str]
    supported_protocols: Sequence[str]
    unsupported_protocols: Sequence[str]
    required_fmts: Sequence[str]


def script_initialize(
    *, env: TestEnv, logger: logging.Logger = LOGGER, **supported: Unpack[Supported]
) -> None:
    """Begin a script that is not one function: log to stdout; end where it cannot run here."""
    activate_logging(logger)
    execute_setup_common(env=env, **supported)


def script_main(
    test_function: Callable[[], object],
    *,
    env: TestEnv,
    logger: logging.Logger = LOGGER,
    **supported: Unpack[Supported],
) -> None:
    """Run a script that is a function, unless it cannot run here; it logs to stdout."""
    activate_logging(logger)
    execute_test(test_function=test_function, env=env, **supported)


def main(*, env: TestEnv, **supported: Unpack[Supported]) -> None:
    """Run the cases of the main module, unless it cannot run here, and end the program."""
    execute_test(env=env, **supported)


def execute_test(
    *,
    env: TestEnv,
    test_function: Callable[[], object] | None = None,
    **supported: Unpack[Supported],
) -> None:
    """Run a function, or the cases of the main module, unless they cannot run here."""
    debug = execute_setup_common(env=env, **supported)
    if test_function is None:
        execute_unittest(sys.argv, debug=debug)
    else:
        test_function()


def execute_setup_common(
    *,
    env: TestEnv,
    supported_fmts: Sequence[str] = (),
    supported_platforms: Sequence[str] = (),
    supported_cache_modes: Sequence[str] = (),
    supported_aio_modes: Sequence[str] = (),
    unsupported_fmts: Sequence[str] = (),
    supported_protocols: Sequence[str] = (),
    unsupported_protocols: Sequence[str] = (),
    required_fmts: Sequence[str] = (),
) -> bool:
    """Take ``-d`` off the command line, set logging up, end where the script cannot run here.

    Returns whether the ``-d`` was there. Raises UsageError for protocols both supported and not.
    """
    debug = "-d" in sys.argv
    if debug:
        sys.argv.remove("-d")
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING)
    notrun.verify_image_format(supported_fmts, unsupported_fmts, env=env)
    notrun.verify_protocol(supported_protocols, unsupported_protocols, env=env)
    notrun.verify_platform(supported_platforms, env=env)
    notrun.verify_cache_mode(supported_cache_modes, env=env)
    notrun.verify_aio_mode(supported_aio_modes, env=env)
    notrun.verify_formats(required_fmts, env=env)
    notrun.verify_virtio_blk(env=env)
    return debug


def execute_unittest(
    argv: Sequence[str], *, debug: bool = False, stream: Stream | None = None
) -> None:
    """Run the cases of the main module, by name where ``debug``, and end the program.

    What is written, to stdout by default, is the same each time: see
    :class:`ReproducibleTestRunner`.
    """

    class Runner(ReproducibleTestRunner):
        def __init__(self, **options: Unpack[RunnerOptions]) -> None:
            super().__init__(stream, **options)

    unittest.main(
        argv=[*argv],
        testRunner=Runner,
        verbosity=2 if debug else 1,
        # They would come and go with the garbage collector.
        warnings=None if sys.warnoptions else "ignore",
    )


def activate_logging(logger: logging.Logger = LOGGER) -> None:
    """Write what is logged to stdout, as it is."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class Stream(Protocol):
    """What a runner writes to."""

    def write(self, text: str, /) -> object:
        """Write."""
        ...

    def flush(self) -> object:
        """Flush."""
        ...


class RunnerOptions(TypedDict, total=False):
    """What ``unittest.TextTestRunner`` takes."""

    descriptions: bool
    verbosity: int
    failfast: bool
    buffer: bool
    warnings: str | None
    tb_locals: bool


class ReproducibleTestResult(unittest.TextTestResult):
    """Shows a case that was skipped as one that passed, unless it names the cases."""

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """Note a case that was skipped."""
        unittest.TestResult.addSkip(self, test, reason)
        if self.showAll:
            self.stream.writeln(f"skipped {reason!r}")
        elif self.dots:
            self.stream.write(".")
            self.stream.flush()


class ReproducibleStreamWrapper:
    """Leaves out how long the cases took, and how many were skipped."""

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream = stream

    def __getattr__(self, name: str) -> object:
        """Return what the stream has."""
        if name == "stream":  # a copy is being made, which has nothing yet
            raise AttributeError(name)
        return getattr(self.stream, name)

    def write(self, text: str) -> None:
        """Write what is the same each time."""
        text = re.sub(r"Ran (\d+) tests? in [\d.]+s", r"Ran \1 tests", text)
        self.stream.write(re.sub(r" \(skipped=\d+\)", "", text))

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()


class ReproducibleTestRunner(unittest.TextTestRunner):
    """A runner that writes, to stdout by default, the same each time."""

    def __init__(
        self,
        stream: Stream | None = None,
        resultclass: type[unittest.TextTestResult] = ReproducibleTestResult,
        **options: Unpack[RunnerOptions],
    ) -> None:
        """Take what ``unittest.TextTestRunner`` does."""
        wrapped = ReproducibleStreamWrapper(sys.stdout if stream is None else stream)
        super().__init__(
            wrapped,
            # typeshed has a class of results take any stream, unittest always gives it its own.
            resultclass=resultclass,  # pyright: ignore[reportArgumentType]
            **options,
        )
