"""The version gate: refuse commands and arguments that the connected QEMU does not know.

A command is first checked against the schema snapshots of the QEMU release that the greeting
names, without I/O. Only where they object, or where there are none, QEMU is asked for its own
schema, which decides. So the snapshots save time and never forbid anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import BlockSdkError, CommandError, Unsupported
from qemu_blocksdk.schema import Schema, snapshots
from qemu_blocksdk.schema import ServerKind as ServerKind
from qemu_blocksdk.schema.refusal import refusal

_DRIVER = re.compile(r"Unknown driver ('.*')")
_asked: dict[object, Schema] = {}
"""Schemas of servers, by the identity of their binary: fifty daemons are asked once."""


class Gate:
    """Decides whether a command is sent.

    ``release`` is ``(major, minor)``; ``ask`` fetches the server's schema; ``binary``, where
    known, identifies the executable, so that all connections to it share one schema.
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
        self._question: asyncio.Future[Schema] | None = None

    def passes(self, command: str, arguments: JsonObject) -> bool:
        """Return whether the server is known to accept the command; no I/O."""
        if not arguments and command in self._without_arguments:
            return True
        own = _asked.get(self._binary)
        schemas = [own] if own is not None else [snapshots.load(name) for name in self._assumed]
        fine = bool(schemas) and all(s.problem(command, arguments) is None for s in schemas)
        if fine and not arguments:
            self._without_arguments.add(command)
        return fine

    async def check(self, command: str, arguments: JsonObject) -> None:
        """Raise Unsupported or UsageError where the server would not accept the command."""
        if not self.passes(command, arguments):
            problem = (await self.schema()).problem(command, arguments)
            if problem is not None:
                raise refusal(problem, arguments)

    async def explain(
        self, error: CommandError, command: str, arguments: JsonObject
    ) -> BlockSdkError | None:
        """Return a more precise error for a CommandError of QEMU; None where there is none.

        That is Unsupported where this build of QEMU lacks a command, a member or a driver.
        """
        if driver := _DRIVER.fullmatch(error.desc):
            # QEMU 7.2 and 10.0: the storage daemon's schema has blkreplay, which it lacks.
            return Unsupported(f"driver {driver[1]}")
        if error.error_class == "CommandNotFound" or "arameter" in error.desc:
            problem = (await self.schema()).problem(command, arguments)
            if problem is not None:
                return refusal(problem, arguments)
        return None

    async def schema(self) -> Schema:
        """Return the server's own schema, which is fetched once.

        The fetch continues when the caller is cancelled or reaches its deadline, so that a later
        command finds the schema.
        """
        schema = _asked.get(self._binary)
        if schema is None:
            if self._question is None:
                self._question = asyncio.ensure_future(self._ask())
                self._question.add_done_callback(self._on_answer)
            schema = await asyncio.shield(self._question)
        return schema

    def _on_answer(self, question: asyncio.Future[Schema]) -> None:
        self._question = None
        if not question.cancelled() and question.exception() is None:
            _asked[self._binary] = question.result()
            self._without_arguments.clear()

    def forget(self) -> None:
        """Drop the schema that was kept for this connection alone."""
        if self._question is not None:
            self._question.cancel()
        _asked.pop(self, None)
