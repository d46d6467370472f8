"""Asking a real binary for its schema.

Here lives the short life of one QEMU that is started for `query-qmp-schema` alone; the
running of QEMU for work is `qmp`'s and `objects`' business, which this layer may not use.

The one mechanism: the binary inherits one end of a socketpair as its monitor, so there is
no path to wait for and none to remove, and every way out goes through one `finally` that
kills and reaps it; `setpriv`, where there is one, has the kernel do so when we are killed
ourselves. The file is written only when the whole answer is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

from qemu.qmp import QMPClient, QMPError

from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, UsageError

from . import snapshots
from .model import ServerKind

LIMIT: Final = 20.0
LAST_WORDS: Final = 0.5

_BANNERS: Final[dict[str, ServerKind]] = {
    "QEMU emulator version": "system",
    "qemu-storage-daemon version": "storage-daemon",
}


class Fetched(NamedTuple):
    """A binary's answer: who it is and what it has."""

    meta: dict[str, str]
    entries: list[object]


def fetch(program: str, out: Path, *, timeout: float = LIMIT) -> Fetched:
    """Write the snapshot of a `qemu-system-*` or `qemu-storage-daemon` binary to a file.

    `timeout` is in seconds. Raises LaunchError where the program is missing, is no QEMU,
    or ends before it has answered; DeadlineExceeded where it does not answer; and
    UsageError where the file cannot be written. The file is whole or untouched.
    """
    fetched = asyncio.run(_ask(program, timeout))
    write_atomically(out, snapshots.dump(fetched.meta, fetched.entries))
    return fetched


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as one step; UsageError where that is not possible.

    A link stays, and the mode of the file; nothing but a regular file is replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is no regular file")
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8")
        if path.exists():
            scratch.chmod(path.stat().st_mode & 0o7777)
        scratch.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)


async def _ask(program: str, timeout: float) -> Fetched:
    kind: ServerKind | None = None
    try:
        async with asyncio.timeout(timeout):
            kind = await _kind(program)
            return await _query(program, kind)
    except TimeoutError as error:
        what = f"{program} --version" if kind is None else f"{program} to answer over QMP"
        raise DeadlineExceeded(what, seconds=timeout) from error


async def _kind(program: str) -> ServerKind:
    argv = [program, "--version"]
    async with _running(argv) as process:
        output, _ = await process.communicate()
    text = output.decode(errors="replace").strip()
    for banner, kind in _BANNERS.items():
        if process.returncode == 0 and text.startswith(banner):
            return kind
    raise LaunchError(
        f"{program} is neither a QEMU system emulator nor a qemu-storage-daemon",
        argv=argv,
        exit_status=process.returncode,
        output=text[-500:],
    )


async def _query(program: str, kind: ServerKind) -> Fetched:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [program, *_monitor_arguments(kind, theirs.fileno())]
        async with _running(argv, theirs.fileno()) as process:
            theirs.close()
            # The answer of a system emulator is one line of 240 kB; newer ones will be longer.
            client = QMPClient(readbuflen=64 * 1024 * 1024)
            try:
                await client.connect(ours)
                version = cast("dict[str, object]", await client.execute("query-version"))
                entries = cast("list[object]", await client.execute("query-qmp-schema"))
            except (QMPError, EOFError, OSError) as error:
                raise await _ended(process, argv) from error
            finally:
                with contextlib.suppress(QMPError, EOFError, OSError):
                    await client.disconnect()
    return Fetched({"binary": kind, **_version(version)}, entries)


def _monitor_arguments(kind: ServerKind, descriptor: int) -> list[str]:
    chardev = ["--chardev", f"socket,id=monitor,fd={descriptor}"]
    if kind == "storage-daemon":
        return [*chardev, "--monitor", "chardev=monitor"]
    quiet = ["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none"]
    return [*quiet, *chardev, "-qmp", "chardev:monitor"]


def _version(reply: dict[str, object]) -> dict[str, str]:
    qemu = cast("dict[str, int]", reply["qemu"])
    version = f"{qemu['major']}.{qemu['minor']}.{qemu['micro']}"
    return {"version": version, "package": str(reply["package"])}


async def _ended(process: asyncio.subprocess.Process, argv: Sequence[str]) -> LaunchError:
    """Why the conversation broke; what the program printed tells more than the socket."""
    text = ""
    # Killing it at once would hide the exit status of a program that is just ending.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS):
            output, _ = await process.communicate()
            text = " ".join(output.decode(errors="replace").split())
    return LaunchError(
        f"{argv[0]} ended the QMP session before it answered",
        argv=argv,
        exit_status=process.returncode,
        output=text[-500:],
    )


@contextlib.asynccontextmanager
async def _running(
    argv: Sequence[str], *descriptors: int
) -> AsyncGenerator[asyncio.subprocess.Process]:
    program = shutil.which(argv[0])
    if program is None:
        raise LaunchError(f"cannot start {argv[0]}: no such program", argv=argv)
    try:
        process = await asyncio.create_subprocess_exec(
            *_die_with_us(),
            program,
            *argv[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=descriptors,
        )
    except OSError as error:
        raise LaunchError(f"cannot start {argv[0]}: {error.strerror}", argv=argv) from error
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _die_with_us() -> list[str]:
    if shutil.which("setpriv") is None:
        return []
    # The shell closes the gap before the signal was set: our end in that time shows in $PPID.
    guard = 'test "$PPID" = "$0" && exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", guard, str(os.getpid())]
