"""Decorators for unittest that skip a case and report that to the runner (``notrun``).

The environment is the attribute ``env`` of the case, unless it is given.
"""

from __future__ import annotations

import functools
import os
import unittest
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar, overload

from qemu_blocksdk.errors import UsageError

from .env import TestEnv
from .notrun import case_notrun, missing_formats

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=unittest.TestCase)


@overload
def skip_if_unsupported(
    required_formats: Sequence[str] = (), *, read_only: bool = False, env: TestEnv | None = None
) -> Callable[[Callable[Concatenate[C, P], R]], Callable[Concatenate[C, P], R]]: ...
@overload
def skip_if_unsupported(
    required_formats: Callable[[C], Sequence[str]],
    *,
    read_only: bool = False,
    env: TestEnv | None = None,
) -> Callable[[Callable[Concatenate[C, P], R]], Callable[Concatenate[C, P], R]]: ...
def skip_if_unsupported(
    required_formats: Sequence[str] | Callable[[C], Sequence[str]] = (),
    *,
    read_only: bool = False,
    env: TestEnv | None = None,
) -> Callable[[Callable[Concatenate[C, P], R]], Callable[Concatenate[C, P], R]]:
    """Skip a case unless the emulator has all these drivers, to be written or ``read_only``.

    They are a list, or what a function of the case returns. The case raises UsageError where
    it has no environment.
    """

    def reason(case: C, env: TestEnv) -> str | None:
        names = required_formats(case) if callable(required_formats) else required_formats
        missing = missing_formats(names, env=env, read_only=read_only)
        return f"formats {missing} are not whitelisted" if missing else None

    return _skip(reason, env)


def skip_for_formats(
    formats: Sequence[str] = (), *, env: TestEnv | None = None
) -> Callable[[Callable[Concatenate[C, P], R]], Callable[Concatenate[C, P], R]]:
    """Skip a case for these image formats. It raises UsageError without an environment."""

    def reason(_: C, env: TestEnv) -> str | None:
        return f"Skipped for format {env.imgfmt}" if env.imgfmt in formats else None

    return _skip(reason, env)


def skip_if_user_is_root(
    function: Callable[Concatenate[C, P], R],
) -> Callable[Concatenate[C, P], R | None]:
    """Skip a case for root; it counts as passed. It raises UsageError without an environment."""

    @functools.wraps(function)
    def left_out_for_root(case: C, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        if os.getuid() == 0:
            case_notrun(f"{case}: cannot be run as root", env=_env_of(case))
            return None
        return function(case, *args, **kwargs)

    return left_out_for_root


def _skip(
    reason: Callable[[C, TestEnv], str | None], given: TestEnv | None
) -> Callable[[Callable[Concatenate[C, P], R]], Callable[Concatenate[C, P], R]]:
    def decorated(function: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
        @functools.wraps(function)
        def skipped(case: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
            env = given or _env_of(case)
            if (why := reason(case, env)) is not None:
                case_notrun(f"{case}: {why}", env=env)
                case.skipTest(f"{case}: {why}")
            return function(case, *args, **kwargs)

        return skipped

    return decorated


def _env_of(case: unittest.TestCase) -> TestEnv:
    env: object = getattr(case, "env", None)
    if not isinstance(env, TestEnv):
        raise UsageError(f"{case} has no TestEnv: neither as its env, nor given to the decorator")
    return env
