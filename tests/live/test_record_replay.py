"""Sessions of real QEMUs, recorded, and played where there is none."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from qemu_blocksdk import VM, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.blockdev import File, NullCo, Qcow2
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import CommandError, ConnectionLost, DeadlineExceeded
from qemu_blocksdk.testing.faults import suspended
from qemu_blocksdk.testing.replay import ReplayServer, record
from qemu_blocksdk.wire import QueryJobs
from tests.live.helpers import MakeImage, Script, children

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20


def session(qemu: VM | StorageDaemon, folder: Path) -> list[object]:
    """A backup, an increment, a mirror, a job that fails, a refusal; what was seen of it all."""
    seen: list[object] = []
    disk = qemu.add_node(Qcow2(node_name="disk", file=File(filename=str(folder / "disk.qcow2"))))
    for name in ("full", "increment", "copy"):
        qemu.add_node(NullCo(node_name=name, size=16 * MIB))
    bitmap = disk.add_bitmap("b")
    seen.append(disk.backup(qemu.node("full"), timeout=20).outcome)
    increment = disk.start_backup(qemu.node("increment"), sync="incremental", bitmap=bitmap)
    seen.append(increment.run(timeout=20).outcome)
    with disk.start_mirror(qemu.node("copy"), sync="full") as job:
        seen.append(job.run(timeout=20).outcome)
    small = qemu.add_node(NullCo(node_name="small", size=MIB))
    with pytest.raises(CommandError) as refused:
        disk.start_backup(small)
    bitmap.remove()
    graph = qemu.graph()
    seen += [refused.value.desc, [node.name for node in graph.nodes], qemu.query_bitmaps()]
    seen += [disk.query_info(), qemu.qmp.version]
    disk.delete()
    return seen


@pytest.mark.parametrize("kind", [VM, StorageDaemon])
def test_a_recorded_session_gives_the_same_objects_without_qemu(
    kind: type[VM | StorageDaemon],
    make_image: MakeImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_image(write="-P 7 0 1M")
    path = tmp_path / "session.jsonl"
    with record(path) as recording, kind(on_message=recording) as qemu:
        first = session(qemu, tmp_path)
    before = children()
    monkeypatch.setenv("PATH", "")
    (tmp_path / "disk.qcow2").unlink()
    for _ in range(3):
        with ReplayServer(path) as server, kind.attach(server.address) as qemu:
            assert session(qemu, tmp_path) == first
    assert children() == before
    assert first[:3] == ["completed"] * 3


@pytest.mark.parametrize("kind", [AsyncVM, AsyncStorageDaemon])
def test_an_awaited_session_is_played_to_awaiting_objects(
    kind: type[AsyncVM | AsyncStorageDaemon], tmp_path: Path
) -> None:
    path = tmp_path / "session.jsonl"

    async def work(qemu: AsyncVM | AsyncStorageDaemon) -> list[object]:
        nodes = [
            await qemu.add_node(NullCo(node_name=name, size=MIB)) for name in ("a", "b", "c", "d")
        ]
        jobs = [await nodes[0].start_backup(nodes[1]), await nodes[2].start_backup(nodes[3])]
        results = [await job.run(timeout=20) for job in jobs]
        return [result.outcome for result in results]

    async def main() -> None:
        with record(path) as recording:
            async with kind(on_message=recording) as qemu:
                first = await work(qemu)
        with ReplayServer(path, in_order=False) as server:
            async with await kind.attach(server.address) as qemu:
                assert await work(qemu) == first

    asyncio.run(main())


def test_a_session_recorded_in_one_folder_is_played_in_another(
    make_image: MakeImage, tmp_path: Path
) -> None:
    def anywhere(message: JsonObject) -> JsonObject:
        text: JsonObject = json.loads(re.sub(r'"[^"]*/disk.qcow2"', '"FILE"', json.dumps(message)))
        return text

    def add(qemu: StorageDaemon, path: Path) -> None:
        qemu.add_node(Qcow2(node_name="disk", file=File(filename=str(path))))

    path = tmp_path / "session.jsonl"
    with record(path) as recording, StorageDaemon(on_message=recording) as daemon:
        add(daemon, make_image())
    with (
        ReplayServer(path, filters=[anywhere]) as server,
        StorageDaemon.attach(server.address) as daemon,
    ):
        add(daemon, Path("/elsewhere/disk.qcow2"))


def test_a_qemu_that_died_ends_the_connection_in_the_replay_too(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    with record(path) as recording, StorageDaemon(on_message=recording) as daemon:
        daemon.add_node(NullCo(node_name="n"))
        with suspended(daemon):
            with pytest.raises(DeadlineExceeded):
                daemon.qmp.execute(QueryJobs(), timeout=0.05)
            daemon.kill()
    with ReplayServer(path) as server, StorageDaemon.attach(server.address) as daemon:
        daemon.add_node(NullCo(node_name="n"))
        with pytest.raises(ConnectionLost):
            daemon.qmp.execute(QueryJobs())


CLIENT = """\
import sys
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import NullCo

with StorageDaemon.attach(sys.argv[1]) as daemon:
    a, b = [daemon.add_node(NullCo(node_name=name, size=1 << 20)) for name in "ab"]
    print(a.backup(b, timeout=10).outcome)
"""


def test_a_session_is_played_to_clients_in_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    with record(path) as recording, StorageDaemon(on_message=recording) as daemon:
        one, other = (daemon.add_node(NullCo(node_name=name, size=MIB)) for name in "ab")
        one.backup(other, timeout=10)
    with ReplayServer(path) as server, Script(tmp_path, CLIENT, server.address) as client:
        assert client.finish() == "completed\n"
