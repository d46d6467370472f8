"""The version gate of one connection: what the connected QEMU does not know is not sent.

A QEMU of a release that there are snapshots of is first held against those, at no cost.
Only where they object, or where there are none, is the server asked for its own schema,
which decides. So the snapshots save time and limit nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import BlockSdkError, CommandError, Unsupported, UsageError
from qemu_blocksdk.schema import Problem, Schema, snapshots
from qemu_blocksdk.schema import ServerKind as ServerKind

_asked: dict[object, Schema] = {}
"""Schemas that servers gave, by the identity of their binary: fifty daemons, one question."""


class Gate:
    """Decides whether a command goes to the server.

    ``release`` is ``(major, minor)``; ``ask`` gets the server's schema; ``binary``, where
    known, identifies the executable, so that connections to the same one share the answer.
    """

    def __init__(
        self,
        release: tuple[int, int],
        ask: Callable[[], Awaitable[Schema]],
        *,
        kind: ServerKind | None = None,
        binary: object = None,
    ) -> None:
        self._ask = ask
        self._binary = binary if binary is not None else self
        suffix = f"-{release[0]}.{release[1]}"
        self._assumed = tuple(
            name
            for name in snapshots.available()
            if name.endswith(suffix) and (kind is None or name.startswith(kind))
        )
        self._without_arguments: set[str] = set()

    def passes(self, command: str, arguments: JsonObject) -> bool:
        """Tell, without asking the server, whether the command is known to be right for it."""
        if not arguments and command in self._without_arguments:
            return True
        own = _asked.get(self._binary)
        schemas = [own] if own is not None else [snapshots.load(name) for name in self._assumed]
        fine = bool(schemas) and all(s.problem(command, arguments) is None for s in schemas)
        if fine and not arguments:
            self._without_arguments.add(command)
        return fine

    async def check(self, command: str, arguments: JsonObject) -> None:
        """Raise Unsupported or UsageError where the server would not take the command."""
        if not self.passes(command, arguments):
            problem = (await self.schema()).problem(command, arguments)
            if problem is not None:
                raise refusal(problem, arguments)

    async def explain(
        self, error: CommandError, command: str, arguments: JsonObject
    ) -> BlockSdkError:
        """Return what a refusal means: Unsupported where this build lacks what was asked for."""
        if error.error_class == "CommandNotFound" or "arameter" in error.desc:
            problem = (await self.schema()).problem(command, arguments)
            if problem is not None:
                return refusal(problem, arguments)
        return error

    async def schema(self) -> Schema:
        """Return the server's own schema; it is asked for once."""
        schema = _asked.get(self._binary)
        if schema is None:
            schema = _asked[self._binary] = await self._ask()
            self._without_arguments.clear()
        return schema

    def forget(self) -> None:
        """Drop what was kept for this connection alone."""
        _asked.pop(self, None)


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
