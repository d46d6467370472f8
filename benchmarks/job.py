"""A job from its start to its dismissal: the backup of an image of 4 MiB.

The nodes are `null-co`, so the time is that of commands and events, not of a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import cast

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import NullCo

from .core import Bench, Contestant, Row, timed, timed_async
from .peers import Message, RawQmp, daemon_socket

_SIZE = 4 << 20
_JOBS = 10
"""Jobs of one sample."""


def _null(name: str) -> NullCo:
    return NullCo(node_name=name, size=_SIZE, read_zeroes=True)


def _backup_by_hand(qmp: RawQmp) -> None:
    qmp.events.clear()
    qmp.execute(
        "blockdev-backup",
        {
            "job-id": "backup",
            "device": "source",
            "target": "target",
            "sync": "full",
            "auto-dismiss": False,
        },
    )
    while True:
        event = qmp.next_event()
        if event["event"] == "JOB_STATUS_CHANGE":
            data = cast("Message", event["data"])
            if data["id"] == "backup" and data["status"] == "concluded":
                break
    jobs = cast("list[Message]", qmp.execute("query-jobs"))
    error = next(job for job in jobs if job["id"] == "backup").get("error")
    qmp.execute("job-dismiss", {"id": "backup"})
    if error is not None:
        raise RuntimeError(error)


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with ExitStack() as stack:
        daemon = stack.enter_context(StorageDaemon())
        source, target = daemon.add_node(_null("source")), daemon.add_node(_null("target"))

        runner = stack.enter_context(asyncio.Runner())
        awaitable = AsyncStorageDaemon()
        stack.callback(lambda: runner.run(awaitable.stop()))
        runner.run(awaitable.launch())
        async_source = runner.run(awaitable.add_node(_null("source")))
        async_target = runner.run(awaitable.add_node(_null("target")))

        async def backup() -> None:
            job = await async_source.start_backup(async_target)
            await job.wait()

        raw = RawQmp(stack.enter_context(daemon_socket()))
        for name in ("source", "target"):
            arguments = {"driver": "null-co", "node-name": name, "size": _SIZE}
            raw.execute("blockdev-add", {**arguments, "read-zeroes": True})

        yield {
            "Node.backup": timed(lambda: source.start_backup(target).wait(), times=_JOBS),
            "AsyncNode.backup": timed_async(runner, backup, times=_JOBS),
            "raw socket": timed(lambda: _backup_by_hand(raw), times=_JOBS),
        }


_NOTE = "against blockdev-backup, events until concluded, query-jobs, job-dismiss by hand"

BENCH = Bench(
    name="job",
    rows=[
        Row(
            "job",
            ours="Node.backup",
            peer="raw socket",
            target=1.4,
            note=f"node.backup(target).wait() of 4 MiB, null-co, {_NOTE}",
        ),
        Row(
            "job-async",
            ours="AsyncNode.backup",
            peer="raw socket",
            note=f"await (await node.backup(target)).wait() of 4 MiB, null-co, {_NOTE}",
        ),
    ],
    rounds=40,
    contestants=_contestants,
)
