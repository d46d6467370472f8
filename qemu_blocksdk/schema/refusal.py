"""What a problem means to whoever asked: the error, and which snapshots would not raise it."""

from __future__ import annotations

from collections.abc import Mapping

from qemu_blocksdk.errors import BlockSdkError, Unsupported, UsageError

from . import snapshots
from .check import Problem


def refusal(
    problem: Problem, arguments: Mapping[str, object], *, where: str | None = None
) -> BlockSdkError:
    """Return the error that says why arguments are not sent: Unsupported or UsageError.

    ``where`` is how to name the place, if not by command and members.
    """
    where = where or problem.where
    known: tuple[str, ...] = ()
    if problem.kind not in ("type", "missing"):
        known = tuple(name for name in snapshots.available() if _known(name, problem, arguments))
    if problem.kind in ("type", "missing") or (problem.kind == "value" and not known):
        return UsageError(f"{where}: {problem.what}")
    return Unsupported(_missing(problem, where), available_in=known)


def _known(snapshot: str, problem: Problem, arguments: Mapping[str, object]) -> bool:
    other = snapshots.load(snapshot).problem(problem.path[0], arguments)
    # One that lacks the command lacks the member of it as well.
    return other is None or (other.kind != "command" and other.path != problem.path)


def _missing(problem: Problem, where: str) -> str:
    if problem.kind == "command":
        return f"command {problem.path[0]!r}"
    what = f"member {problem.path[-1]!r}" if problem.kind == "member" else repr(problem.found)
    return f"{what} ({where})"
