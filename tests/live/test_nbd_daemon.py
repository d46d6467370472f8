"""qemu-nbd --fork: a server that outlives us, and one that cannot begin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qemu_blocksdk import Image, NbdServer
from qemu_blocksdk.errors import DeadlineExceeded, ToolError, UsageError
from qemu_blocksdk.tools import NbdUri, Programs
from tests.live.helpers import MakeImage, Script, exists, run, scratch, wait_until, with_mark
from tests.live.nbd import silent_server

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def image(make_image: MakeImage) -> Image:
    return Image(make_image(size="1M"), format="qcow2")


@pytest.fixture(autouse=True)
def no_daemon_left(image: Image) -> Iterator[None]:
    """Fail a test that leaves a server, which is nobody's child."""
    yield
    left = with_mark(str(image.path))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == set()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("where", ["path", "port"])
def test_a_server_of_its_own_serves_when_it_is_there(
    image: Image, tmp_path: Path, where: str
) -> None:
    address = tmp_path / "sock" if where == "path" else ("localhost", free_port())
    with NbdServer(image, address=address, export_name="a").fork() as server:
        assert server.is_running
        assert server.pid in with_mark(str(image.path))
        assert "virtual size: 1 MiB" in run("qemu-img", "info", str(server.uri))
        assert scratch() == set()
        pid = server.pid
    assert not exists(pid)
    assert not (tmp_path / "sock").exists()
    server.stop()


_FORKING = """
import sys
from qemu_blocksdk import Image, NbdServer

server = NbdServer(Image(sys.argv[1], format="qcow2"), address=sys.argv[2], persistent=False)
print(server.fork().pid, flush=True)
sys.stdin.readline()
"""


def test_a_server_of_its_own_outlives_us_until_its_last_client(
    image: Image, tmp_path: Path
) -> None:
    path = tmp_path / "sock"
    with Script(tmp_path, _FORKING, str(image.path), str(path)) as script:
        pid = int(script.line())
        script.kill()
    assert exists(pid)
    assert "virtual size: 1 MiB" in run("qemu-img", "info", str(NbdUri(address=str(path))))
    wait_until(lambda: not exists(pid), what="the end of qemu-nbd after its only client")
    assert not path.exists()


def test_the_end_is_waited_for(image: Image, tmp_path: Path) -> None:
    server = NbdServer(image, address=tmp_path / "sock", persistent=False).fork()
    with pytest.raises(DeadlineExceeded, match=f"pid {server.pid}"):
        server.wait(timeout=0.1)
    run("qemu-img", "info", str(server.uri))
    server.wait(timeout=5)
    assert not server.is_running


def test_a_server_that_does_not_end_is_killed_and_its_socket_removed(
    image: Image, tmp_path: Path
) -> None:
    server = NbdServer(image, address=tmp_path / "sock").fork()
    os.kill(server.pid, signal.SIGSTOP)
    server.stop(grace=0.2)
    assert not server.is_running
    assert not (tmp_path / "sock").exists()


def test_the_early_error_is_told(image: Image, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="Bitmap 'nope' is not found") as caught:
        NbdServer(image, address=tmp_path / "sock", bitmaps=["nope"]).fork()
    assert caught.value.exit_status == 1
    assert "--fork" in caught.value.argv
    assert scratch() == set()


def test_a_server_that_says_a_word_when_it_begins_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "dirty"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "1M")
    argv = ["qemu-io", "-f", "qcow2", "-c", "write 0 64k", "-c", "abort", str(path)]
    subprocess.run(["prlimit", "--core=0", *argv], capture_output=True, timeout=10, check=False)
    server = NbdServer(Image(path, format="qcow2"), address=tmp_path / "sock")
    with server.fork() as forked:
        assert "virtual size: 1 MiB" in run("qemu-img", "info", str(forked.uri))


@pytest.mark.parametrize("address", [None, ("localhost", 0)])
def test_an_address_that_nobody_would_know_is_refused(
    image: Image, address: tuple[str, int] | None
) -> None:
    with pytest.raises(UsageError, match="needs an address"):
        NbdServer(image, address=address).fork()


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[NbdUri]:
    """An image whose opening never ends: the export of somebody who says nothing."""
    with silent_server(tmp_path) as uri:
        yield uri
    assert set(tmp_path.glob("sock")) == set()


def reading(stuck: NbdUri) -> set[int]:
    """The processes that have the image as their own."""
    return with_mark(f'"{stuck.address}"')


def test_a_server_that_cannot_begin_in_time_leaves_nothing(stuck: NbdUri, tmp_path: Path) -> None:
    image = Image.from_options(stuck.options())
    with pytest.raises(DeadlineExceeded):
        NbdServer(image, address=tmp_path / "sock").fork(timeout=0.3)
    assert reading(stuck) == set()
    assert scratch() == set()


_BEGINNING = """
import sys
from qemu_blocksdk import Image, NbdServer
from qemu_blocksdk.tools import NbdUri, Programs

image = Image.from_options(NbdUri(address=sys.argv[2]).options())
server = NbdServer(image, address=sys.argv[3])
try:
    server.launch() if sys.argv[1] == "launch" else server.fork()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("how", ["launch", "fork"])
def test_ctrl_c_while_a_server_begins_leaves_nothing(
    stuck: NbdUri, tmp_path: Path, how: str
) -> None:
    with Script(tmp_path, _BEGINNING, how, str(stuck.address), str(tmp_path / "sock")) as script:
        wait_until(lambda: len(reading(stuck)) > (how == "fork"), what="the beginning")
        script.interrupt()
        assert script.finish() == "interrupted\n"
    assert reading(stuck) == set()


@pytest.mark.parametrize("kind", ["a file", "a socket that is served"])
def test_a_server_that_cannot_begin_leaves_what_somebody_put_at_its_path(
    image: Image, tmp_path: Path, kind: str
) -> None:
    # A program that finds the path taken, as if somebody had been faster.
    path, ready = tmp_path / "sock", tmp_path / "ready"
    program = tmp_path / "qemu-nbd"
    program.write_text(
        f"#!/bin/sh\ntouch '{ready}'\nwhile [ ! -e '{path}' ]; do sleep 0.01; done\nexit 1\n"
    )
    program.chmod(0o755)
    slow = Image(image.path, format="qcow2", programs=Programs(qemu_nbd=[str(program)]))
    with socket.socket(socket.AF_UNIX) as theirs, ThreadPoolExecutor(1) as pool:
        failure = pool.submit(NbdServer(slow, address=path).fork)
        wait_until(ready.exists, what="the program")
        if kind == "a file":
            path.write_text("theirs")
        else:
            theirs.bind(str(tmp_path / "bound"))
            theirs.listen()
            (tmp_path / "bound").rename(path)
        before = path.lstat()
        with pytest.raises(ToolError):
            failure.result(timeout=20)
        assert os.path.samestat(path.lstat(), before)
        path.unlink()
