"""A session of qemu-io in which answers are understood, and requests that end later are kept."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator
from typing import Protocol, TypeVar

from qemu_blocksdk.codec import masked
from qemu_blocksdk.errors import ToolError

from .qemu_io import IoFailure, IoResult, Request
from .qemu_io_answers import report, without_asides
from .qemu_io_session import Answer

T = TypeVar("T")
Parse = Callable[[str], T | None]
"""Returns what an answer on stdout means, None for that of a command that failed."""

_REMARK = re.compile(r"^\S+: (?:warning|info): .*\n", re.MULTILINE)


class Asked(Protocol):
    """A qemu-io, or a QEMU in its place, that is told a line and answers."""

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line that errors tell."""
        ...

    async def ask(self, line: str, *, timeout: float) -> Answer:
        """Have a command carried out; return the answer."""
        ...


class IoDialog:
    """Has commands carried out, ``timeout`` seconds each unless told otherwise.

    All raise ToolError with qemu-io's words, of the ``subject``, after which it goes on, and as
    the ``ask`` of the session, after which it may not.
    """

    def __init__(self, session: Asked, *, timeout: float, subject: str = "") -> None:
        self._session = session
        self._timeout = timeout
        self._subject = subject
        self._start = time.monotonic()
        self._under_way: list[Request] = []
        self._ended: list[IoResult | IoFailure] = []

    async def raw(self, line: str, *, timeout: float | None = None) -> str:
        """Return all that was printed; whether the command failed is not looked at."""
        answer = await self._ask(line, timeout)
        if self._under_way:
            with self._reading(line, answer):
                self._without_asides(line, answer)
        return answer.complaints + answer.text

    async def request(self, request: Request) -> IoResult:
        """Have a request carried out; it succeeded when there is a report of it."""
        answer = await self._ask(request.line)
        with self._reading(request.line, answer):
            text = self._without_asides(request.line, answer)
            value = report(text, request)
        return self._understood(request.line, answer, text, value)

    async def told(self, line: str, parse: Parse[T], *, timeout: float | None = None) -> T:
        """Return what the answer means; a complaint on stderr is a failure, too."""
        answer = await self._ask(line, timeout)
        with self._reading(line, answer):
            text = self._without_asides(line, answer)
            is_fine = not _REMARK.sub("", answer.complaints)
            value = parse(text) if is_fine else None
        return self._understood(line, answer, text, value)

    async def done(self, line: str, *, timeout: float | None = None) -> None:
        """Have a command carried out that prints nothing unless it fails."""
        await self.told(line, lambda text: None if text else True, timeout=timeout)

    async def begin(self, request: Request) -> None:
        """Start an asynchronous request."""
        await self.done(request.line)
        self._under_way.append(request)

    async def finish_all(self) -> tuple[IoResult | IoFailure, ...]:
        """Wait for all asynchronous requests; return what became of them since the last time."""
        await self.done("aio_flush")
        self._under_way.clear()
        ended, self._ended = tuple(self._ended), []
        return ended

    async def _ask(self, line: str, timeout: float | None = None) -> Answer:
        limit = self._timeout if timeout is None else timeout
        return await self._session.ask(line, timeout=limit)

    def _without_asides(self, line: str, answer: Answer) -> str:
        """Keep what asynchronous requests said; return the rest, the command's own answer."""
        text, own = answer.text, ""
        if line.startswith("readv "):
            # It fails in the words of an aio_read, but its own are the last.
            start = text.rfind("\n", 0, -1) + 1
            text, own = text[:start], text[start:]
        age = time.monotonic() - self._start
        text, ended = without_asides(text, self._under_way, age=age)
        self._ended += ended
        return text + own

    @contextlib.contextmanager
    def _reading(self, line: str, answer: Answer) -> Generator[None]:
        """Have numbers that are none, in an answer that looks as it should, be a failure."""
        try:
            yield
        except (ValueError, LookupError, ArithmeticError) as error:
            raise self.failure(line, answer.complaints + answer.text) from error

    def _understood(self, line: str, answer: Answer, text: str, value: T | None) -> T:
        if value is None:
            raise self.failure(line, answer.complaints + text)
        return value

    def failure(self, line: str, words: str) -> ToolError:
        """Return the error of a command that failed."""
        error = ToolError(
            self._session.argv,
            exit_status=None,
            output=masked(words),
            what=f"failed at {masked(line)!r}",
        )
        error.subject = self._subject
        return error
