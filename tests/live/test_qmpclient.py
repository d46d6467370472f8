"""A QMPClient that the caller has: it stays the caller's, and its end ends what waits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path

import pytest
from qemu.qmp import EventListener, QMPClient, Runstate

from qemu_blocksdk import VM, Qmp, StorageDaemon
from qemu_blocksdk.aio import AsyncQmp, AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import ConnectionLost, Unsupported, UsageError
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import Getfd, JobStatusChange, QueryJobs, Resume, Stop, StopEvent
from tests.live.transports import connected_client, left_alone

pytestmark = pytest.mark.timeout(30)

NULL = NullCo(node_name="n", size=1 << 30)


@contextlib.asynccontextmanager
async def held_client(folder: Path) -> AsyncGenerator[tuple[AsyncStorageDaemon, QMPClient]]:
    """A storage daemon of ours, and a QMPClient that is connected to it."""
    path = folder / "m"
    async with AsyncStorageDaemon(monitors=[path]) as daemon, connected_client(path) as client:
        yield daemon, client


def test_closing_leaves_the_client_connected_and_may_be_repeated(tmp_path: Path) -> None:
    async def main() -> None:
        async with held_client(tmp_path) as (_, client), left_alone(client):
            for _ in range(3):
                daemon = await AsyncStorageDaemon.attach(client)
                assert repr(daemon) == "<AsyncStorageDaemon the QMPClient test: attached>"
                stream = daemon.qmp.events(JobStatusChange)
                assert await daemon.stop() is None
                assert await daemon.stop() is None
                assert not daemon.qmp.is_connected
                await daemon.qmp.wait_lost(timeout=1)
                assert [event async for event in stream] == []
                with pytest.raises(ConnectionLost, match="the connection was closed"):
                    await daemon.qmp.execute(QueryJobs())

    asyncio.run(main())


def test_closing_ends_the_commands_in_flight_and_no_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with held_client(tmp_path) as (daemon, client), left_alone(client):
            qmp = await AsyncQmp.over(client)
            with suspended(daemon):
                ours = asyncio.create_task(qmp.execute(QueryJobs()))
                theirs = asyncio.create_task(client.execute("query-jobs"))
                await asyncio.sleep(0.05)
                await qmp.close()
                with pytest.raises(ConnectionLost, match="the connection was closed"):
                    await ours
            assert await theirs == []

    asyncio.run(main())


async def _disconnects(daemon: AsyncStorageDaemon, client: QMPClient) -> None:
    await client.disconnect()


async def _kills(daemon: AsyncStorageDaemon, client: QMPClient) -> None:
    await daemon.kill()


@pytest.mark.parametrize("end", [_disconnects, _kills])
def test_the_end_of_the_client_wakes_all_that_waits(
    end: Callable[[AsyncStorageDaemon, QMPClient], Coroutine[object, None, None]], tmp_path: Path
) -> None:
    async def main() -> None:
        async with held_client(tmp_path) as (daemon, client):
            attached = await AsyncStorageDaemon.attach(client)
            source = await attached.add_node(NULL)
            target = await attached.add_node(NullCo(node_name="t", size=1 << 30))
            job = await source.start_mirror(target, speed=1)
            stream = attached.qmp.events()
            while stream.get_nowait() is not None:
                pass
            waiters = [
                asyncio.create_task(job.wait()),
                asyncio.create_task(stream.get()),
                asyncio.create_task(anext(stream)),
                asyncio.create_task(attached.qmp.execute_raw("query-jobs")),
                asyncio.create_task(attached.qmp.execute_raw("query-jobs", timeout=60)),
            ]
            lost = asyncio.create_task(attached.qmp.wait_lost())
            with suspended(daemon):
                await asyncio.sleep(0.05)
                ending = asyncio.create_task(end(daemon, client))
                _, pending = await asyncio.wait((*waiters, lost), timeout=5)
                assert not pending
                for waiter in waiters:
                    error = waiter.exception()
                    assert isinstance(error, ConnectionLost)
                    assert "the QMPClient test: disconnected" in str(error)
                await ending
            assert not attached.is_running
            with pytest.raises(ConnectionLost, match="QMPClient test: disconnected"):
                await attached.qmp.execute(QueryJobs())
            with pytest.raises(ConnectionLost):
                await attached.qmp.events().get()
            await attached.stop()
            assert client._listeners == [client.events]

    asyncio.run(main())


def test_what_waits_ends_before_a_disconnect_that_waits_for_qemu(tmp_path: Path) -> None:
    async def main() -> None:
        async with held_client(tmp_path) as (daemon, client):
            qmp = await AsyncQmp.over(client)
            with suspended(daemon):
                # More than the socket takes: the client flushes it before it disconnects.
                long = {"a": "x" * (1 << 19)}
                asking = asyncio.create_task(qmp.execute_raw("x", long, timeout=60))
                await asyncio.sleep(0.05)
                disconnecting = asyncio.create_task(client.disconnect())
                with pytest.raises(ConnectionLost, match="QMPClient test: disconnected"):
                    await asyncio.wait_for(asking, 5)
                assert not disconnecting.done()
            await disconnecting
            await qmp.close()

    asyncio.run(main())


def test_a_client_that_reconnects_is_another_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with held_client(tmp_path) as (_, client):
            qmp = await AsyncQmp.over(client)
            await client.disconnect()
            await client.connect(str(tmp_path / "m"))
            with pytest.raises(ConnectionLost):
                await qmp.execute(QueryJobs())
            await qmp.close()
            async with await AsyncQmp.over(client) as again:
                assert await again.execute(QueryJobs()) == []

    asyncio.run(main())


def test_two_sessions_and_the_callers_own_use_do_not_disturb_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "m"
        async with AsyncVM(monitors=[path]), connected_client(path) as client, left_alone(client):
            mine = EventListener(("STOP", "RESUME"))
            client.register_listener(mine)
            async with await AsyncVM.attach(client) as one:
                stops = one.qmp.events(StopEvent)
                async with await AsyncQmp.over(client) as other:
                    resumes = other.events(Resume)
                    await client.execute("stop")
                    await stops.get(timeout=5)
                    await client.execute("cont")
                    await resumes.get(timeout=5)
                    found = await asyncio.gather(
                        *(one.qmp.execute(QueryJobs()) for _ in range(20)),
                        *(other.execute(QueryJobs()) for _ in range(20)),
                        *(client.execute("query-jobs") for _ in range(20)),
                    )
                    assert found == [[]] * 60
                await one.qmp.execute(Stop())
                await stops.get(timeout=5)
            assert [event["event"] for event in mine.clear()] == ["STOP", "RESUME", "STOP"]
            heard = [event["event"] for event in client.events.clear()]
            assert heard[-3:] == ["STOP", "RESUME", "STOP"]
            client.remove_listener(mine)

    asyncio.run(main())


def test_the_blocking_classes_refuse_a_client(tmp_path: Path) -> None:
    async def main() -> None:
        async with held_client(tmp_path) as (_, client), left_alone(client):
            begins: list[Callable[[QMPClient], object]] = [
                VM.attach,
                StorageDaemon.attach,
                Qmp.over,
            ]
            for begin in begins:
                with pytest.raises(UsageError, match=r"event loop .* AsyncQmp\.over\(client\)"):
                    await asyncio.to_thread(begin, client)

    asyncio.run(main())


def test_a_client_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def over(client: QMPClient) -> None:
        with pytest.raises(UsageError, match="belongs to another event loop"):
            await AsyncQmp.over(client)

    async def main() -> None:
        with pytest.raises(UsageError, match=r"not connected \(idle\): call its connect\(\)"):
            await AsyncVM.attach(QMPClient())
        with pytest.raises(UsageError, match=r"neither an address nor a qemu\.qmp\.QMPClient"):
            await AsyncQmp.over("path")  # type: ignore[arg-type]  # what the error is about
        async with held_client(tmp_path) as (_, client), left_alone(client):
            await asyncio.to_thread(asyncio.run, over(client))
            async with await AsyncQmp.over(client) as qmp:

                async def ask() -> None:
                    with pytest.raises(UsageError, match="belongs to another event loop"):
                        await qmp.execute(QueryJobs())

                await asyncio.to_thread(asyncio.run, ask())

    asyncio.run(main())


def test_no_descriptor_goes_by_tcp_and_the_client_goes_on() -> None:
    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address: tuple[str, int] = probe.getsockname()
        async with AsyncVM(monitors=[address]):
            client = QMPClient()
            await client.connect(address)
            async with await AsyncVM.attach(client) as vm:
                with pytest.raises(Unsupported, match="unix socket"):
                    await vm.qmp.execute_with_fd(Getfd(fdname="x"), 0)
                with pytest.raises(Unsupported, match="unix socket"):
                    await vm.qmp.send_fd(0)
                with pytest.raises(Unsupported, match="somebody else started it"):
                    await vm.qmp._execute_and_read(QueryJobs())
                assert await vm.qmp.execute(QueryJobs()) == []
            assert client.runstate is Runstate.RUNNING
            await client.disconnect()

    asyncio.run(main())
