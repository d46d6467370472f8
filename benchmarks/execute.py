"""The round trip of one small command, `query-jobs`, on a storage daemon.

Every contestant has a daemon of its own, started alike; all of them live through the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager

from qemu.qmp import QMPClient
from qemu.qmp.legacy import QEMUMonitorProtocol

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.aio import AsyncQmp, AsyncStorageDaemon
from qemu_blocksdk.wire import QueryJobs

from .core import Bench, Contestant, Row, timed, timed_async
from .peers import RawQmp, daemon_socket

_COMMANDS = 100
"""Commands of one sample."""


def _ours(stack: ExitStack) -> dict[str, Contestant]:
    blocking = stack.enter_context(StorageDaemon())
    runner = stack.enter_context(asyncio.Runner())
    awaitable = AsyncStorageDaemon()
    stack.callback(lambda: runner.run(awaitable.stop()))
    runner.run(awaitable.launch())
    client = QMPClient("over")
    stack.callback(lambda: runner.run(client.disconnect()))
    runner.run(client.connect(stack.enter_context(daemon_socket())))
    session = runner.run(AsyncQmp.over(client))
    stack.callback(lambda: runner.run(session.close()))
    return {
        "StorageDaemon": timed(lambda: blocking.qmp.execute(QueryJobs()), times=_COMMANDS),
        "AsyncStorageDaemon": timed_async(
            runner, lambda: awaitable.qmp.execute(QueryJobs()), times=_COMMANDS
        ),
        "AsyncQmp.over": timed_async(runner, lambda: session.execute(QueryJobs()), times=_COMMANDS),
    }


def _ignore(_loop: asyncio.AbstractEventLoop, _context: Mapping[str, object]) -> None:
    pass


def _peers(stack: ExitStack) -> dict[str, Contestant]:
    raw = RawQmp(stack.enter_context(daemon_socket()))

    # It takes the thread's loop, so it gets one that nobody else closes.
    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    asyncio.set_event_loop(loop)
    # Ctrl-C leaves it with a task that nobody asks for its outcome.
    loop.set_exception_handler(_ignore)
    legacy = QEMUMonitorProtocol(stack.enter_context(daemon_socket()))
    stack.callback(legacy.close)
    legacy.connect()

    runner = stack.enter_context(asyncio.Runner())
    client = QMPClient("bench")
    stack.callback(lambda: runner.run(client.disconnect()))
    runner.run(client.connect(stack.enter_context(daemon_socket())))
    return {
        "raw socket": timed(lambda: raw.execute("query-jobs"), times=_COMMANDS),
        "qemu.qmp.legacy": timed(lambda: legacy.cmd("query-jobs"), times=_COMMANDS),
        "QMPClient": timed_async(runner, lambda: client.execute("query-jobs"), times=_COMMANDS),
    }


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with ExitStack() as stack:
        yield _ours(stack) | _peers(stack)


BENCH = Bench(
    name="execute",
    rows=[
        Row(
            "execute-raw",
            ours="StorageDaemon",
            peer="raw socket",
            target=1.1,
            note="qmp.execute(QueryJobs()) against compact JSON with a short id on a socket",
        ),
        Row(
            "execute-legacy",
            ours="StorageDaemon",
            peer="qemu.qmp.legacy",
            target=1.0,
            note="qmp.execute(QueryJobs()) against QEMUMonitorProtocol.cmd",
        ),
        Row(
            "execute-async",
            ours="AsyncStorageDaemon",
            peer="QMPClient",
            target=1.1,
            note="await qmp.execute(QueryJobs()) against await QMPClient.execute",
        ),
        Row(
            "execute-over",
            ours="AsyncQmp.over",
            peer="QMPClient",
            target=1.3,
            note="the same over a QMPClient, against await QMPClient.execute by itself",
        ),
    ],
    rounds=60,
    contestants=_contestants,
)
