"""One cell of the fault matrix: ``python -m tests.live.fault_cell FAULT OPERATION FOLDER``.

The last line that it prints is what happened, as JSON; see ``fault_matrix.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu_blocksdk import Backup, Image, NbdServer, Node, Operation, QemuIo, StorageDaemon
from qemu_blocksdk.aio import AsyncBackup, AsyncImage, AsyncQemuIo, AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Raw
from qemu_blocksdk.errors import BlockSdkError, DeadlineExceeded
from qemu_blocksdk.qmp import cancellation
from qemu_blocksdk.wire import QueryJobs
from tests.live.fault_matrix import CLEANUP, LIMIT
from tests.live.helpers import children, exists, wait_until

FAULT, OPERATION = sys.argv[1:3]
FOLDER = Path(sys.argv[3])
MIB = 1 << 20
DELAY = 0.3
"""Seconds that an operation is under way when something fails."""
SLACK = 4.0
"""Seconds for a machine that has other work to do."""
IN_FLIGHT = ("command", "transaction", "graph")
"""Operations that are over in no time, unless QEMU stands still."""

complaints: list[str] = []
held: list[int] = []
"""Descriptors that keep the others away."""


@dataclass
class Attempt:
    """An operation that can begin, and what a fault may strike."""

    call: Callable[[], object]
    pid: int | None = None
    cut: Callable[[], object] | None = None
    """Cuts the connection of the monitor."""
    nbd: int | None = None
    """The process of the NBD server."""
    limit: float = LIMIT
    continues: bool = True
    """Whether the objects are usable afterwards, by a forked child's parent too."""


# -- faults -------------------------------------------------------------------------------


