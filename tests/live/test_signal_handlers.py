"""A signal handler makes blocking calls while the main thread waits, for whatever it be."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Image, StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import DeadlineExceeded
from tests.live.helpers import MakeImage

pytestmark = pytest.mark.timeout(40)


def _job_wait(daemon: StorageDaemon, folder: Path, in_handler: threading.Event) -> None:
    source = daemon.add_node(NullCo(node_name="s", size=1 << 30))
    target = daemon.add_node(NullCo(node_name="t", size=1 << 30))
    with source.start_backup(target, speed=1) as job, pytest.raises(DeadlineExceeded):
        job.wait(timeout=0.3)


def _operation_wait(daemon: StorageDaemon, folder: Path, in_handler: threading.Event) -> None:
    copy = Image(folder / "copy.qcow2", format="qcow2")
    Image(folder / "disk.qcow2", format="qcow2").convert(copy)


def _launch(daemon: StorageDaemon, folder: Path, in_handler: threading.Event) -> None:
    while not in_handler.is_set():
        with StorageDaemon():
            pass


def _event(daemon: StorageDaemon, folder: Path, in_handler: threading.Event) -> None:
    with pytest.raises(DeadlineExceeded):
        daemon.qmp.events().get(timeout=0.3)


def _commands(daemon: StorageDaemon, folder: Path, in_handler: threading.Event) -> None:
    while not in_handler.is_set():
        daemon.query_jobs()


@pytest.mark.parametrize("outer", [_job_wait, _operation_wait, _launch, _event, _commands])
def test_a_handler_may_do_anything(
    make_image: MakeImage,
    tmp_path: Path,
    outer: Callable[[StorageDaemon, Path, threading.Event], None],
) -> None:
    make_image(write="-P 7 0 8M")
    in_handler, said = threading.Event(), list[object]()

    def handler(*_: object) -> None:
        said.append([job.id for job in daemon.query_jobs() if job.is_over])
        said.append(len(daemon.graph().nodes) > 0)
        with StorageDaemon() as other:
            said.append(other.query_jobs())
        in_handler.set()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with StorageDaemon() as daemon:
            daemon.add_node(NullCo(node_name="n"))
            timer = threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            outer(daemon, tmp_path, in_handler)
            timer.join()
            assert in_handler.wait(10)
            assert said == [[], True, []]
    finally:
        signal.signal(signal.SIGUSR1, before)
