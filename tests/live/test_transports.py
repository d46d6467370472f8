"""Commands, events, jobs, the graph and recipes are the same over each transport."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path

import pytest

from qemu_blocksdk.aio import (
    AsyncBackup,
    AsyncDisk,
    AsyncImage,
    AsyncPointInTime,
    AsyncStorageDaemon,
    AsyncVM,
)
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import CommandError, DeadlineExceeded, Unsupported, UsageError
from qemu_blocksdk.qmp import owner
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import (
    BlockdevDel,
    Closefd,
    Getfd,
    JobStatusChange,
    MigratePause,
    QueryJobs,
    QueryNamedBlockNodes,
    Resume,
    Stop,
)
from tests.live.helpers import MakeImage, are_equal
from tests.live.transports import OVER, Carrier, attached_to

pytestmark = pytest.mark.timeout(60)

NULL = NullCo(node_name="n", size=1 << 20)


@OVER
def test_commands_are_typed_checked_and_refused_alike(over: Carrier, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "m"
        async with (
            AsyncStorageDaemon(monitors=[path]) as ours,
            attached_to(AsyncStorageDaemon, path, over) as daemon,
        ):
            qmp = daemon.qmp
            assert qmp.version == ours.qmp.version
            assert qmp.is_connected
            await daemon.add_node(NULL)
            (node,) = await qmp.execute(QueryNamedBlockNodes())
            assert node.node_name == "n"
            raw = await qmp.execute_raw("query-named-block-nodes", {"flat": True})
            assert isinstance(raw, list)
            with pytest.raises(CommandError, match="zz") as refused:
                await qmp.execute(BlockdevDel(node_name="zz"))
            assert refused.value.error_class == "GenericError"
            assert refused.value.command == "blockdev-del"
            assert refused.value.arguments == {"node-name": "zz"}
            with pytest.raises(CommandError) as unknown:
                await qmp.execute_raw("no-such-command")
            assert unknown.value.error_class == "CommandNotFound"
            with pytest.raises(Unsupported, match="known to system"):
                await qmp.execute(MigratePause())
            assert (await qmp.schema()).has_command("query-jobs")
            assert await qmp.execute(QueryJobs()) == []

    asyncio.run(main())


@OVER
@pytest.mark.parametrize("size", [math.nan, "a\0b", "nested", "\udc80"])
def test_a_message_that_qemu_cannot_read_is_refused_and_harms_nobody(
    over: Carrier, size: object, tmp_path: Path
) -> None:
    nested: JsonObject = {}
    for _ in range(600):
        nested = {"a": [nested]}

    async def main() -> None:
        path = tmp_path / "m"
        async with (
            AsyncStorageDaemon(monitors=[path]),
            attached_to(AsyncStorageDaemon, path, over) as daemon,
        ):
            with pytest.raises(UsageError, match="x: arguments have no JSON form"):
                await daemon.qmp.execute_raw("x", {"a": nested if size == "nested" else size})
            assert await daemon.qmp.execute(QueryJobs()) == []

    asyncio.run(main())


@OVER
def test_events_and_jobs_are_followed_alike(over: Carrier, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "m"
        async with (
            AsyncStorageDaemon(monitors=[path]),
            attached_to(AsyncStorageDaemon, path, over) as daemon,
        ):
            source = await daemon.add_node(NULL)
            target = await daemon.add_node(NullCo(node_name="t", size=1 << 20))
            events = daemon.qmp.events(JobStatusChange.where(id="b0"))
            job = await source.start_backup(target, job_id="b0")
            assert (await job.run(timeout=20)).outcome == "completed"
            seen: list[str] = []
            while seen[-1:] != ["null"]:
                seen.append((await events.get(timeout=5)).status)
            assert seen[:2] == ["created", "running"]
            events.close()
            async with await source.start_mirror(target, speed=1) as slow:
                assert len(await daemon.qmp.execute(QueryJobs())) == 1
            assert slow.is_over
            assert await daemon.qmp.execute(QueryJobs()) == []

    asyncio.run(main())


@OVER
def test_a_limit_and_a_cancellation_leave_the_connection_usable(
    over: Carrier, tmp_path: Path
) -> None:
    async def main() -> None:
        path = tmp_path / "m"
        async with (
            AsyncStorageDaemon(monitors=[path]) as ours,
            attached_to(AsyncStorageDaemon, path, over) as daemon,
        ):
            with suspended(ours):
                with pytest.raises(DeadlineExceeded, match="the reply to query-jobs") as late:
                    await daemon.qmp.execute(QueryJobs(), timeout=0.1)
                assert late.value.seconds == 0.1
                asking = asyncio.create_task(daemon.qmp.execute(QueryJobs()))
                await asyncio.sleep(0.05)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            await daemon.add_node(NULL)
            assert [node.name for node in (await daemon.graph()).nodes] == ["n"]

    asyncio.run(main())


@OVER
def test_a_descriptor_is_passed_alike(over: Carrier, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "m"
        async with AsyncVM(monitors=[path]), attached_to(AsyncVM, path, over) as vm:
            reading, writing = os.pipe()
            try:
                commands = (
                    vm.qmp.execute_with_fd(Getfd(fdname=f"f{n}"), writing) for n in range(4)
                )
                await asyncio.gather(*commands)
                await vm.qmp.send_fd(writing)
                await vm.qmp.execute(Getfd(fdname="f4"))
                with pytest.raises(UsageError, match="cannot pass descriptor 99999"):
                    await vm.qmp.execute_with_fd(Getfd(fdname="x"), 99999)
                with pytest.raises(UsageError, match="cannot pass descriptor"):
                    await vm.qmp.send_fd(1 << 40)
                for number in range(5):
                    await vm.qmp.execute(Closefd(fdname=f"f{number}"))
            finally:
                os.close(reading)
                os.close(writing)

    asyncio.run(main())


@OVER
def test_a_command_out_of_band_passes_one_that_runs(over: Carrier, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "m"
        async with AsyncVM(monitors=[path]), attached_to(AsyncVM, path, over) as vm:
            # Out of band, it is refused for what it says of the migration, not for how it came.
            with pytest.raises(CommandError, match="migrat"):
                await vm.qmp.execute(MigratePause(), oob=True)

    asyncio.run(main())


@OVER
def test_messages_are_shown_alike(over: Carrier, tmp_path: Path) -> None:
    shown: list[JsonObject] = []

    async def main() -> None:
        path = tmp_path / "m"
        async with (
            AsyncVM(monitors=[path]),
            attached_to(AsyncVM, path, over, on_message=shown.append) as vm,
        ):
            shown.clear()  # a QMPClient has negotiated before
            events = vm.qmp.events(Resume)
            await vm.qmp.execute(Stop())
            await vm.cont()
            await events.get(timeout=5)
            with pytest.raises(CommandError):
                await vm.qmp.execute_raw("x", {"password": "hush"})

    asyncio.run(main())
    assert [message for message in shown if "execute" in message][-2:] == [
        {"execute": "cont"},
        {"execute": "x", "arguments": {"password": "***"}},
    ]
    assert [message["event"] for message in shown if "event" in message] == ["STOP", "RESUME"]
    assert {"return": {}} in shown
    assert "error" in shown[-1]


@OVER
def test_recipes_work_alike_and_undo_what_they_made(
    over: Carrier, tmp_path: Path, make_image: MakeImage
) -> None:
    disk = AsyncImage(make_image("disk.qcow2", write="-P 1 0 1M"), format="qcow2")

    async def main() -> None:
        path = tmp_path / "m"
        async with (
            AsyncStorageDaemon(monitors=[path]),
            attached_to(AsyncStorageDaemon, path, over) as daemon,
        ):
            node = await daemon.add_node(disk.options("disk"))
            for name, base in (("full", None), ("increment", "full")):
                backup = AsyncBackup(daemon)
                image = AsyncImage(tmp_path / f"{name}.qcow2", format="qcow2")
                on = base and AsyncImage(tmp_path / f"{base}.qcow2", format="qcow2")
                backup.add_disk(node, image, base=on or None)
                await (backup.start_incremental() if base else backup.start_full()).run(timeout=20)
                async with (
                    await daemon.start_nbd_server() as server,
                    await server.export(node, writable=True) as export,
                ):
                    await export.write(1 << 20, 1 << 16, pattern=7)
            async with AsyncPointInTime(daemon, node) as moment:
                names = {each.name for each in (await daemon.graph()).nodes}
                owners = {owner.owner_of(name) for name in names} - {None}
                assert len(owners) == 1  # temporary nodes name this connection
                assert {owner.owner_state(id) for id in owners if id} == {"alive"}
                copying = await AsyncImage.at_uri(moment.uri).start_convert(
                    AsyncImage(tmp_path / "moment.qcow2", format="qcow2")
                )
                await copying.run(timeout=20)
            await AsyncDisk(daemon, node).move(
                AsyncImage(tmp_path / "moved.qcow2", format="qcow2"), timeout=20
            )
            names = {each.name for each in (await daemon.graph()).nodes}
            assert not any(map(owner.owner_of, names))
            assert await daemon.leftovers() == []

    asyncio.run(main())
    assert are_equal(tmp_path / "increment.qcow2", tmp_path / "moved.qcow2")
    assert are_equal(tmp_path / "moment.qcow2", tmp_path / "moved.qcow2")
