"""A migration whose start is interrupted while QEMU is at it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from qemu_blocksdk.aio import AsyncMigration, AsyncQmp
from qemu_blocksdk.wire import Migrate
from tests.unit.qmp.fake_server import Server, event


@pytest.mark.parametrize("begins", [True, False])
def test_interrupted_on_its_way_a_migration_is_cancelled_if_it_did_begin(begins: bool) -> None:
    asked, interrupted = threading.Event(), threading.Event()

    def answer(server: Server, request: dict[str, object]) -> object:
        if request["execute"] == "migrate":
            asked.set()
            assert interrupted.wait(timeout=5)
            if not begins:
                error = {"class": "GenericError", "desc": "no"}
                server.send({"error": error} | {k: v for k, v in request.items() if k == "id"})
                return None
        else:
            server.send(event("MIGRATION", {"status": "cancelled"}))
        return {}

    async def scenario(server: Server) -> None:
        connecting = AsyncQmp._connect(server.client, timeout=5, command_timeout=5, kind="system")
        async with await connecting as qmp:
            migration = AsyncMigration(qmp, is_incoming=False)
            starting = migration._begin(qmp.execute(Migrate(uri="tcp:there:1")))
            task = asyncio.ensure_future(starting)
            await asyncio.to_thread(asked.wait, 5)
            task.cancel()
            await asyncio.sleep(0)  # the cancellation has arrived
            interrupted.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert migration.is_over == begins

    with Server(answer) as server:
        asyncio.run(scenario(server))
    assert server.commands == ["migrate", "migrate_cancel"][: 1 + begins]
