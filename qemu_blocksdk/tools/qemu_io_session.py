"""A running qemu-io that is asked line by line: text in, text out.

The one mechanism: after each command goes ``help`` for a word that nobody else knows, and
what is printed before qemu-io says that it has no such command is the answer. So nothing
in an answer, not even the prompt, is taken for its end. Each line is a packet of a pipe
(``O_DIRECT``), read by itself: qemu-io would leave a second line in its buffer and forget it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Sequence
from typing import NamedTuple, Self

from qemu_blocksdk.errors import DeadlineExceeded, ToolError
from qemu_blocksdk.qmp import AsyncProcess, clean_up
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.process import launch_errors

from .run import Confinement, confined

_CHUNK = 1 << 16


class Answer(NamedTuple):
    """What qemu-io printed for one command, on stdout and on stderr."""

    text: str
    complaints: str


class IoSession:
    """A qemu-io of one's own; made by :meth:`start`. Its commands run one after the other."""

    def __init__(
        self,
        process: AsyncProcess,
        stdin: int,
        stdout: int,
        confinement: Confinement | None,
    ) -> None:
        self._process = process
        self._confinement = confinement
        self._stdin = stdin
        self._stdout = stdout
        self._word = f"blocksdk-{secrets.token_hex(8)}"
        self._end = f"command {self._word} not found\n".encode()
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._received = bytearray()
        self._prompt = b""
        self._late = b""
        self._complained = 0
        self._is_open = True
        self._killed_for: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(stdout, self._receive)
        self._watch = asyncio.ensure_future(process.wait())
        self._watch.add_done_callback(lambda _: self._news.set())

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        timeout: float,
        pass_fds: Sequence[int] = (),
        confinement: Confinement | None = None,
    ) -> Self:
        """Start the program and wait until it asks for a command.

        Raises LaunchError, DeadlineExceeded, ToolError when it ends instead, SandboxUnavailable.
        """
        with (
            launch_errors(argv),
            contextlib.ExitStack() as on_failure,
            contextlib.ExitStack() as in_any_case,
        ):
            stdin, our_stdin = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
            in_any_case.callback(os.close, stdin)
            on_failure.callback(os.close, our_stdin)
            our_stdout, stdout = os.pipe2(os.O_CLOEXEC)
            in_any_case.callback(os.close, stdout)
            on_failure.callback(os.close, our_stdout)
            os.set_blocking(our_stdout, False)
            process = await AsyncProcess.spawn(
                argv,
                stdin=stdin,
                stdout=stdout,
                ends_itself=True,
                **confined(confinement, argv[:1], pass_fds=pass_fds),
            )
            on_failure.pop_all()
        session = cls(process, our_stdin, our_stdout, confinement)
        async with within(timeout, "qemu-io to be ready"):
            prompt = await session._told([])
        session._prompt = prompt.rpartition(b"\n")[2]
        session._complained = len(process.output())
        return session

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line, less its secrets."""
        return self._process.argv

    async def ask(self, line: str, *, timeout: float) -> Answer:
        """Have a command carried out; return the answer.

        Raises DeadlineExceeded, ToolError when qemu-io has ended; it has ended as well when
        the time was up or the caller was cancelled.
        """
        try:
            async with within(timeout, f"qemu-io, asked to {line!r}"), self._turn:
                return await self._answer(line)
        except DeadlineExceeded as error:
            if isinstance(self._killed_for, asyncio.CancelledError):
                self._killed_for = error  # what it was cancelled for
            raise

    async def _answer(self, line: str) -> Answer:
        if not self._is_open:
            raise self.failure("has ended") from self._killed_for
        told = await self._told([line])
        # What is printed between the prompt and the next command is late news of others.
        answer, _, late = told.removeprefix(self._prompt).rpartition(self._prompt)
        text, self._late = self._late + answer, late
        words = self._process.output()
        complaints, self._complained = words[self._complained :], len(words)
        return Answer(text.decode(errors="surrogateescape"), self._shown(complaints))

    async def _told(self, lines: Sequence[str]) -> bytes:
        """Send the lines; return what comes from the end of the last answer to that of theirs."""
        try:
            self._send(*lines, f"help {self._word}")
            return await self._until_end()
        except (asyncio.CancelledError, ToolError) as error:
            self._killed_for = error
            await clean_up(self.kill())
            raise

    def _send(self, *lines: str) -> None:
        # Without a reader it has ended, which is told where the answer is waited for.
        with contextlib.suppress(BrokenPipeError):
            for line in lines:
                os.write(self._stdin, os.fsencode(line) + b"\n")

    async def _until_end(self) -> bytes:
        while (end := self._received.find(self._end)) < 0:
            if self._process.exit_status is not None:
                raise self.failure("ended")
            self._news.clear()
            await self._news.wait()
        told = bytes(self._received[:end])
        del self._received[: end + len(self._end)]
        return told

    def failure(self, what: str) -> ToolError:
        """Return the error that tells of the end of qemu-io."""
        words = self._process.output() + self._received.decode(errors="replace")
        status = self._process.exit_status
        if self._confinement is not None and status is not None:
            what = self._confinement.limits.exceeded(status) or what
        return ToolError(self.argv, exit_status=status, output=self._shown(words), what=what)

    def _shown(self, text: str) -> str:
        return text if self._confinement is None else self._confinement.with_users_names(text)

    def _receive(self) -> None:
        """Take what is there; wake who waits for it when that is the end of an answer."""
        data = os.read(self._stdout, _CHUNK)
        if not data:
            self._loop.remove_reader(self._stdout)
        start = max(0, len(self._received) - len(self._end))
        self._received += data
        if self._received.find(self._end, start) >= 0:
            self._news.set()

    async def close(self, *, timeout: float) -> None:
        """End it (``quit``), ``timeout`` seconds later by force. May be repeated.

        Raises DeadlineExceeded when it took force, ToolError when a signal had ended it and
        nobody knew.
        """
        try:
            async with within(timeout, f"the end of {self.argv[0]}"), self._turn:
                if self._is_open:
                    self._send("quit")
                    # The status itself tells nothing: our own `help` counts as a failure.
                    if await self._process.wait() < 0:
                        raise self.failure("ended")
        finally:
            await clean_up(self.kill())

    async def kill(self) -> None:
        """End it by force, if it still runs, and let go of what it had open here."""
        if self._is_open:
            self._is_open = False
            await self._process.kill()
            await self._watch
            self._loop.remove_reader(self._stdout)
            os.close(self._stdin)
            os.close(self._stdout)
