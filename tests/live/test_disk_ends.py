"""Moves of a disk that are given up, in each phase: at each message between us and QEMU.

QEMU is then on the old file or on the new one, nothing is left of the other, and another move
works.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Disk, Image, Node, Operation, Secret, StorageDaemon
from qemu_blocksdk.aio import AsyncImage, AsyncOperation
from qemu_blocksdk.blockdev import File, Raw, Throttle
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import DeadlineExceeded
from qemu_blocksdk.qmp import background_loop, cancellation
from qemu_blocksdk.tools import CreationOptions
from qemu_blocksdk.tools.atomic_write import Published, atomic_write
from qemu_blocksdk.wire import QomList, QueryJobs, ThrottleLimits
from tests.live.helpers import wait_until
from tests.live.places import DEVICES, MIB, device, place, state

pytestmark = pytest.mark.timeout(120)

__all__ = ["device"]  # a fixture

OLD, NEW = b"o" * MIB, b"n" * MIB


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean-ups have less time than those of users, so that some go on in the background."""
    monkeypatch.setattr(cancellation, "CLEANUP_TIMEOUT", 0.05)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Nobody ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Phases:
    """Calls somebody at one of the messages, counted from 1, or from that one on."""

    def __init__(self) -> None:
        self._act: Callable[[], object] | None = None
        self._at = self.count = 0
        self._is_storm = False

    def __call__(self, _message: JsonObject) -> None:
        self.count += 1
        is_now = self.count > self._at if self._is_storm else self.count == self._at
        if self._act is not None and is_now:
            self._act()

    @contextlib.contextmanager
    def calling(
        self, act: Callable[[], object], *, at: int, is_storm: bool = False
    ) -> Generator[None]:
        """Call it at a message of the block."""
        self.count, self._at, self._act, self._is_storm = 0, at, act, is_storm
        try:
            yield
        finally:
            self._act = None


class Move:
    """A move that has not begun."""

    def __init__(self, disk: Disk, target: Image, *, replace: bool) -> None:
        self._disk, self._target, self._replace = disk, target, replace
        self.has_ended: Callable[[], bool] = lambda: True

    def start(self) -> Operation[None]:
        """Start it."""
        move = self._disk.start_move(self._target, replace=self._replace)
        self.has_ended = lambda: move.is_over
        return move

    def start_here(self) -> AsyncOperation[None]:
        """Start it in the loop."""
        disk, target = self._disk._async, self._target._async
        move = disk.start_move(target, replace=self._replace)
        self.has_ended = lambda: move.is_over
        return move


GiveUp = Callable[[Move, int], bool]
"""Takes the number of the message; returns whether the move came to its end before that."""


class Mover:
    """A daemon with a disk that is to be moved, into a folder."""

    def __init__(self, daemon: StorageDaemon, phases: Phases, folder: Path) -> None:
        self.daemon, self.phases, self.folder = daemon, phases, folder
        self.source = folder.with_name("source")
        self.source.write_bytes(NEW)
        self._objects = self.objects()  # that of the monitor, in QEMU 11.1

    @contextlib.contextmanager
    def opened(self) -> Generator[Disk]:
        """Open the disk."""
        options = Raw(node_name="old", file=File(filename=str(self.source)))
        node = self.daemon.add_node(options)
        yield Disk(self.daemon, node)
        for name in self.names():
            self.daemon.node(name).delete()

    def names(self) -> list[str]:
        """The nodes that we name."""
        nodes = self.daemon.graph().nodes
        return [node.name for node in nodes if node.type == "block-driver" and node.name[:1] != "#"]

    def objects(self) -> set[str]:
        """The objects in QEMU."""
        return {each.name for each in self.daemon.qmp.execute(QomList(path="/objects"))}

    def settled(self) -> Node:
        """Return the node of the disk; nothing else is left in QEMU and beside the file."""
        assert self.daemon.qmp.execute(QueryJobs()) == []
        (name,) = self.names()
        assert self.objects() - self._objects <= {name, "slow"}
        assert not list(self.folder.glob(".blocksdk-*"))
        return self.daemon.node(name)

    def walk(
        self,
        kind: str,
        give_up: GiveUp,
        *,
        device: Path | None = None,
        target: Callable[[Path], Image] = lambda path: Image(path, format="raw"),
    ) -> None:
        """Give up a move at the first message, at the second, ... until one comes to its end."""
        at, moved, is_over = 0, list[bool](), False
        while not is_over:
            at += 1
            if kind in DEVICES and device is not None:
                with device.open("r+b") as file:
                    file.write(OLD)
            with self.opened() as disk, place(kind, self.folder, device) as path:
                before = state(self.folder)
                move = Move(disk, target(path), replace=kind != "nothing")
                is_over = give_up(move, at)
                wait_until(move.has_ended, what="the end in the background", timeout=20)
                node = self.settled()
                moved.append(node.name != "old")
                after = state(self.folder, content=not moved[-1])
                if not moved[-1]:
                    assert after == before, f"given up at message {at}"
                elif kind == "nothing":
                    assert list(after) == ["place"]
                elif kind != "dangling link":
                    assert after == {name: (*all[:-1], b"") for name, all in before.items()}
                other = Image(self.folder.with_name("other"), format="raw")
                Disk(self.daemon, node).move(other, replace=True, timeout=20)
                assert other.path.read_bytes() == self.source.read_bytes(), (
                    f"given up at message {at}"
                )
            for left in self.folder.iterdir():
                left.unlink()
        assert not moved[0]
        assert moved[-1]


