"""A storage daemon from launch to ready to gone."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon

from .core import Bench, Contestant, Row, timed, timed_async
from .peers import launch_and_quit


def _blocking() -> None:
    with StorageDaemon():
        pass


async def _awaitable() -> None:
    async with AsyncStorageDaemon():
        pass


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with asyncio.Runner() as runner:
        yield {
            "StorageDaemon": timed(_blocking),
            "AsyncStorageDaemon": timed_async(runner, _awaitable),
            "bare subprocess": timed(launch_and_quit),
        }


_NOTE = "against Popen with the same arguments, greeting, qmp_capabilities, quit, wait"

BENCH = Bench(
    name="launch",
    rows=[
        Row(
            "launch",
            ours="StorageDaemon",
            peer="bare subprocess",
            note=f"with StorageDaemon(): pass, {_NOTE}",
        ),
        Row(
            "launch-async",
            ours="AsyncStorageDaemon",
            peer="bare subprocess",
            note=f"async with AsyncStorageDaemon(): pass, {_NOTE}",
        ),
    ],
    rounds=40,
    contestants=_contestants,
)
