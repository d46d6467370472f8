"""What is ours ends with us, explains its end, and is nobody else's to use.

Wrappers that do not become the program, a full or long-named TMPDIR, a umask that lets all in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Image, NbdServer, PointInTime, StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import LaunchError, ToolError
from qemu_blocksdk.qmp import AsyncProcess, process
from qemu_blocksdk.tools import Programs
from tests.live.helpers import Script, wait_until, with_mark

pytestmark = pytest.mark.timeout(60)


# -- wrappers -----------------------------------------------------------------------------------


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """A program that runs a storage daemon, and does not become it."""
    path = tmp_path / "wrapper"
    path.write_text('#!/bin/sh\nqemu-storage-daemon "$@"\nexit $?\n')
    path.chmod(0o755)
    return path


_LIFE = """
import sys, time
from qemu_blocksdk import StorageDaemon
daemon = StorageDaemon(program=sys.argv[1], chardevs=[])
daemon.launch()
print(daemon.process.pid, flush=True)
time.sleep(60)
"""


def below(pid: int) -> set[int]:
    """The members of the group that a process leads."""
    found = set[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(fields[2]) == pid and fields[0] != "Z":
                found.add(int(entry.name))
    return found


def test_a_qemu_below_a_wrapper_does_not_outlive_a_sdk_that_is_killed(
    tmp_path: Path, wrapper: Path
) -> None:
    with Script(tmp_path, _LIFE, str(wrapper)) as script:
        pid = int(script.line())
        assert len(below(pid)) == 2
        script.interrupt()  # as Ctrl-C in a terminal: not for QEMU
        script.kill()
    wait_until(lambda: not below(pid), what="the end of both")


@pytest.mark.parametrize("how", ["kill", "stop", "end of the wrapper", "hangs"])
def test_a_qemu_below_a_wrapper_does_not_outlive_its_object(wrapper: Path, how: str) -> None:
    daemon = StorageDaemon(program=wrapper)
    daemon.launch()
    pid = daemon.process.pid
    assert len(below(pid)) == 2
    if how == "kill":
        daemon.kill()
    elif how == "end of the wrapper":
        os.kill(pid, signal.SIGKILL)
        daemon.process.wait(timeout=5)
    elif how == "hangs":
        os.killpg(pid, signal.SIGSTOP)
        daemon.stop(grace=0.1)
    else:
        assert daemon.stop() == 0
    wait_until(lambda: not below(pid), what="the end of both")
    daemon.stop()


def test_a_tool_below_a_wrapper_is_killed_with_it(tmp_path: Path) -> None:
    path = tmp_path / "qemu-img"
    path.write_text("#!/bin/sh\nsleep 1000.25\nexit $?\n")
    path.chmod(0o755)
    image = Image(tmp_path / "x", format="raw", programs=Programs(qemu_img=[str(path)]))
    with pytest.raises(TimeoutError):
        image.create("1M", timeout=0.3)
    wait_until(lambda: not with_mark("1000.25"), what="the end of both")


# -- temporary files ----------------------------------------------------------------------------


def test_words_of_a_tool_do_not_need_room_for_temporary_files(
    full_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        contextlib.suppress(OSError),
        (full_disk / "filler").open("wb", buffering=0) as file,
    ):
        while file.write(bytes(1 << 12)):
            pass
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk))
    with pytest.raises(ToolError, match="Could not open"):
        Image(tmp_path / "none", format="qcow2").info()
    with pytest.raises(LaunchError, match="nonsense"):
        StorageDaemon(args=["--nonsense"]).launch()


def test_the_log_of_a_server_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LOG_LIMIT", 1 << 18)
    monkeypatch.setattr(process, "_LOG_KEPT", 1 << 12)
    monkeypatch.setattr(process, "_LOG_PACE", 0.01)

    async def main() -> None:
        noise = "head -c 1000000 /dev/zero | tr '\\0' x; echo the end; sleep 100"
        server = await AsyncProcess.spawn(["sh", "-c", noise])

        def is_shorter() -> bool:
            return server.output_tail().endswith("the end\n") and len(server.output()) < 1 << 18

        await asyncio.to_thread(wait_until, is_shorter, what="a shorter log", timeout=20)
        assert os.fstat(server._log).st_blocks * 512 < 1 << 19
        await server.kill()

    asyncio.run(main())


@pytest.fixture
def long_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files whose name has no room for that of a socket."""
    path = tmp_path / ("x" * 90)
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    assert list(path.iterdir()) == []


def test_sockets_of_ours_have_short_names(long_name: Path, tmp_path: Path) -> None:
    image = Image(tmp_path / "x", format="raw")
    image.create("1M")
    used = set[Path]()

    def note(path: object) -> None:
        folder = Path(str(path)).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        used.add(folder)

    with NbdServer(image) as served:
        note(served.uri.address)
        assert Image.at_uri(served.uri).info().virtual_size == 1 << 20
    with StorageDaemon() as daemon:
        node = daemon.add_node(NullCo(node_name="n", size=1 << 20))
        with daemon.start_nbd_server() as server, server.export(node) as export:
            note(server.address)
            assert Image.at_uri(export.uri).info().virtual_size == 1 << 20
        with daemon.export_vhost_user_blk(node) as disk:
            note(disk.path)
            assert disk.path.is_socket()
        with PointInTime(daemon, node) as then:
            note(then.uri.address)
            assert Image.at_uri(then.uri).info().virtual_size == 1 << 20
    assert [folder for folder in used if folder.exists()] == []


# -- who may use it -----------------------------------------------------------------------------


@pytest.fixture
def open_to_all() -> Iterator[None]:
    """Files are everybody's, unless their maker says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_to_all")
def test_sockets_are_private_where_the_umask_lets_all_in(tmp_path: Path) -> None:
    image = Image(tmp_path / "x", format="raw")
    image.create("1M")
    sockets = [tmp_path / name for name in ("nbd", "qmp", "export", "vhost", "vmqmp")]
    nbd, qmp, exported, vhost, vm_qmp = sockets
    with (
        NbdServer(image, address=nbd),
        StorageDaemon(monitors=[qmp]) as daemon,
        VM(monitors=[vm_qmp]),
    ):
        node = daemon.add_node(NullCo(node_name="n", size=1 << 20))
        with daemon.start_nbd_server(exported), daemon.export_vhost_user_blk(node, address=vhost):
            for path in sockets:
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