@pytest.fixture
def mover(tmp_path: Path) -> Iterator[Mover]:
    """Of a folder that is empty."""
    phases = Phases()
    (tmp_path / "folder").mkdir()
    with StorageDaemon(on_message=phases) as daemon:
        daemon.add_throttle_group("slow")
        yield Mover(daemon, phases, tmp_path / "folder")


def cancelling(phases: Phases, *, is_storm: bool = False) -> GiveUp:
    """Cancel the task that waits for the move, or do it again and again."""

    def give_up(move: Move, at: int) -> bool:
        async def main() -> bool:
            task = asyncio.create_task(move.start_here().run(timeout=20))
            soon = asyncio.get_running_loop().call_soon
            with phases.calling(lambda: soon(task.cancel), at=at, is_storm=is_storm):
                try:
                    await task
                except asyncio.CancelledError:
                    return False
            return phases.count < at

        return background_loop.run(main())

    return give_up


@pytest.mark.parametrize("is_storm", [False, True])
@pytest.mark.parametrize(
    "kind", ["nothing", "file", "link", "dangling link", "device", "link to a device"]
)
def test_a_move_is_cancelled_in_each_phase(
    mover: Mover, kind: str, device: Path | None, is_storm: bool
) -> None:
    mover.walk(kind, cancelling(mover.phases, is_storm=is_storm), device=device)


def test_an_encrypted_move_is_cancelled_in_each_phase(
    mover: Mover, encrypted_headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = AsyncImage._create

    async def create(
        image: AsyncImage,
        size: int,
        options: CreationOptions | None,
        *,
        replace: bool,
        published: Published,
    ) -> None:
        if image.format == "raw":
            await make(image, size, options, replace=replace, published=published)
            return
        with atomic_write(image.path, replace=replace, published=published) as draft:
            shutil.copy(encrypted_headers / "header.qcow2", draft)

    monkeypatch.setattr(AsyncImage, "_create", create)
    os.truncate(mover.source, 16 * MIB)
    secret = Secret("s3cr3t")
    mover.walk(
        "file",
        cancelling(mover.phases),
        target=lambda path: Image(path, format="qcow2", secret=secret),
    )


def test_ctrl_c_ends_a_move_in_each_phase(mover: Mover) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def give_up(move: Move, at: int) -> bool:
        interrupt = lambda: signal.pthread_kill(main, signal.SIGINT)  # noqa: E731
        try:
            with mover.phases.calling(interrupt, at=at):
                move.start().run(timeout=20)
        except KeyboardInterrupt:
            return False
        return mover.phases.count < at

    mover.walk("file", give_up)


def test_a_limit_ends_a_move_in_each_phase_of_a_qemu_that_stands_still(mover: Mover) -> None:
    pid = mover.daemon.process.pid

    def give_up(move: Move, at: int) -> bool:
        is_stopped = threading.Event()

        def stop() -> None:
            os.kill(pid, signal.SIGSTOP)
            is_stopped.set()

        try:
            with mover.phases.calling(stop, at=at):
                operation = move.start()
                wait_until(lambda: is_stopped.is_set() or operation.is_over, what="the message")
                operation.run(timeout=0.01)
        except DeadlineExceeded:
            return False
        finally:
            os.kill(pid, signal.SIGCONT)
        return not is_stopped.is_set()

    mover.walk("file", give_up)


@pytest.mark.parametrize("end", ["limit", "Ctrl-C", "cancel"])
def test_the_next_move_waits_for_the_reads_of_one_that_was_given_up(mover: Mover, end: str) -> None:
    # All that the mirror reads at once takes a second, whatever becomes of the mirror.
    mover.daemon.throttle_group("slow").set_limits(ThrottleLimits(bps_read=4 * MIB))
    mover.source.write_bytes(NEW * 4)
    file = Throttle(throttle_group="slow", file=File(filename=str(mover.source)))
    node = mover.daemon.add_node(Raw(node_name="old", file=file))
    place = mover.folder / "place"
    place.write_text("old")
    move = Disk(mover.daemon, node).start_move(Image(place, format="raw"), replace=True)

    def reads() -> bool:
        return any(job.current_progress for job in mover.daemon.qmp.execute(QueryJobs()))

    wait_until(reads, what="the mirror's first read")
    if end == "limit":
        with pytest.raises(DeadlineExceeded):
            move.run(timeout=0.01)
    elif end == "cancel":
        move.cancel()
    else:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            move.run()
    assert mover.daemon.qmp.execute(QueryJobs())
    # Another object of the same disk; the first move is undone before the second begins.
    disk = Disk(mover.daemon, node)
    disk.move(Image(place, format="raw"), replace=True, timeout=20)
    assert place.read_bytes() == mover.source.read_bytes()
    assert mover.settled().name == disk.node.name
