"""qemu-nbd as a resource: how it begins, how it ends, and what is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Unpack

import pytest

from qemu_blocksdk import Image, NbdServer
from qemu_blocksdk.aio import AsyncImage, AsyncNbdServer
from qemu_blocksdk.errors import (
    DeadlineExceeded,
    LaunchError,
    ToolError,
    UsageError,
)
from qemu_blocksdk.tools import NbdServerOptions, Programs
from tests.live.helpers import MakeImage, Script, wait_until, with_mark
from tests.live.nbd import client, connected, is_greeted

pytestmark = pytest.mark.timeout(30)

SIZE = 1 << 20


@pytest.fixture
def image(make_image: MakeImage) -> Image:
    """An image of 1 MiB with sevens in its first 64 KiB."""
    return Image(make_image(size="1M", write="-P 7 0 64k"), format="qcow2")


# -- beginnings that fail ---------------------------------------------------------------


def _fails(image: Image, match: str, **options: Unpack[NbdServerOptions]) -> None:
    with pytest.raises(LaunchError, match=match) as caught:
        NbdServer(image, **options).launch()
    assert caught.value.exit_status == 1
    assert caught.value.argv[-1] == str(image.path)
    assert "\n" not in str(caught.value)


def test_an_image_that_cannot_be_opened_is_told(image: Image, tmp_path: Path) -> None:
    _fails(Image(tmp_path / "nowhere", format="raw"), "No such file")
    (tmp_path / "text").write_bytes(b"x" * 512)
    _fails(Image(tmp_path / "text", format="qcow2"), "not in qcow2 format")
    with NbdServer(image):
        _fails(image, 'Failed to get "write" lock')


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"bitmaps": ["nope"]}, "nope"),
        ({"load_snapshot": "nope"}, "Can't find snapshot"),
        ({"detect_zeroes": "unmap"}, "discard"),
        ({"export_name": "x" * 5000}, "too long"),
        ({"offset": SIZE + 1}, "size"),
    ],
    ids=["bitmap", "snapshot", "detect-zeroes", "name", "offset"],
)
def test_what_qemu_refuses_is_told_in_its_words(
    image: Image, options: NbdServerOptions, match: str
) -> None:
    _fails(image, match, **options)


def _instead(tmp_path: Path, source: str) -> Programs:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{source}\n")
    path.chmod(0o755)
    return Programs(qemu_nbd=(str(path),))


@pytest.mark.parametrize("source", ["exit 0", "echo last words >&2; exit 7", "read x; exit 3"])
def test_a_program_that_ends_is_a_launch_error(image: Image, tmp_path: Path, source: str) -> None:
    with pytest.raises(LaunchError, match="ended before it was ready") as caught:
        NbdServer(Image(image.path, format="qcow2", programs=_instead(tmp_path, source))).launch()
    assert str(caught.value.exit_status) in source
    assert ("last words" in source) == ("last words" in caught.value.output)


@pytest.mark.parametrize("source", ["exec sleep 1000", "exec 3<&-; exec sleep 1000"])
def test_a_program_that_never_serves_is_given_up_in_time(
    image: Image, tmp_path: Path, source: str
) -> None:
    begin = time.monotonic()
    slow = Image(image.path, format="qcow2", programs=_instead(tmp_path, source))
    with pytest.raises(LaunchError, match=r"not ready within 0\.3 s$"):
        NbdServer(slow, launch_timeout=0.3).launch()
    assert time.monotonic() - begin < 2


def test_a_missing_program_is_named(image: Image) -> None:
    with pytest.raises(LaunchError, match="qemu-nbd-of-nowhere"):
        NbdServer(
            Image(image.path, format="qcow2", programs=Programs(qemu_nbd=("qemu-nbd-of-nowhere",)))
        ).launch()


# -- ends -------------------------------------------------------------------------------


def test_a_server_that_is_not_persistent_ends_with_its_last_client(image: Image) -> None:
    with NbdServer(image, persistent=False, shared=2) as server:
        client(server, "read -P 7 0 64k")
        server.wait(timeout=5)
        assert not server.is_running


def test_a_server_that_nobody_used_waits_for_its_first_client(image: Image) -> None:
    with NbdServer(image, persistent=False) as server:
        with pytest.raises(DeadlineExceeded, match="qemu-nbd"):
            server.wait(timeout=0.2)
        client(server, "read -P 7 0 64k")


def test_the_death_of_a_server_is_told_with_its_words(image: Image, tmp_path: Path) -> None:
    programs = _instead(tmp_path, 'echo "a word from inside" >&2; exec qemu-nbd "$@"')
    with NbdServer(Image(image.path, format="qcow2", programs=programs)) as server:
        os.kill(server.process.pid, signal.SIGKILL)
        with pytest.raises(ToolError, match=r"killed by signal 9\): a word from inside"):
            server.wait(timeout=5)
        assert server.stop() == -signal.SIGKILL


def test_a_server_ends_while_a_client_is_connected(image: Image) -> None:
    with NbdServer(image) as server:
        sock = connected(server)
        assert is_greeted(sock)
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 2
        with sock, contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""


def test_a_server_is_stopped_twice_and_launched_again(image: Image, tmp_path: Path) -> None:
    server = NbdServer(image, address=tmp_path / "sock")
    assert server.stop() is None
    with pytest.raises(UsageError, match="has not been launched"):
        _ = server.uri
    for _ in range(2):
        server.launch()
        with pytest.raises(UsageError, match="already running"):
            server.launch()
        client(server, "read -P 7 0 64k")
        assert (server.stop(), server.stop()) == (0, 0)
        assert not (tmp_path / "sock").exists()


def test_a_server_that_died_is_launched_again(image: Image, tmp_path: Path) -> None:
    with NbdServer(image, address=tmp_path / "sock") as server:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(timeout=5)
        server.launch()
        client(server, "read -P 7 0 64k")


def test_twenty_servers_run_at_once(make_image: MakeImage) -> None:
    names = [f"{n}" for n in range(20)]
    images = [AsyncImage(make_image(n, size="1M"), format="qcow2") for n in names]

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = [AsyncNbdServer(i, export_name=i.path.name) for i in images]
            await asyncio.gather(*map(stack.enter_async_context, servers))
            lists = await asyncio.gather(*(AsyncNbdServer.list_exports(s.uri) for s in servers))
            assert [exports[0].name for exports in lists] == names

    asyncio.run(main())


_SERVING = """
import sys
from qemu_blocksdk import Image, NbdServer

with NbdServer(Image(sys.argv[1], format="qcow2"), address=("localhost", 0)) as server:
    try:
        print("up", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("interrupted", server.is_running, flush=True)
print(server.process.exit_status)
"""


def test_ctrl_c_ends_the_wait_and_leaving_ends_the_server(image: Image, tmp_path: Path) -> None:
    with Script(tmp_path, _SERVING, str(image.path)) as script:
        assert script.line() == "up"
        script.interrupt()
        assert script.line() == "interrupted True"
        assert script.finish() == "0\n"
    assert with_mark(str(image.path)) == set()


def test_a_server_dies_with_a_python_process_that_is_killed(image: Image, tmp_path: Path) -> None:
    with Script(tmp_path, _SERVING, str(image.path)) as script:
        assert script.line() == "up"
        assert len(with_mark(str(image.path))) == 2  # it and the script
        script.kill()
    wait_until(lambda: not with_mark(str(image.path)), what="the end of qemu-nbd")
