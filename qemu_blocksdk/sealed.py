"""Tracebacks that hold no secret.

A report with the values of local variables (``pytest -l``, rich, Sentry) shows what was passed in
and what was made of it: arguments as sent, command lines, lines of the human monitor. So an error
that leaves one of our doors takes the frames of this package along no further than the door, and
the door's own arguments are gone by then. The sentence of an error of ours says all; what is no
error of ours, and so a fault, has the lines of the frames as a note. Errors of Python in the chain
lose the text or object that they are about.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from types import FunctionType, TracebackType
from typing import ParamSpec, TypeVar, cast

from .redaction import masked

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C", bound=type)

_OURS = __name__.partition(".")[0]
_SPECIAL = frozenset(
    (
        *("__init__", "__enter__", "__exit__", "__next__"),
        *("__aenter__", "__aexit__", "__anext__"),
    )
)


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


def sealed_class(cls: C) -> C:
    """Make doors of all that a class of ours offers, also of what it has from its bases."""
    members: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if _is_ours(base.__module__):
            members.update(vars(base))
    seal(cls, members)
    return cls


def seal(cls: type, members: Mapping[str, object]) -> None:
    """Make doors of these members of a class that others call.

    Not of what takes no arguments worth hiding: properties, asynchronous generators.
    """
    if not _is_ours(cls.__module__):
        return
    for name, member in members.items():
        if name[0] == "_" and name not in _SPECIAL:
            continue
        is_bound = isinstance(member, classmethod)
        function: object = member
        if is_bound:
            function = cast("classmethod[object, ..., object]", member).__func__
        if not isinstance(function, FunctionType) or is_door(function):
            continue
        if not inspect.isasyncgenfunction(function):
            door = sealed(function)
            setattr(cls, name, classmethod(door) if is_bound else door)


def is_door(function: Callable[..., object]) -> bool:
    """Whether a function is sealed."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == sealed.__code__.co_filename


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == _OURS


def _is_library(trace: TracebackType) -> bool:
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_callers(trace: TracebackType | None) -> bool:
    """Whether code of others that we call back, or that we import, raised an error."""
    last = next((each for each in reversed([*entries(trace)]) if not _is_library(each)), None)
    return last is not None and not _is_frame_ours(last)


def cut(error: BaseException) -> None:
    """Take our frames, and those that they called, out of an error that is on its way.

    What remains is the frame that handles it, and those of others, a callback's for one.
    """
    here = error.__traceback__
    if here is not None:
        inside = here.tb_next
        _empty(error, inside)
        here.tb_next = _less_ours(inside, below_ours=True)
        is_fault = (
            isinstance(error, Exception)
            and not _is_ours(type(error).__module__)
            and not _is_callers(inside)
            and not (isinstance(error, AssertionError) and error.args)  # on purpose
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
            _empty(each, each.__traceback__)
            each.__traceback__ = _less_ours(each.__traceback__, below_ours=False)
            chained += (each.__cause__, each.__context__)


def _empty(error: BaseException, trace: TracebackType | None) -> None:
    """Take out of an error of Python that was raised by us what it holds beside its sentence."""
    is_from_here = any(_is_frame_ours(each) for each in entries(trace))
    if _is_ours(type(error).__module__) or not is_from_here or _is_callers(trace):
        return
    about: object = getattr(error, "object", None)  # of UnicodeError, in its arguments as well
    nothing = about[:0] if isinstance(about, str | bytes) else None
    error.args = tuple(
        nothing if each is about else masked(each) if isinstance(each, str) else each
        for each in error.args
    )
    for name, empty in (("object", nothing), ("doc", ""), ("obj", None)):
        if getattr(error, name, None) is not None:
            setattr(error, name, empty)


def entries(trace: TracebackType | None) -> Iterator[TracebackType]:
    """Yield the entries of a traceback, the outermost first."""
    while trace is not None:
        yield trace
        trace = trace.tb_next


def linked(kept: Sequence[TracebackType]) -> TracebackType | None:
    """Make a traceback of entries, in place; return its outermost entry."""
    below = None
    for each in reversed(kept):
        each.tb_next = below
        below = each
    return below


def _is_frame_ours(trace: TracebackType) -> bool:
    return _is_ours(str(trace.tb_frame.f_globals.get("__name__", "")))


def _less_ours(trace: TracebackType | None, *, below_ours: bool) -> TracebackType | None:
    kept: list[TracebackType] = []
    for each in entries(trace):
        if _is_frame_ours(each):
            below_ours = True
        elif not (below_ours and _is_library(each)):
            kept.append(each)
    return linked(kept)
