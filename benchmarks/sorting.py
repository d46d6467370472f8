"""Ten thousand job events that arrive at once are sorted to a hundred waiters.

The peer of the connection is a thread that has the events ready, because QEMU would take
longer to make them than we to sort them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import cast

from qemu_blocksdk.aio import AsyncQmp
from qemu_blocksdk.wire import JobStatusChange

from .core import Bench, Contestant, Row
from .peers import Message

_EACH = 100
"""Events of one job."""
_GREETING: Message = {
    "QMP": {
        "version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""},
        "capabilities": [],
    }
}


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _events(jobs: int) -> bytes:
    """What a hundred events of each job look like on the wire, turn by turn."""
    statuses = ("paused", "running")
    return b"".join(
        _line(
            {
                "event": "JOB_STATUS_CHANGE",
                "timestamp": {"seconds": 1, "microseconds": 2},
                "data": {"id": f"job-{job}", "status": statuses[turn % 2]},
            }
        )
        for turn in range(_EACH)
        for job in range(jobs)
    )


def _serve(sock: socket.socket, jobs: int, go: threading.Event) -> None:
    sock.sendall(_line(_GREETING))
    reader = sock.makefile("rb")
    request = cast("Message", json.loads(reader.readline()))
    sock.sendall(_line({**{key: request[key] for key in request if key == "id"}, "return": {}}))
    go.wait()
    sock.sendall(_events(jobs))
    reader.read()  # until we hang up


async def _receive(qmp: AsyncQmp, job: int, ready: asyncio.Semaphore) -> None:
    async with qmp.events(JobStatusChange.where(id=f"job-{job}")) as events:
        ready.release()
        for _ in range(_EACH):
            await events.get()


async def _sort(jobs: int) -> float:
    """Return the seconds from the first event on the wire to the last at its waiter."""
    ours, theirs = socket.socketpair()
    go = threading.Event()
    server = threading.Thread(target=_serve, args=(theirs, jobs, go))
    server.start()
    ready = asyncio.Semaphore(0)
    try:
        async with await AsyncQmp.connect(ours) as qmp, asyncio.TaskGroup() as group:
            waiters = [group.create_task(_receive(qmp, job, ready)) for job in range(jobs)]
            for _ in range(jobs):
                await ready.acquire()
            begin = time.perf_counter()
            go.set()
            await asyncio.wait(waiters)
            return time.perf_counter() - begin
    finally:
        go.set()
        server.join()
        theirs.close()


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with asyncio.Runner() as runner:
        yield {
            "100 jobs": lambda: runner.run(_sort(100)),
            "10 x 10 jobs": lambda: runner.run(_sort(10)) * 10,
        }


BENCH = Bench(
    name="sorting",
    rows=[
        Row(
            "sorting-linear",
            ours="100 jobs",
            peer="10 x 10 jobs",
            target=1.2,
            note="10,000 events of 100 jobs, to 100 waiters, against ten times 1,000 of 10",
        )
    ],
    rounds=15,
    contestants=_contestants,
    programs=(),
)
