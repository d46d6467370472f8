"""QEMU is killed at random points of recipe runs: no hang, no orphan, no wrong success.

Whatever a recipe calls finished is compared with what it should hold, by qemu-img, after
QEMU is gone. Each run has a seed of its own, which its failure names.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from qemu_blocksdk.aio import (
    AsyncBackup,
    AsyncDisk,
    AsyncImage,
    AsyncNode,
    AsyncPointInTime,
    AsyncStorageDaemon,
    AsyncStorageMigration,
    AsyncVM,
)
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.errors import BlockSdkError
from tests.live.helpers import are_equal, exists, run, write_with_qemu_io

pytestmark = pytest.mark.timeout(300)

RUNS = 200
MIGRATIONS = 0.1
"""The part of the runs in which a guest moves with its disks."""


class Case(NamedTuple):
    """A daemon with a disk of three layers, and what the disk holds."""

    daemon: AsyncStorageDaemon
    node: AsyncNode
    folder: Path
    reference: Path

    def image(self, name: str) -> AsyncImage:
        """An image in the run's folder."""
        return AsyncImage(self.folder / name, format="qcow2")


Recipe = Callable[[Case], Awaitable[list[Path]]]
"""Runs to its end; returns the images that it calls finished."""


async def _full(case: Case) -> list[Path]:
    backup = AsyncBackup(case.daemon)
    backup.add_disk(case.node, case.image("full.qcow2"))
    await backup.full()
    return [case.folder / "full.qcow2"]


async def _incremental(case: Case) -> list[Path]:
    done = await _full(case)
    for name, kind in (
        ("first", AsyncBackup.start_incremental),
        ("second", AsyncBackup.start_differential),
    ):
        backup = AsyncBackup(case.daemon)
        target = case.image(f"{name}.qcow2")
        backup.add_disk(case.node, target, base=case.image("full.qcow2"))
        await kind(backup).run()
        done.append(target.path)
    return done


async def _moment(case: Case) -> list[Path]:
    copy = case.image("moment.qcow2")
    async with AsyncPointInTime(case.daemon, case.node) as moment:
        await AsyncImage.at_uri(moment.uri).convert(copy)
    return [copy.path]


async def _move(case: Case) -> list[Path]:
    target = case.image("moved.qcow2")
    await AsyncDisk(case.daemon, case.node).move(target)
    return [target.path]


async def _commit(case: Case) -> list[Path]:
    await AsyncDisk(case.daemon, case.node).commit(case.daemon.node("layer0"))
    return [case.folder / "layer0.qcow2"]


async def _flatten(case: Case) -> list[Path]:
    await AsyncDisk(case.daemon, case.node).flatten()
    return [case.folder / "layer2.qcow2"]


RECIPES: list[Recipe] = [_full, _incremental, _moment, _move, _commit, _flatten]


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a chain of three images, and a flat copy of what it holds."""
    folder = tmp_path_factory.mktemp("layers")
    for number in range(3):
        path = folder / f"layer{number}.qcow2"
        backing = ["-b", f"layer{number - 1}.qcow2", "-F", "qcow2"] if number else []
        run("qemu-img", "create", "-q", "-f", "qcow2", *backing, path, "16M")
        write_with_qemu_io(path, f"write -P {number + 1} {number}M {4 - number}M")
    run(
        *("qemu-img", "convert", "-O", "qcow2", folder / "layer2.qcow2"),
        folder / "reference.qcow2",
    )
    return folder


async def _one(seed: int, folder: Path) -> list[Path]:
    """Run a recipe and kill QEMU meanwhile, or after it; return what it calls finished."""
    dice = random.Random(seed)
    if dice.random() < MIGRATIONS:
        return await _migrated(dice, folder)
    daemon = AsyncStorageDaemon()
    await daemon.launch()
    pid = daemon.process.pid
    options: Qcow2 | None = None
    for number in range(3):
        file = File(filename=str(folder / f"layer{number}.qcow2"))
        options = Qcow2(node_name=f"layer{number}", file=file, backing=options)
    assert options is not None
    case = Case(daemon, await daemon.add_node(options), folder, folder / "reference.qcow2")
    recipe = dice.choice(RECIPES)
    running = asyncio.ensure_future(recipe(case))
    await asyncio.wait((running,), timeout=dice.random() ** 2 * 0.3)
    daemon.process.send_signal(signal.SIGKILL)
    try:
        async with asyncio.timeout(20):
            finished = await running
    except BlockSdkError:
        finished = []
    await daemon.stop()
    assert not exists(pid)
    return finished


async def _migrated(dice: random.Random, folder: Path) -> list[Path]:
    """Move a guest and its disk to another VM, and kill one of the two meanwhile, or after it."""
    run("qemu-img", "create", "-q", "-f", "qcow2", folder / "moved.qcow2", "16M")
    vms = AsyncVM(), AsyncVM(incoming="defer")
    nodes: list[AsyncNode] = []
    for vm, name in zip(vms, ("layer2", "moved"), strict=True):
        await vm.launch()
        image = AsyncImage(folder / f"{name}.qcow2", format="qcow2")
        nodes.append(await vm.add_node(image.options(name)))
        await vm.plug(nodes[-1], device="virtio-scsi", id="disk")
    move = AsyncStorageMigration(*vms)
    move.add_disk(*nodes)
    running = asyncio.ensure_future(move.migrate())
    await asyncio.wait((running,), timeout=dice.random() * 0.4)
    dice.choice(vms).process.send_signal(signal.SIGKILL)
    try:
        async with asyncio.timeout(20):
            await running
    except BlockSdkError:
        finished = []
    else:
        finished = [folder / "moved.qcow2"]
    for vm in vms:
        await vm.stop()
        assert not exists(vm.process.pid)
    return finished


def _check(folder: Path, finished: list[Path], given: set[str]) -> None:
    """What was promised holds now that QEMU is gone; nothing else is left, and no half of it."""
    reference = folder / "reference.qcow2"
    for image in finished:
        assert are_equal(image, reference), f"{image.name} is wrong"
    if not finished or finished[0].name != "layer0.qcow2":
        assert are_equal(folder / "layer2.qcow2", reference), "the disk is wrong"
    made = {path.name for path in folder.iterdir()} - given
    assert made <= {"full.qcow2", "first.qcow2", "second.qcow2", "moment.qcow2", "moved.qcow2"}
    for name in made - {"moved.qcow2"}:
        assert are_equal(folder / name, reference), f"{name} is half-written"


def test_qemu_is_killed_at_random_points_of_recipes(layers: Path, tmp_path: Path) -> None:
    succeeded = 0
    given = {path.name for path in layers.iterdir()}
    with asyncio.Runner() as runner:
        for seed in range(RUNS):
            folder = tmp_path / str(seed)
            shutil.copytree(layers, folder)
            try:
                finished = runner.run(_one(seed, folder))
                _check(folder, finished, given)
            except BaseException as error:
                error.add_note(f"with seed {seed}")
                raise
            succeeded += bool(finished)
            shutil.rmtree(folder)
    # Of both there has to be a good part, or the kills came too early or too late.
    assert RUNS / 10 < succeeded < RUNS * 9 / 10
