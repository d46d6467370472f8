"""The two ways to a QEMU that runs already: a socket of ours, a QMPClient of the caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal, TypeVar

import pytest
from qemu.qmp import QMPClient, Runstate

from qemu_blocksdk.aio import AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.qmp import OnMessage

Carrier = Literal["socket", "QMPClient"]
OVER = pytest.mark.parametrize("over", ["socket", "QMPClient"])
Q = TypeVar("Q", AsyncStorageDaemon, AsyncVM)


@contextlib.asynccontextmanager
async def connected_client(path: Path) -> AsyncGenerator[QMPClient]:
    """Connect a QMPClient to a monitor; disconnect it at the end, unless that was done."""
    client = QMPClient("test")
    await client.connect(str(path))
    try:
        yield client
    finally:
        with contextlib.suppress(EOFError, OSError):  # it says how the connection ended
            await client.disconnect()


@contextlib.asynccontextmanager
async def left_alone(client: QMPClient) -> AsyncGenerator[None]:
    """Fail where the block leaves a listener or a task behind, or ends the client."""
    listeners, tasks = list(client._listeners), asyncio.all_tasks()
    yield
    await asyncio.sleep(0)  # a cancelled task ends in the next turn of the loop
    assert client._listeners == listeners
    assert asyncio.all_tasks() <= tasks
    assert client.runstate is Runstate.RUNNING
    await client.execute("query-version")


@contextlib.asynccontextmanager
async def attached_to(
    kind: type[Q], path: Path, over: Carrier, *, on_message: OnMessage | None = None
) -> AsyncGenerator[Q]:
    """Attach to the QEMU whose monitor is at the path."""
    if over == "socket":
        async with await kind.attach(path, on_message=on_message) as qemu:
            yield qemu
        return
    async with (
        connected_client(path) as client,
        left_alone(client),
        await kind.attach(client, on_message=on_message) as qemu,
    ):
        yield qemu
