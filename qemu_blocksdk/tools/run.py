"""Running a tool to its end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import pathlib
import re
import shlex
import signal
import weakref
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import TypedDict

from qemu_blocksdk.codec import (
    JsonObject,
    JsonValue,
    Secret,
    Value,
    masked,
    masked_args,
    secrets_in_args,
)
from qemu_blocksdk.errors import DeadlineExceeded, ToolError, Unsupported, UsageError
from qemu_blocksdk.qmp import AsyncProcess, Sandbox, clean_up
from qemu_blocksdk.qmp.deadline import Deadline, Limit, within
from qemu_blocksdk.qmp.process import launch_errors
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.terminal import escaped

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_CHUNK = 1 << 16
_LONGEST_STDERR = 1 << 20
_LACKING = re.compile(r"(?:unrecognized option '(-[^'=]+)|invalid option -- '(.))")
_log = logging.getLogger("qemu_blocksdk.tools")
_questions = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]()


class Limits(Value):
    """What a tool may use: bytes of memory and of output, seconds of processor time, threads.

    None is no limit. ``cpu_time_per_gib`` is added for each GiB of the files that it reads. The
    kernel counts threads by user, and not those of root.
    """

    memory: int | None = 1 << 30
    output: int | None = 64 << 20
    cpu_time: int | None = 10
    cpu_time_per_gib: int = 0
    threads: int | None = 256

    def argv(self) -> list[str]:
        """Return the words to put before a command line (``prlimit`` of util-linux)."""
        kinds = {
            # Not the address space, of which each thread reserves much that it never uses.
            "data": self.memory,
            "fsize": self.output,
            # At the first number SIGXCPU, which tells why; at the second SIGKILL.
            "cpu": None if self.cpu_time is None else f"{self.cpu_time}:{self.cpu_time + 1}",
            "nproc": self.threads,
            "core": 0,
        }
        given = [f"--{kind}={limit}" for kind, limit in kinds.items() if limit is not None]
        return ["prlimit", *given]

    def exceeded(self, exit_status: int) -> str:
        """Return which limit ended a tool with that exit status; empty for none."""
        return {
            -signal.SIGXCPU: f"used up its {self.cpu_time} s of processor time",
            -signal.SIGXFSZ: f"wrote more than its {self.output} bytes",
        }.get(exit_status, "")

    def for_files(self, size: int) -> Limits:
        """Return the limits for files that take ``size`` bytes of disk."""
        if self.cpu_time is None:
            return self
        more = size * self.cpu_time_per_gib >> 30
        return self.evolve(cpu_time=self.cpu_time + more)


class Confinement(Value):
    """What a tool is confined to: files that are open, paths to write, limits.

    ``names`` has the users' names of the files, by those that the tool gets. The kernel enforces
    that nothing else is opened, unless that ``is_unenforced``.
    """

    descriptors: Sequence[int]
    names: Mapping[str, str]
    written: Sequence[Path] = ()
    limits: Limits
    is_unenforced: bool = False

    def with_users_names(self, text: str) -> str:
        """Return what a tool said with the users' names of the files."""
        for name, users in self.names.items():
            text = re.sub(rf"{re.escape(name)}(?!\d)", lambda _: users, text)  # noqa: B023
        return text

    def with_users_filenames(self, value: JsonValue) -> JsonValue:
        """Return JSON of a tool in which each ``filename`` is the user's."""
        if isinstance(value, Mapping):
            return {
                key: self._users_filename(inner)
                if key == "filename" and isinstance(inner, str)
                else self.with_users_filenames(inner)
                for key, inner in value.items()
            }
        if isinstance(value, str | int | float | None):
            return value
        return [self.with_users_filenames(inner) for inner in value]

    def _users_filename(self, name: str) -> str:
        # QEMU writes options in its own way where no name has all of them.
        for own, users in self.names.items():
            if name == own or (name.startswith("json:") and f'"{own}"' in name):
                return users
        return name


