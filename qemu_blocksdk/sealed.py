"""Tracebacks that hold no secret.

A report with the values of local variables (``pytest -l``, rich, Sentry) shows what was passed in
and what was made of it: arguments as sent, command lines, lines of the human monitor. So an error
that leaves one of our doors takes the frames of this package along no further than the door, and
the door's own arguments are gone by then. The sentence of an error of ours says all; what is no
error of ours, and so a fault, has the lines of the frames as a note.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_OURS = __name__.partition(".")[0]


def sealed(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function, or coroutine function, as a door: see the module."""
    if inspect.iscoroutinefunction(function):
        work = cast("Callable[P, Coroutine[object, None, object]]", function)
        return cast("Callable[P, T]", _sealed_coroutine(work))

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            cut(error)
            raise
        finally:
            del args, kwargs

    return call


def _sealed_coroutine(
    function: Callable[P, Coroutine[object, None, R]],
) -> Callable[P, Coroutine[object, None, R]]:
    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            cut(error)
            raise
        finally:
            del args, kwargs

    return call


def _is_callers(trace: TracebackType | None) -> bool:
    """Whether code of others that we call back, or that we import, raised an error."""
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    name = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    return name != _OURS and name not in sys.stdlib_module_names


def cut(error: BaseException) -> None:
    """Take our frames, and those that they called, out of an error that is on its way.

    What remains is the frame that handles it, and those of others, a callback's for one.
    """
    here = error.__traceback__
    if here is not None:
        inside = here.tb_next
        here.tb_next = _less_ours(inside, below_ours=True)
        is_fault = (
            isinstance(error, Exception)
            and not type(error).__module__.startswith(_OURS)
            and not _is_callers(inside)
        )
        if is_fault and inside is not here.tb_next:
            lines = "".join(traceback.format_tb(inside, limit=-20))
            error.add_note(f"(inside {_OURS}:\n{lines})")
    seen = {id(error)}
    chained = [error.__cause__, error.__context__]
    while chained:
        each = chained.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = _less_ours(each.__traceback__, below_ours=False)
            chained += (each.__cause__, each.__context__)


def _less_ours(trace: TracebackType | None, *, below_ours: bool) -> TracebackType | None:
    kept: list[TracebackType] = []
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if module == _OURS:
            below_ours = True
        elif not (below_ours and module in sys.stdlib_module_names):
            kept.append(trace)
        trace = trace.tb_next
    below = None
    for trace in reversed(kept):
        trace.tb_next = below
        below = trace
    return below
