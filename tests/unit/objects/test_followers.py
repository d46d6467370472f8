"""A task in the background that ends, however it ends, wakes all who wait for what it follows."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

import qemu_blocksdk
from qemu_blocksdk import VM
from qemu_blocksdk.errors import BlockSdkError, OperationCancelled
from qemu_blocksdk.objects import AsyncOperation
from qemu_blocksdk.objects._base import follow

PACKAGE = Path(qemu_blocksdk.__file__).parent
_STARTS = {"create_task", "ensure_future"}

STARTED = {
    "objects/_base.py": "follow()",
    "objects/thread.py": "awaited at once",
    "objects/job.py": "the dismissal, which the follower awaits",
    "qmp/client_transport.py": "ends the session when it ends",
    "qmp/socket_transport.py": "tells the end of the connection",
    "qmp/gate.py": "the question for the schema, which callers await",
    "qmp/cancellation.py": "tasks with clean-up, and groups that are awaited",
    "recipes/jobs.py": "awaited where they are started",
    "tools/qemu_io_session.py": "wakes by its own done callback",
}
"""Where tasks are started, and why nobody waits for ever when one fails."""


def test_tasks_are_started_where_somebody_notices_their_end() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in _STARTS
    }
    assert found == set(STARTED)


async def _fails(error: BaseException) -> None:
    raise error


async def _never() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [ValueError("odd"), BlockSdkError("known"), None])
def test_whoever_waits_gets_an_error_of_ours(error: Exception | None) -> None:
    async def main() -> None:
        ended: asyncio.Future[BlockSdkError] = asyncio.get_running_loop().create_future()
        task = follow("it", _never() if error is None else _fails(error), ended.set_result)
        await asyncio.sleep(0)
        if error is None:
            task.cancel()
        assert isinstance(await ended, BlockSdkError)

    asyncio.run(main())


@contextlib.contextmanager
def broken_qemu(jobs: object, migration: object) -> Generator[VM]:
    """A QEMU that answers with JSON which does not fit."""
    ours, theirs = socket.socketpair()
    schema = json.loads((PACKAGE / "schema/snapshots/system-7.2.json").read_text())["schema"]

    def put(message: object) -> None:
        theirs.sendall(json.dumps(message).encode() + b"\n")

    def event(name: str, **data: str) -> None:
        put({"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 0}})

    def serve() -> None:
        version = {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}
        put({"QMP": {"version": version, "capabilities": []}})
        for line in theirs.makefile("rb"):
            message = json.loads(line)
            name, ident = message["execute"], {"id": message["id"]} if "id" in message else {}
            results = {
                "query-qmp-schema": schema,
                "query-jobs": jobs,
                "query-migrate": migration,
                "query-migrate-capabilities": [{"capability": "events", "state": True}],
            }
            put({"return": results.get(name, {}), **ident})
            if name == "blockdev-mirror":
                for status in ("created", "running", "aborting", "concluded"):
                    event("JOB_STATUS_CHANGE", id="j", status=status)
            if name == "migrate":
                event("MIGRATION", status="failed")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        with VM.attach(ours) as vm:
            yield vm
    finally:
        thread.join(5)
        theirs.close()


def test_a_reply_that_does_not_fit_ends_the_wait_for_a_job() -> None:
    with broken_qemu([None], {}) as vm:
        job = vm.node("a").start_mirror(vm.node("b"), job_id="j")
        with pytest.raises(BlockSdkError):
            job.wait(timeout=5)
        assert job.is_over
        with pytest.raises(BlockSdkError):
            job.run(timeout=5)


def test_a_reply_that_does_not_fit_ends_the_wait_for_a_migration() -> None:
    with broken_qemu([], [7]) as vm:
        migration = vm.migrate("exec:cat")
        with pytest.raises(BlockSdkError):
            migration.wait(timeout=5)


# -- operations and their progress --------------------------------------------------------------


def test_the_last_progress_comes_to_a_slow_reader() -> None:
    async def main() -> list[float]:
        async def work(tell: object) -> None:
            assert callable(tell)
            tell(0.5)

        seen: list[float] = []
        async for progress in AsyncOperation("x", work).progress():
            seen.append(progress.fraction)
            await asyncio.sleep(0.01)  # the work ends meanwhile
        return seen

    assert asyncio.run(main())[-1] == 1.0


def test_the_last_progress_of_what_fails_comes_before_its_error() -> None:
    async def main() -> list[float]:
        async def work(tell: object) -> None:
            assert callable(tell)
            tell(0.25)
            await asyncio.sleep(0)
            tell(0.75)
            raise BlockSdkError("no")

        seen: list[float] = []

        async def read() -> None:
            async for progress in AsyncOperation("x", work).progress():
                seen.append(progress.fraction)
                await asyncio.sleep(0.01)

        with pytest.raises(BlockSdkError, match="no"):
            await read()
        return seen

    assert asyncio.run(main())[-1] == 0.75


def test_a_cancelled_operation_says_so() -> None:
    async def main() -> None:
        async def work(tell: object) -> None:
            await asyncio.Event().wait()

        operation = AsyncOperation("the copy", work)
        await operation.cancel()
        with pytest.raises(OperationCancelled, match="the copy was cancelled"):
            await operation.wait()
        with pytest.raises(OperationCancelled):
            await operation.run()

    asyncio.run(main())
