"""The report of a failed test: state, output, jobs, block graph and QMP messages of its programs.

A :class:`Recorder` receives the QMP messages, so that they are known also of a QEMU that has ended.
A QEMU that runs is queried for the rest, with a short time limit. Nothing here raises, and texts
are cut. The messages have no secrets: the connections replace them.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
import textwrap
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from qemu_blocksdk.codec import JsonObject, JsonValue, Value
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.objects import AsyncQemu
from qemu_blocksdk.qmp import OnMessage, background_loop
from qemu_blocksdk.terminal import escaped

from .text import to_text

if TYPE_CHECKING:
    from qemu_blocksdk.blocking import NbdServer, Qemu
    from qemu_blocksdk.objects import AsyncNbdServer
    from qemu_blocksdk.qmp import AsyncProcess

_QUERY_TIMEOUT: Final = 2.0
_MESSAGES: Final = 40
_JOBS: Final = 20
_LINES: Final = 80
_WIDTH: Final = 400


class Section(Value):
    """A part of a report: a title with the state of a QEMU, and a text with its details."""

    title: str
    text: str


class Recorder:
    """Keeps the last messages of a QEMU and the states of its jobs.

    It is an ``on_message`` callback.
    """

    def __init__(self) -> None:
        self._listeners = list[OnMessage]()
        self._count = 0
        self._messages = deque[JsonObject](maxlen=_MESSAGES)
        self._jobs = dict[str, list[str]]()

    def __call__(self, message: JsonObject) -> None:
        """Keep a message; the connection calls this."""
        self._count += 1
        self._messages.append(message)
        if "event" in message:
            self._note_job(str(message["event"]), cast("JsonObject", message.get("data") or {}))
        for listener in self._listeners:
            listener(message)

    def add_listener(self, listener: OnMessage) -> None:
        """Call a listener with each later message, too."""
        self._listeners.append(listener)

    def _note_job(self, event: str, data: JsonObject) -> None:
        match event, data:
            case "JOB_STATUS_CHANGE", {"id": job, "status": word}:
                pass
            case "BLOCK_JOB_ERROR", {"device": job, "operation": operation, "action": action}:
                word = f"{operation} error ({action})"
            case "BLOCK_JOB_COMPLETED", {"device": job, "error": error}:
                word = f"failed ({error})"
            case _:
                return
        steps = self._jobs.setdefault(str(job), [])
        # A job that pauses again and again, or has an error at each cluster, says nothing new.
        if len(steps) < _LINES and str(word) not in steps[-2:]:
            steps.append(str(word))
        while len(self._jobs) > _JOBS:
            self._jobs.pop(next(iter(self._jobs)))

    def jobs(self) -> Mapping[str, str]:
        """Return the states and errors of the last jobs, in their order, by job id."""
        return {job: ", ".join(steps) for job, steps in list(self._jobs.items())}

    def transcript(self) -> str:
        """Return the last messages in both directions, a line each; long lines are cut."""
        kept = list(self._messages)
        left_out = self._count - len(kept)
        lines = [f"({left_out} before)"] if left_out else []
        return "\n".join([*lines, *map(_line, kept)])

    def __repr__(self) -> str:
        return f"<recorder of {self._count} QMP messages>"


def describe(program: Qemu | NbdServer, recorder: Recorder) -> Section:
    """Return the state of a launched program; a QEMU that runs is queried for 2 s at most.

    Never raises. ``recorder`` is the one that the QEMU got as ``on_message``.
    """
    return background_loop.run(describe_async(program._async, recorder))


async def describe_async(program: AsyncQemu | AsyncNbdServer, recorder: Recorder) -> Section:
    """Like :func:`describe`, in the event loop in which the program was started."""
    process = program.process
    # Before our own questions are in it.
    transcript, jobs, graph = recorder.transcript(), recorder.jobs(), ""
    if isinstance(program, AsyncQemu) and program.is_running:
        try:
            async with asyncio.timeout(_QUERY_TIMEOUT):
                jobs = {**jobs, **await _query_jobs(program, jobs)}
                graph = (await program.graph()).draw()
        except (BlockSdkError, TimeoutError, OSError) as error:
            graph = f"not known: {str(error) or f'no answer within {_QUERY_TIMEOUT:g} s'}"
    parts = {
        "output": process.output_tail(),
        "jobs": "\n".join(f"{job}: {story}" for job, story in jobs.items()),
        "block graph": graph,
        "QMP": transcript,
        "command line": shlex.join(process.argv),
    }
    text = "".join(
        f"{name}:\n{textwrap.indent(_bounded(part), '  ')}\n"
        for name, part in parts.items()
        if part.strip()
    )
    return Section(title=escaped(f"{process.argv[0]}: {_state(process)}"), text=text)


async def _query_jobs(qemu: AsyncQemu, before: Mapping[str, str]) -> dict[str, str]:
    """Return the jobs that exist, each with its earlier states."""
    # Raw: to attach to a job would be to take part in it.
    jobs = cast("list[dict[str, JsonValue]]", await qemu.qmp.execute_raw("query-jobs"))
    return {
        str(job["id"]): (f"{before[str(job['id'])]}; " if job["id"] in before else "")
        + f"now {job['type']}, {job['status']}"
        + f", at {job['current-progress']} of {job['total-progress']}"
        + (f", failed ({job['error']})" if "error" in job else "")
        for job in jobs
    }


def _state(process: AsyncProcess) -> str:
    status = process.exit_status
    if status is None:
        return f"{'is stopped' if _is_stopped(process.pid) else 'runs'} (pid {process.pid})"
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped the process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] in ("T", "t")
    except OSError:
        return False


def _line(message: JsonObject) -> str:
    match message:
        case {"QMP": {"version": {"qemu": {"major": major, "minor": minor, "micro": micro}}}}:
            return f"<- greeting of QEMU {major}.{minor}.{micro}"
        case {"execute": str(name)} | {"exec-oob": str(name)}:
            return f"-> {name} {to_text(message.get('arguments') or {})}"
        case {"event": str(name)}:
            return f"<- {name} {to_text(message.get('data') or {})}"
        case _:
            return f"<- {to_text(message)}"


def _bounded(text: str) -> str:
    """Return the last lines of a text, each cut."""
    lines = escaped(text.rstrip()).splitlines()
    kept = [_cut(line) for line in lines[-_LINES:]]
    return "\n".join([f"({len(lines) - _LINES} lines before)", *kept] if lines[:-_LINES] else kept)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}... ({len(line)} characters)"


def sections_text(sections: Iterable[Section]) -> str:
    """Return the sections as one text, for frameworks without sections."""
    return "\n".join(f"---- {one.title}\n{one.text}" for one in sections)
