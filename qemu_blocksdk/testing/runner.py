"""Run a file of tests as a program, as a script or with unittest; its output is reproducible.

``notrun`` checks whether it can run here; ``text`` logs.
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
    """The formats, protocols, ... of a script, as the functions of ``notrun`` take them."""

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
    """Begin a script without a main function: log to stdout, end it if it cannot run here."""
    activate_logging(logger)
    execute_setup_common(env=env, **supported)


def script_main(
    test_function: Callable[[], object],
    *,
    env: TestEnv,
    logger: logging.Logger = LOGGER,
    **supported: Unpack[Supported],
) -> None:
    """Run the main function of a script if it can run here; log to stdout."""
    activate_logging(logger)
    execute_test(test_function=test_function, env=env, **supported)


def main(*, env: TestEnv, **supported: Unpack[Supported]) -> None:
    """Run the cases of the main module if they can run here, and end the program."""
    execute_test(env=env, **supported)


def execute_test(
    *,
    env: TestEnv,
    test_function: Callable[[], object] | None = None,
    **supported: Unpack[Supported],
) -> None:
    """Run a function, or the cases of the main module, if they can run here."""
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
    """Remove ``-d`` from the command line, set up logging, end a script that cannot run here.

    Returns whether there was a ``-d``. Raises UsageError for protocols both supported and not.
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
    """Run the cases of the main module, by name with ``debug``, and end the program.

    The output, by default to stdout, is the same in each run: see :class:`ReproducibleTestRunner`.
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
    """Write log messages to stdout, unchanged."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class Stream(Protocol):
    """The methods of a stream that a runner writes to."""

    def write(self, text: str, /) -> object:
        """Write."""
        ...

    def flush(self) -> object:
        """Flush."""
        ...


class RunnerOptions(TypedDict, total=False):
    """The options of ``unittest.TextTestRunner``."""

    descriptions: bool
    verbosity: int
    failfast: bool
    buffer: bool
    warnings: str | None
    tb_locals: bool


class ReproducibleTestResult(unittest.TextTestResult):
    """Reports a skipped case like a passed one, unless it prints the names of cases."""

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """Count a skipped case."""
        unittest.TestResult.addSkip(self, test, reason)
        if self.showAll:
            self.stream.writeln(f"skipped {reason!r}")
        elif self.dots:
            self.stream.write(".")
            self.stream.flush()


class ReproducibleStreamWrapper:
    """Removes the time and the number of skipped cases from the output."""

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream = stream

    def __getattr__(self, name: str) -> object:
        """Return an attribute of the stream."""
        if name == "stream":  # a copy is being made, which has nothing yet
            raise AttributeError(name)
        return getattr(self.stream, name)

    def write(self, text: str) -> None:
        """Write a text without what differs from run to run."""
        text = re.sub(r"Ran (\d+) tests? in [\d.]+s", r"Ran \1 tests", text)
        self.stream.write(re.sub(r" \(skipped=\d+\)", "", text))

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()


class ReproducibleTestRunner(unittest.TextTestRunner):
    """A runner whose output, by default to stdout, is the same in each run."""

    def __init__(
        self,
        stream: Stream | None = None,
        resultclass: type[unittest.TextTestResult] = ReproducibleTestResult,
        **options: Unpack[RunnerOptions],
    ) -> None:
        """Take the options of ``unittest.TextTestRunner``."""
        wrapped = ReproducibleStreamWrapper(sys.stdout if stream is None else stream)
        super().__init__(
            wrapped,
            # typeshed has a class of results take any stream, unittest always gives it its own.
            resultclass=resultclass,  # pyright: ignore[reportArgumentType]
            **options,
        )
