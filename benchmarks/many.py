"""Fifty daemons at once, each running one backup job, all awaited in one process."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import cast

from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import NullCo

from .core import Bench, Contestant, Row
from .peers import Message, RawQmp

_MANY, _FEW = 50, 5
_SIZE = 4 << 20

# A shell loop, as somebody writes it who has never heard of us.
_LOOP = """
for number in $(seq "$2"); do
    qemu-storage-daemon --chardev "socket,id=qmp,path=$1/$number,server=on,wait=off" \
        --monitor chardev=qmp </dev/null >/dev/null 2>&1 &
done
wait
"""


async def _one() -> None:
    async with AsyncStorageDaemon() as daemon:
        source, target = [
            await daemon.add_node(NullCo(node_name=name, size=_SIZE, read_zeroes=True))
            for name in ("source", "target")
        ]
        await (await source.start_backup(target)).wait()


async def _all(count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_one())


def _ours(runner: asyncio.Runner, count: int) -> float:
    begin = time.perf_counter()
    runner.run(_all(count))
    return time.perf_counter() - begin


def _connected(path: str) -> RawQmp:
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            time.sleep(0.001)
        else:
            return RawQmp(sock)


def _by_hand(count: int) -> float:
    """Start them by a shell loop; drive each over a raw socket, all at the same time."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        loop = subprocess.Popen(["sh", "-c", _LOOP, "sh", folder, str(count)])
        daemons = [_connected(f"{folder}/{number}") for number in range(1, count + 1)]
        for qmp in daemons:
            for name in ("source", "target"):
                arguments = {"driver": "null-co", "node-name": name, "size": _SIZE}
                qmp.execute("blockdev-add", {**arguments, "read-zeroes": True})
            qmp.execute(
                "blockdev-backup",
                {
                    "job-id": "job",
                    "device": "source",
                    "target": "target",
                    "sync": "full",
                    "auto-dismiss": False,
                },
            )
        for qmp in daemons:
            while not _is_end(qmp.next_event()):
                pass
            jobs = cast("list[Message]", qmp.execute("query-jobs"))
            if jobs[0].get("error") is not None:
                raise RuntimeError(jobs[0]["error"])
            qmp.execute("job-dismiss", {"id": "job"})
            qmp.execute("quit")
        loop.wait()
    return time.perf_counter() - begin


def _is_end(event: Message) -> bool:
    data = cast("Message", event["data"])
    return event["event"] == "JOB_STATUS_CHANGE" and data["status"] == "concluded"


def _memory() -> float:
    argv = [sys.executable, "-m", "benchmarks.children.many", str(_MANY)]
    return float(subprocess.check_output(argv))


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with asyncio.Runner() as runner:
        yield {
            "50 daemons": lambda: _ours(runner, _MANY),
            "10 x 5 daemons": lambda: _ours(runner, _FEW) * (_MANY // _FEW),
            "shell loop": lambda: _by_hand(_MANY),
            "held": _memory,
        }


BENCH = Bench(
    name="many",
    rows=[
        Row(
            "many",
            ours="50 daemons",
            peer="shell loop",
            target=1.2,
            note="50 daemons with a backup job each, launched and awaited together, against a"
            " shell loop that starts them and raw sockets",
        ),
        Row(
            "many-linear",
            ours="50 daemons",
            peer="10 x 5 daemons",
            target=1.2,
            note="the same against ten times the time of 5",
        ),
        Row(
            "many-memory",
            ours="held",
            peer=None,
            kind="growth",
            target=2048.0,
            note="Python's memory a daemon, 50 of them running with a job each",
        ),
    ],
    rounds=7,
    contestants=_contestants,
)
