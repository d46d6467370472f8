"""Asking qemu-img for an image's info, one time after another and many at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from qemu_blocksdk import Image
from qemu_blocksdk.aio import AsyncImage

from .core import Bench, Contestant, Row

_CALLS = 200
_AT_ONCE = 32


def _timed(work: Callable[[], object]) -> Contestant:
    def sample() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return sample


@contextmanager
def _contestants(quick: bool) -> Generator[Mapping[str, Contestant]]:
    calls = _CALLS // 5 if quick else _CALLS
    with tempfile.TemporaryDirectory() as folder:
        image = Image(Path(folder, "disk"), format="qcow2")
        image.create("64M")
        argv = ["qemu-img", "info", "--output=json", "-f", "qcow2", str(image.path)]

        def bare(_: object = None) -> None:
            subprocess.run(argv, capture_output=True, check=True)

        def one_by_one(ask: Callable[[], object]) -> None:
            for _ in range(calls):
                ask()

        async def at_once() -> None:
            same = AsyncImage(image.path, format="qcow2")
            await asyncio.gather(*(same.info() for _ in range(_AT_ONCE)))

        processors = len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(processors) as pool, asyncio.Runner() as runner:
            yield {
                "Image.info": _timed(lambda: one_by_one(image.info)),
                "subprocess.run": _timed(lambda: one_by_one(bare)),
                "AsyncImage.info": _timed(lambda: runner.run(at_once())),
                "in threads": _timed(lambda: list(pool.map(bare, range(_AT_ONCE)))),
            }


BENCH = Bench(
    name="image-info",
    rows=[
        Row(
            "image-info",
            ours="Image.info",
            peer="subprocess.run",
            target=1.15,
            note=f"{_CALLS} times; the peer's answer stays text",
        ),
        Row(
            "image-info-at-once",
            ours="AsyncImage.info",
            peer="in threads",
            note=f"{_AT_ONCE} at once; the peer: bare, in as many threads as processors",
        ),
    ],
    rounds=12,
    contestants=_contestants,
    programs=("qemu-img",),
)