def exhaust() -> None:
    """Leave this process no descriptor."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with contextlib.suppress(OSError):
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))


def give_back() -> None:
    """Undo :func:`exhaust`."""
    while held:
        os.close(held.pop())


def starve(pid: int) -> None:
    """Leave a process no memory to ask for."""
    resource.prlimit(pid, resource.RLIMIT_AS, (MIB, MIB))


def end(pid: int) -> None:
    """Have a process end by itself, also one that stands still."""
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)


def strike(attempt: Attempt) -> None:
    """Let the fault happen."""
    pid = attempt.pid
    if FAULT == "sigint":
        os.kill(os.getpid(), signal.SIGINT)
    elif FAULT == "closed":
        assert attempt.cut is not None
        attempt.cut()
    elif FAULT == "nbd":
        assert attempt.nbd is not None
        os.kill(attempt.nbd, signal.SIGKILL)
    else:
        assert pid is not None
        with contextlib.suppress(ProcessLookupError):
            {
                "killed": lambda: os.kill(pid, signal.SIGKILL),
                "stopped": lambda: os.kill(pid, signal.SIGSTOP),
                "exits": lambda: end(pid),
                "memory": lambda: starve(pid),
            }[FAULT]()


LATER = ("killed", "stopped", "exits", "closed", "nbd", "sigint", "memory")
"""Faults that happen while the operation is under way."""
BY_ITSELF = {("exits", "launch"), ("closed", "launch"), ("memory", "launch")}
"""Cells whose program is made to fail."""


timers: list[threading.Timer] = []


def later(delay: float, action: Callable[[], object]) -> None:
    """Do something in a while, in another thread."""
    timer = threading.Timer(delay, action)
    timer.daemon = True
    timer.start()
    timers.append(timer)


def disarm() -> None:
    """Let nothing happen any more."""
    while timers:
        timers[-1].cancel()
        timers.pop().join()


class Cut:
    """A unix socket in front of a monitor, whose connections can be held and cut."""

    def __init__(self, path: Path, target: Path | None) -> None:
        self._target = target
        self._goes = threading.Event()
        self._goes.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._sockets.append(self._listener)
        self._start(self._accept)

    def hold(self) -> None:
        """Let nothing pass any more."""
        self._goes.clear()

    def cut(self) -> None:
        """Close all connections."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._goes.set()

    def _start(self, target: Callable[..., object], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if self._target is not None:
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(str(self._target))
                    self._sockets.append(server)
                    self._start(self._pump, client, server)
                    self._start(self._pump, server, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._goes.wait()
                target.sendall(data)


# -- places -------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(size: str) -> Generator[Path]:
    """Mount a file system that is soon full."""
    place = FOLDER / "mnt"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        gc.collect()
        if subprocess.run(["umount", place], capture_output=True, check=False).returncode:
            complaints.append("something still uses the small disk")
            subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


@contextlib.contextmanager
def file_of(name: str, size: int, *, byte: bytes = b"x") -> Generator[Path]:
    """Write a file, and remove it."""
    path = FOLDER / name
    path.write_bytes(byte * size)
    try:
        yield path
    finally:
        path.unlink()


@contextlib.contextmanager
def nbd_server(size: int) -> Generator[NbdServer]:
    """Serve an image until it is killed."""
    with file_of("served.raw", size, byte=b"\0") as path:
        server = NbdServer(Image(path, format="raw"), address=FOLDER / "nbd.sock")
        server.launch()
        try:
            yield server
        finally:
            with contextlib.suppress(BlockSdkError):
                server.stop()


def hanging(name: str = "slow", script: str = "exec sleep 60") -> Path:
    """Write a program that never becomes a QEMU."""
    path = FOLDER / "tmp" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# -- operations ---------------------------------------------------------------------------


def live(stack: ExitStack) -> Attempt:
    """Prepare an operation on a storage daemon that runs."""
    monitor = FOLDER / "monitor.sock"
    daemon = stack.enter_context(StorageDaemon(monitors=[monitor], command_timeout=LIMIT))
    pid = daemon.process.pid
    stack.callback(_go_on, pid)
    user, proxy = daemon, None
    if FAULT == "closed":
        proxy = Cut(FOLDER / "proxy.sock", monitor)
        stack.callback((FOLDER / "proxy.sock").unlink)
        stack.callback(proxy.cut)
        user = StorageDaemon.attach(FOLDER / "proxy.sock", command_timeout=LIMIT)
        stack.callback(user.stop)
    attempt = Attempt(lambda: None, pid, cut=None if proxy is None else proxy.cut)
    limit = attempt.limit = {"limit": DELAY, "full": 15.0, "nbd": 15.0}.get(FAULT, LIMIT)
    disk = user.add_node(NullCo(node_name="disk", size=64 * MIB, latency_ns=20_000_000))
    if FAULT == "full" and OPERATION == "running":
        small = stack.enter_context(small_disk("512k"))
        data = stack.enter_context(file_of("data.raw", 4 * MIB))
        disk = user.add_node(Raw(node_name="data", file=File(filename=str(data))))
        (small / "t.raw").touch()
        os.truncate(small / "t.raw", 4 * MIB)
        copy = user.add_node(Raw(node_name="copy", file=File(filename=str(small / "t.raw"))))
        stack.callback(copy.delete)
    elif FAULT == "nbd":
        server = stack.enter_context(nbd_server(64 * MIB))
        attempt.nbd = server.process.pid
        copy = user.add_node(server.uri.options(node_name="copy"))
    else:
        copy = user.add_node(NullCo(node_name="copy", size=64 * MIB))

    speed = {"full": 0, "nbd": 16 * MIB}.get(FAULT, 1 << 16)

    def commit() -> object:
        transaction = user.transaction()
        transaction.add_bitmap(disk.bitmap("a"))
        transaction.backup(disk, copy)
        return transaction.commit(timeout=limit)

    def wait_when_ready() -> object:
        size = 64 * MIB if FAULT == "nbd" else MIB
        source = user.add_node(NullCo(node_name="source", size=size))
        target = copy if FAULT == "nbd" else user.add_node(NullCo(node_name="target", size=size))
        with source.start_mirror(target) as job:
            if FAULT != "descriptors":
                job.wait(until="ready", timeout=30)
            begin()
            if FAULT == "nbd":
                wait_until(lambda: not _lives(attempt.nbd), what="the end of the server")
                job.complete()  # which flushes the target
            job.wait(timeout=limit)
            return None

    def backup() -> None:
        source, target = disk, FOLDER / "full.qcow2"
        if FAULT == "full":
            target = stack.enter_context(small_disk("512k")) / "full.qcow2"
            data = stack.enter_context(file_of("data.raw", 4 * MIB))
            source = user.add_node(Raw(node_name="data", file=File(filename=str(data))))
        else:
            slow = NullCo(node_name="slow", size=8 * MIB, latency_ns=2_000_000_000)
            source = user.add_node(slow)
        each = Backup(user, persistent=False)
        each.add_disk(source, Image(target, format="qcow2"))
        each.full(timeout=limit)

    attempt.call = {
        "command": lambda: user.qmp.execute(QueryJobs(), timeout=limit),
        "running": lambda: disk.backup(copy, speed=speed, timeout=limit),
        "ready": wait_when_ready,
        "transaction": commit,
        "graph": user.graph,
        "shutdown": lambda: user.stop(grace=1.0 if FAULT == "sigint" else 0.2),
        "recipe": backup,
    }[OPERATION]
    attempt.continues = OPERATION != "shutdown"
    if OPERATION in IN_FLIGHT and proxy is not None:
        proxy.hold()
    elif (
        OPERATION in IN_FLIGHT and FAULT in ("killed", "stopped", "exits", "sigint", "limit")
    ) or (OPERATION == "shutdown" and FAULT == "sigint"):
        os.kill(pid, signal.SIGSTOP)
    return attempt


def attach(stack: ExitStack) -> Attempt:
    """Prepare to attach to a daemon that does not answer."""
    path = FOLDER / "monitor.sock"
    if FAULT == "closed":
        proxy = Cut(path, None)
        stack.callback(path.unlink)
        return Attempt(lambda: StorageDaemon.attach(path, timeout=LIMIT), cut=proxy.cut)
    daemon = stack.enter_context(StorageDaemon(monitors=[path]))
    pid = daemon.process.pid
    stack.callback(_go_on, pid)
    if FAULT not in ("descriptors", "memory", "fork"):
        os.kill(pid, signal.SIGSTOP)
    if FAULT == "memory":
        starve(pid)
    limit = DELAY if FAULT == "limit" else LIMIT
    if FAULT == "fork":
        user = StorageDaemon.attach(path)
        stack.callback(user.stop)
        return Attempt(user.graph, pid)

    def connect() -> object:
        with StorageDaemon.attach(path, timeout=limit, command_timeout=limit) as user:
            return user.graph()

    return Attempt(connect, pid, limit=limit)


def launch(stack: ExitStack) -> Attempt:
    """Prepare the launch of a program that does not become ready, or cannot be started."""
    limit = DELAY if FAULT == "limit" else LIMIT
    program: Path | tuple[str, ...] = hanging()
    if FAULT == "exits":
        program = hanging(script=f"sleep {DELAY}; exit 3")
    elif FAULT == "closed":
        program = hanging(script="for f in 3 4 5 6 7 8 9; do eval exec $f'>&-'; done; sleep 60")
    elif FAULT == "memory":
        program = ("prlimit", "--as=30000000", "qemu-storage-daemon")
    elif FAULT in ("full", "fork", "descriptors"):
        program = ("qemu-storage-daemon",)
    stack.callback(lambda: (FOLDER / "tmp" / "slow").unlink(missing_ok=True))
    if FAULT == "full":
        small = stack.enter_context(small_disk("4k"))
        (small / "fill").write_bytes(b"x" * 4096)
        stack.callback(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = str(small)
    daemon = StorageDaemon(program=program, launch_timeout=limit)
    stack.callback(daemon.stop)
    return Attempt(daemon.launch, limit=limit)


def tool(stack: ExitStack) -> Attempt:
    """Prepare to convert an image, slowly."""
    source = Image(stack.enter_context(file_of("data.raw", 8 * MIB)), format="raw")
    target = Image(FOLDER / "out.qcow2", format="qcow2")
    attempt = Attempt(lambda: None, limit=DELAY if FAULT == "limit" else LIMIT)
    seen: list[float] = []
    if FAULT == "full":
        target = Image(stack.enter_context(small_disk("512k")) / "out.qcow2", format="qcow2")
        attempt.limit = 15.0
        operation = source.start_convert(target)
    elif FAULT == "nbd":
        server = stack.enter_context(nbd_server(8 * MIB))
        attempt.nbd, attempt.limit = server.process.pid, 15.0
        operation = source.start_convert(Image.at_uri(server.uri), in_place=True, rate="2M")
    else:
        operation = source.start_convert(target, rate="2M")
    if FAULT == "fork":
        stack.callback(operation.cancel)
        attempt.call = operation.cancel
        later(0, lambda: _run_quietly(operation))
        return attempt
    attempt.call = lambda: operation.run(
        timeout=attempt.limit, on_progress=lambda progress: seen.append(progress.fraction)
    )
    return attempt


def _run_quietly(operation: Operation[None]) -> None:
    with contextlib.suppress(BlockSdkError):
        operation.run()


def qemu_io(stack: ExitStack) -> Attempt:
    """Prepare a request of qemu-io that takes long."""
    image = Image(stack.enter_context(file_of("io.raw", MIB)), format="raw")
    attempt = Attempt(lambda: None, limit=DELAY if FAULT == "limit" else LIMIT)
    if FAULT == "full":
        small = stack.enter_context(small_disk("200k"))
        (small / "io.raw").touch()
        os.truncate(small / "io.raw", MIB)
        image = Image(small / "io.raw", format="raw")
    elif FAULT == "nbd":
        server = stack.enter_context(nbd_server(MIB))
        attempt.nbd, image = server.process.pid, Image.at_uri(server.uri)
    session = QemuIo(image, timeout=attempt.limit)
    others = children()
    session.open()

    def close() -> None:
        with contextlib.suppress(BlockSdkError):  # it says again what happened
            session.close()

    stack.callback(close)
    (attempt.pid,) = children() - others
    stack.callback(_go_on, attempt.pid)
    attempt.call = lambda: session.raw("sleep 20000")
    if FAULT == "full":
        attempt.call = lambda: session.write(0, MIB)
    elif FAULT in ("descriptors", "fork"):
        attempt.call = lambda: session.write(0, 512)
    elif FAULT == "nbd":
        attempt.limit = 15.0

        def write_when_it_is_gone() -> object:
            wait_until(lambda: not _lives(attempt.nbd), what="the end of the server")
            return session.write(0, 1 << 16)

        attempt.call = write_when_it_is_gone
    elif FAULT == "memory":
        assert attempt.pid is not None
        starve(attempt.pid)
        attempt.call = lambda: session.write(0, MIB)
    return attempt


def _lives(pid: int | None) -> bool:
    return pid is not None and exists(pid)


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


PREPARE: dict[str, Callable[[ExitStack], Attempt]] = {
    "attach": attach,
    "launch": launch,
    "tool": tool,
    "qemu-io": qemu_io,
}

# -- the cell -----------------------------------------------------------------------------

result: dict[str, Any] = {"raised": "", "message": "", "seconds": 0.0, "is_of_the_tree": False}
_armed: list[Attempt] = []


def begin() -> None:
    """Arm the fault: the operation is under way from now on."""
    if FAULT in LATER and (FAULT, OPERATION) not in BY_ITSELF:
        attempt = _armed.pop()
        if attempt.pid is None and OPERATION in ("launch", "tool") and FAULT != "sigint":
            later(DELAY, lambda: _strike_child(attempt))
        else:
            later(DELAY, lambda: strike(attempt))


def _strike_child(attempt: Attempt) -> None:
    """Strike the program that the operation has started."""
    wait_until(lambda: bool(children()), what="a child")
    attempt.pid = max(children())
    if FAULT == "nbd" or not (OPERATION == "launch" and FAULT in ("exits", "closed", "memory")):
        strike(attempt)


def observe(call: Callable[[], object], limit: float) -> None:
    """Note how a call ends, and complain when that is too late."""
    start = time.monotonic()
    try:
        call()
        result["raised"] = "none"
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:  # noqa: BLE001
        result["raised"], result["message"] = type(error).__name__, str(error)[:300]
        result["is_of_the_tree"] = isinstance(error, BlockSdkError)
    result["seconds"] = time.monotonic() - start
    if result["seconds"] > limit + CLEANUP + SLACK:
        complaints.append(f"it took {result['seconds']:.1f} s, its limit is {limit:g} s")


def blocking_cell() -> None:
    """Do the operation with the fault, and leave what was prepared."""
    with ExitStack() as stack:
        attempt = PREPARE.get(OPERATION, live)(stack)
        if FAULT == "fork":
            in_a_child(attempt)
            return
        _armed.append(attempt)
        if OPERATION != "ready":
            begin()
        if FAULT == "descriptors":
            exhaust()
        try:
            observe(attempt.call, attempt.limit)
        finally:
            give_back()
            disarm()
            _armed.clear()
        if FAULT == "sigint" and attempt.pid is not None:
            _go_on(attempt.pid)


def in_a_child(attempt: Attempt) -> None:
    """Do the operation in a forked child; new objects work there, and the old ones here."""
    reader, writer = os.pipe()
    # Python 3.12 warns of a fork with threads, which is what this is about.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    pid = os.fork()
    if pid == 0:
        observe(attempt.call, attempt.limit)
        with contextlib.suppress(BlockSdkError):
            assert_fresh_objects_work()
        os.write(writer, json.dumps([result, complaints]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found, said = json.loads(pipe.read())
    os.waitpid(pid, 0)
    result.update(found)
    complaints.extend(said)
    if attempt.continues and OPERATION not in ("launch", "tool"):
        with contextlib.suppress(DeadlineExceeded):  # some take longer than their limit
            attempt.call()


async def cancelled_cell() -> None:
    """Cancel the task that does the operation."""
    async with AsyncExitStack() as stack:
        work = await _prepare_async(stack)
        task = asyncio.ensure_future(work)
        await asyncio.wait([task], timeout=DELAY)
        task.cancel()
        start = time.monotonic()
        await asyncio.wait([task])
        result["seconds"] = time.monotonic() - start
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        result["raised"] = "none" if error is None else type(error).__name__
        result["message"] = str(error)[:300]
        if result["seconds"] > CLEANUP + SLACK:
            complaints.append(f"its clean-up took {result['seconds']:.1f} s")
    if len(asyncio.all_tasks()) > 1:
        complaints.append(f"tasks are left: {asyncio.all_tasks()}")


async def _prepare_async(stack: AsyncExitStack) -> Coroutine[object, object, object]:
    if OPERATION == "attach":
        proxy = Cut(FOLDER / "monitor.sock", None)
        stack.callback((FOLDER / "monitor.sock").unlink)
        stack.callback(proxy.cut)
        return AsyncStorageDaemon.attach(FOLDER / "monitor.sock", timeout=30)
    if OPERATION == "launch":
        program = hanging()
        stack.callback(program.unlink)
        return AsyncStorageDaemon(program=program).launch()
    if OPERATION == "tool":
        path = stack.enter_context(file_of("data.raw", 8 * MIB))
        target = AsyncImage(FOLDER / "out.qcow2", format="qcow2")
        return AsyncImage(path, format="raw").convert(target, rate="2M")
    if OPERATION == "qemu-io":
        path = stack.enter_context(file_of("io.raw", MIB))
        session = await stack.enter_async_context(AsyncQemuIo(AsyncImage(path, format="raw")))
        return session.raw("sleep 20000")
    return await _prepare_async_live(stack)


async def _prepare_async_live(stack: AsyncExitStack) -> Coroutine[object, object, object]:
    daemon = await stack.enter_async_context(AsyncStorageDaemon())
    pid = daemon.process.pid
    disk = await daemon.add_node(NullCo(node_name="disk", size=64 * MIB, latency_ns=20_000_000))
    copy = await daemon.add_node(NullCo(node_name="copy", size=64 * MIB))
    if OPERATION in (*IN_FLIGHT, "shutdown"):
        os.kill(pid, signal.SIGSTOP)
        stack.callback(_go_on, pid)

    async def until_it_is_ready() -> None:
        source = await daemon.add_node(NullCo(node_name="source", size=MIB))
        target = await daemon.add_node(NullCo(node_name="target", size=MIB))
        async with await source.start_mirror(target) as job:
            await job.wait(until="ready")
            await asyncio.Event().wait()

    async def commit() -> object:
        transaction = daemon.transaction()
        transaction.add_bitmap(disk.bitmap("a"))
        return await transaction.commit()

    async def backup() -> None:
        slow = NullCo(node_name="slow", size=8 * MIB, latency_ns=2_000_000_000)
        each = AsyncBackup(daemon, persistent=False)
        target = AsyncImage(FOLDER / "full.qcow2", format="qcow2")
        each.add_disk(await daemon.add_node(slow), target)
        await each.full()

    async def run() -> object:
        return await disk.backup(copy, speed=1 << 16)

    operations: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "command": lambda: daemon.qmp.execute(QueryJobs()),
        "running": run,
        "ready": until_it_is_ready,
        "transaction": commit,
        "graph": daemon.graph,
        "shutdown": lambda: daemon.stop(grace=1.0),
        "recipe": backup,
    }
    return operations[OPERATION]()


def assert_fresh_objects_work() -> None:
    """Complain unless a new daemon does a backup."""
    try:
        with StorageDaemon() as daemon:
            nodes: list[Node] = [
                daemon.add_node(NullCo(node_name=name, size=MIB)) for name in ("one", "two")
            ]
            nodes[0].backup(nodes[1], timeout=20)
    except Exception as error:  # noqa: BLE001 - that is what is asked
        complaints.append(f"a fresh object fails: {error!r}")


def open_files() -> dict[str, str]:
    """What the descriptors of this process are."""
    gc.collect()
    found = dict[str, str]()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found[path.name] = str(path.readlink())
    return found


def main() -> None:
    """Run the cell and print what happened."""
    cancellation.CLEANUP_TIMEOUT = CLEANUP  # type: ignore[misc] # a cell is quicker than a user
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger("qemu_blocksdk").addHandler(logging.NullHandler())
    assert_fresh_objects_work()
    before = open_files()
    if FAULT == "cancelled":
        asyncio.run(cancelled_cell())
    else:
        blocking_cell()
    assert_fresh_objects_work()
    wait_until(lambda: not children(), what="the end of the children")
    if len(after := open_files()) > len(before):
        left = [after[name] for name in after if name not in before]
        complaints.append(f"descriptors are left: {' '.join(left)}")
    print(json.dumps({**result, "complaints": complaints}))


if __name__ == "__main__":
    main()
