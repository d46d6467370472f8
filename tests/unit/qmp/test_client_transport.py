"""Sessions over a QMPClient whose peer is a fake server: bad messages, no greeting, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncGenerator

import pytest
from qemu.qmp import QMPClient, Runstate

from qemu_blocksdk.aio import AsyncQmp
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    MalformedReply,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.wire import QueryJobs
from tests.unit.qmp.fake_server import Answer, Server, event

pytestmark = pytest.mark.timeout(10)


@contextlib.asynccontextmanager
async def over_client(
    answer: Answer, *, negotiate: bool = True, oob: bool = True
) -> AsyncGenerator[tuple[Server, QMPClient]]:
    """Connect a QMPClient to a fake server."""
    with Server(answer, oob=oob, stream=True) as server:
        client = QMPClient("test")
        client.negotiate = client.await_greeting = negotiate
        await client.connect(server.client)
        try:
            yield server, client
        finally:
            with contextlib.suppress(Exception):  # it raises how the connection ended
                await client.disconnect()


def _with(reply: JsonObject) -> Answer:
    def answer(server: Server, request: dict[str, object]) -> object:
        server.send({**reply, "id": request["id"]})
        return None

    return answer


@pytest.mark.parametrize("reply", [{}, {"result": 1}])
def test_a_reply_without_a_result_is_malformed_and_the_client_stays_usable(
    reply: JsonObject,
) -> None:
    async def main() -> None:
        async with over_client(_with(reply)) as (_, client):
            async with await AsyncQmp.over(client) as qmp:
                with pytest.raises(MalformedReply, match="x: expected a result or an error"):
                    await qmp.execute_raw("x")
                assert qmp.is_connected
            assert client.runstate is Runstate.RUNNING

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, {}, "words", {"class": 7}, {"class": "X", "desc": "d"}])
def test_a_refusal_is_a_command_error_however_it_is_formed(error: JsonObject) -> None:
    async def main() -> None:
        async with (
            over_client(_with({"error": error})) as (_, client),
            await AsyncQmp.over(client) as qmp,
        ):
            with pytest.raises(CommandError) as caught:
                await qmp.execute_raw("x", {"password": "hush"})
            assert caught.value.arguments == {"password": "***"}

    asyncio.run(main())


def test_no_secret_is_in_an_error_its_causes_or_our_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="qemu_blocksdk")
    secret = "hush"
    refusal: JsonObject = {"error": {"class": "GenericError", "desc": f"no: '{secret}'"}}

    async def main() -> None:
        async with (
            over_client(_with(refusal)) as (_, client),
            await AsyncQmp.over(client) as qmp,
        ):
            with pytest.raises(CommandError) as caught:
                await qmp.execute_raw("x", {"password": secret})
            error = caught.value
            assert error.__cause__ is None
            assert error.__context__ is None
            assert secret not in "".join(traceback.format_exception(error)) + repr(vars(error))

    asyncio.run(main())
    assert "--> x" in caplog.text
    assert secret not in caplog.text


def test_a_reply_that_contradicts_the_schema_is_malformed() -> None:
    async def main() -> None:
        async with (
            over_client(_with({"return": 7})) as (_, client),
            await AsyncQmp.over(client) as qmp,
        ):
            with pytest.raises(MalformedReply, match="query-jobs"):
                await qmp.execute(QueryJobs())

    asyncio.run(main())


def test_an_event_that_cannot_be_delivered_does_not_end_the_client() -> None:
    def answer(server: Server, request: dict[str, object]) -> object:
        server.send(event("JOB_STATUS_CHANGE", {"id": 7, "status": []}), event("RESUME"))
        return {}

    def fail(message: JsonObject) -> None:
        raise ValueError("on_message fails")

    async def main() -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))
        async with over_client(answer) as (_, client):
            async with await AsyncQmp.over(client, on_message=fail) as qmp:
                events = qmp.events()
                await qmp.execute_raw("x")
                with pytest.raises(MalformedReply):
                    await events.get(timeout=5)
                assert (await events.get(timeout=5))._name == "RESUME"
                assert reported
            assert client.runstate is Runstate.RUNNING

    asyncio.run(main())


@pytest.mark.parametrize("version", [{"qemu": {"major": 7, "minor": 2, "micro": 1}}, {}, []])
def test_without_a_greeting_qemu_is_asked_for_its_version(version: JsonObject) -> None:
    async def main() -> None:
        async with over_client(lambda _server, _request: version, negotiate=False) as (
            server,
            client,
        ):
            # The greeting comes all the same, and the client drops it.
            if version:
                async with await AsyncQmp.over(client) as qmp:
                    assert qmp.version == (7, 2, 1)
                    with pytest.raises(Unsupported, match="out-of-band"):
                        await qmp.execute_raw("x", oob=True)
            else:
                with pytest.raises(ConnectionLost, match="test is not connected to a QMP server"):
                    await AsyncQmp.over(client)
            assert server.commands == ["query-version"]
            assert client._listeners == [client.events]

    asyncio.run(main())


def test_a_server_that_does_not_say_its_version_is_given_up_in_time() -> None:
    async def main() -> None:
        async with over_client(lambda _server, _request: None, negotiate=False) as (_, client):
            with pytest.raises(DeadlineExceeded, match="query-version"):
                await AsyncQmp.over(client, timeout=0.1)
            assert client._listeners == [client.events]

    asyncio.run(main())


def test_a_command_that_was_given_up_gets_no_reply_of_another() -> None:
    held: list[dict[str, object]] = []

    def answer(server: Server, request: dict[str, object]) -> object:
        if request["execute"] == "slow":
            held.append(request)
            return None
        for each in held:
            server.reply(each, "late")
        return "in time"

    async def main() -> None:
        async with over_client(answer) as (_, client), await AsyncQmp.over(client) as qmp:
            for _ in range(3):
                with pytest.raises(DeadlineExceeded):
                    await qmp.execute_raw("slow", timeout=0.02)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await qmp.execute_raw("slow")
                assert await qmp.execute_raw("quick") == "in time"
            assert client._pending == {}

    asyncio.run(main())


def test_what_is_too_long_once_it_is_escaped_is_refused() -> None:
    async def main() -> None:
        async with (
            over_client(lambda _server, _request: {}) as (_, client),
            await AsyncQmp.over(client) as qmp,
        ):
            with pytest.raises(UsageError, match="64 MiB"):
                await qmp.execute_raw("x", {"a": "\u00e4" * (12 << 20)})
            assert await qmp.execute_raw("x") == {}

    asyncio.run(main())


def test_an_address_and_a_client_each_have_their_own_call() -> None:
    async def main() -> None:
        async with over_client(lambda _server, _request: {}) as (_, client):
            with pytest.raises(UsageError, match=r"is no address: .* AsyncQmp\.over\(\)"):
                await AsyncQmp.connect(client)  # type: ignore[arg-type]  # what it is about

    asyncio.run(main())


def test_whoever_cancels_the_watcher_ends_the_session_and_not_the_client() -> None:
    async def main() -> None:
        async with over_client(lambda _server, _request: None) as (_, client):
            before = asyncio.all_tasks()
            qmp = await AsyncQmp.over(client)
            stream = qmp.events()
            (watcher,) = asyncio.all_tasks() - before
            asking = asyncio.create_task(qmp.execute_raw("x", timeout=60))
            await asyncio.sleep(0)
            watcher.cancel()
            for waiter in (stream.get(timeout=5), asking, qmp.execute_raw("x")):
                with pytest.raises(ConnectionLost, match="its watcher was cancelled"):
                    await waiter
            await qmp.wait_lost(timeout=5)
            assert client._listeners == [client.events]
            assert client.runstate is Runstate.RUNNING
            await qmp.close()

    asyncio.run(main())