class Completed(Value):
    """A tool that has ended: its exit status and what it printed, the first MiB of stderr.

    ``confinement`` is what it was confined to. In JSON it changes the names of files to the users'.
    """

    argv: tuple[str, ...]
    exit_status: int
    stdout: str
    stderr: str
    confinement: Confinement | None = None

    def json(self) -> JsonValue:
        """Return stdout as JSON. Raises ToolError when it is none."""
        try:
            value: JsonValue = json.loads(self.stdout)
            if self.confinement is not None:
                value = self.confinement.with_users_filenames(value)
        except (ValueError, RecursionError) as error:
            raise self.failure("printed no JSON") from error
        return value

    def json_object(self) -> JsonObject:
        """Return stdout as a JSON object. Raises ToolError when it is none."""
        value = self.json()
        if not isinstance(value, Mapping):
            raise self.failure("printed JSON of another form")
        return value

    def failure(self, what: str = "failed", *, known: Iterable[str] = ()) -> ToolError:
        """Return the error that tells of this end, in at most 64 Ki characters of the tool's.

        ``known`` are secrets that it may quote.
        """
        if self.confinement is not None:
            what = self.confinement.limits.exceeded(self.exit_status) or what
        words = self.stderr if self.stderr.strip() else self.stdout
        words = masked(words[: 2 * _CHUNK], known=known)[:_CHUNK]  # no secret is cut in two
        return ToolError(self.argv, exit_status=self.exit_status, output=words, what=what)


class SpawnArguments(TypedDict):
    """Arguments of ``AsyncProcess.spawn`` that confine a program, or do not."""

    pass_fds: Sequence[int]
    under: Sequence[str]
    sandbox: Sandbox | None


def confined(
    confinement: Confinement | None, program: Sequence[str], *, pass_fds: Sequence[int] = ()
) -> SpawnArguments:
    """Return how a program is started, of which ``program`` are the first words."""
    if confinement is None:
        return {"pass_fds": pass_fds, "under": [], "sandbox": None}
    under = confinement.limits.argv()
    sandbox = Sandbox(
        programs=[*program, under[0]],
        files=confinement.descriptors,
        written=[os.fsdecode(path) for path in confinement.written],
    )
    return {
        "pass_fds": [*pass_fds, *confinement.descriptors],
        "under": under,
        "sandbox": None if confinement.is_unenforced else sandbox,
    }


@sealed
async def run(
    command: Sequence[str],
    arguments: Sequence[str] = (),
    *,
    timeout: Limit = None,
    accept: Collection[int] = (0,),
    secrets: Mapping[str, Secret] | None = None,
    pass_fds: Sequence[int] = (),
    confinement: Confinement | None = None,
    on_output: Callable[[bytes], None] | None = None,
    merged: bool = False,
) -> Completed:
    """Run a tool until it ends, until ``timeout`` at most.

    ``secrets``, by their ids, are handed over as ``--object``, between the ``command``
    (``qemu-img create``) and its ``arguments``. ``on_output`` is shown stdout as it comes;
    ``merged`` has stderr in it, in the order in which the tool writes. With a ``confinement``
    the tool can open nothing else.

    The tool is ended when the time is up or the caller is cancelled. Raises LaunchError,
    DeadlineExceeded, ToolError for an exit status that is not in ``accept``, Unsupported
    for an option that the tool does not have, SandboxUnavailable.
    """
    with contextlib.ExitStack() as held:
        with launch_errors(command):
            stdout = _Kept() if on_output is None else _Shown(on_output)
            held.enter_context(contextlib.closing(stdout))
            objects, fds = held.enter_context(handed_over(secrets or {}))
        words = [*command, *objects, *arguments]
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s", escaped(shlex.join(masked_args(words))))
        process = await AsyncProcess.spawn(
            words,
            stdout=stdout.child_end,
            stderr=stdout.child_end if merged else None,
            ends_itself=True,
            **confined(confinement, command, pass_fds=(*fds, *pass_fds)),
        )
        try:
            async with within(timeout, f"the end of {command[0]}"):
                status = await process.wait()
        except (asyncio.CancelledError, DeadlineExceeded):
            await clean_up(process.kill())
            raise
        stderr = process.output(length=_LONGEST_STDERR)
        done = Completed(
            argv=process.argv,
            exit_status=status,
            stdout=stdout.read().decode(errors="surrogateescape"),
            stderr=stderr if confinement is None else confinement.with_users_names(stderr),
            confinement=confinement,
        )
    _log.debug("%s: exit status %d", escaped(command[0]), status)
    if status not in accept:
        lacking = _LACKING.search(done.stderr)
        if lacking is not None:
            name = " ".join(word.rpartition("/")[2] for word in command)
            raise Unsupported(f"option {lacking[1] or '-' + lacking[2]} of {name}")
        raise done.failure(known=secrets_in_args(words))
    return done


@sealed
async def ask(
    command: Sequence[str],
    arguments: Sequence[str] = (),
    *,
    timeout: float | None,
    accept: Collection[int] = (0,),
    secrets: Mapping[str, Secret] | None = None,
    pass_fds: Sequence[int] = (),
    confinement: Confinement | None = None,
) -> Completed:
    """Run a tool that looks and tells; no more at once than there are processors.

    The time limit counts from here, not from its turn. Raises as :func:`run`.
    """
    deadline = Deadline(timeout)
    loop = asyncio.get_running_loop()
    turn = _questions.get(loop)
    if turn is None:
        turn = _questions[loop] = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    name = command[0].rpartition("/")[2]
    async with within(deadline, f"the turn of {name}"):
        await turn.acquire()
    try:
        return await run(
            *(command, arguments),
            timeout=deadline,
            accept=accept,
            secrets=secrets,
            pass_fds=pass_fds,
            confinement=confinement,
        )
    finally:
        turn.release()


def renamed(error: ToolError, *names: str, to: str) -> ToolError:
    """Return the error with the name that the caller knows, in place of the tool's."""
    words = error.output
    for name in names:
        words = words.replace(name, to)
    return ToolError(error.argv, exit_status=error.exit_status, output=words, what=error.what)


@contextlib.contextmanager
def handed_over(secrets: Mapping[str, Secret]) -> Generator[tuple[list[str], list[int]]]:
    """Give the options that define the secrets, and the descriptors to pass on for them."""
    fds: list[int] = []
    objects: list[str] = []
    try:
        for secret_id, secret in secrets.items():
            fd = moved(os.memfd_create("secret", os.MFD_CLOEXEC))
            fds.append(fd)
            os.write(fd, secret.reveal())
            objects += ["--object", f"secret,id={secret_id},file=/dev/fd/{fd}"]
        yield objects, fds
    finally:
        for fd in fds:
            os.close(fd)


def moved(descriptor: int) -> int:
    """Give a descriptor another number than 3, where a server finds its socket."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 4)
    finally:
        os.close(descriptor)


def as_file(path: Path) -> str:
    """Return the absolute path, which no tool takes for an option or a protocol (``nbd:x``).

    An image would also look for a relative backing file in its own folder, not here. Bytes
    that are not UTF-8 stay what they are (``os.fsdecode``). Raises UsageError for no name.
    """
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise UsageError(f"{name!r} is no name of a file: it is empty or has a NUL character")
    return str(as_path(name).absolute())


def as_path(path: Path) -> pathlib.Path:
    """Return the path as an object, whatever it was given as."""
    return pathlib.Path(os.fsdecode(path))


class _Kept:
    """A child's stdout in memory, where nobody has to look before the end."""

    def __init__(self) -> None:
        self.child_end = os.memfd_create("stdout", os.MFD_CLOEXEC)

    def read(self) -> bytes:
        """Return all that the child printed, once it has ended."""
        return os.pread(self.child_end, os.fstat(self.child_end).st_size, 0)

    def close(self) -> None:
        os.close(self.child_end)


class _Shown:
    """A child's stdout, shown as it comes."""

    def __init__(self, on_output: Callable[[bytes], None]) -> None:
        self._on_output = on_output
        self._our_end, self.child_end = os.pipe()
        os.set_blocking(self._our_end, False)
        asyncio.get_running_loop().add_reader(self._our_end, self._receive)

    def _receive(self) -> bool:
        """Show what is there; tell whether more may be."""
        with contextlib.suppress(BlockingIOError):
            self._on_output(os.read(self._our_end, _CHUNK))
            return True
        return False

    def read(self) -> bytes:
        """Show the rest, once the child has ended; nothing is kept."""
        while self._receive():  # no end of file: our copy of the child's end is open
            pass
        return b""

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._our_end)
        os.close(self._our_end)
        os.close(self.child_end)
