"""The NBD server of a running QEMU: where it listens, how it begins and ends, what it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Image, NbdServer, QemuIo, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    StateError,
    ToolError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import NbdServerStop, QueryBlockExports
from tests.live.helpers import left_in, scratch
from tests.live.nbd import is_greeted

pytestmark = pytest.mark.timeout(30)

SIZE = 1 << 20
DISK = NullCo(node_name="disk", size=SIZE)


def _client(address: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(5)
    sock.connect(address)
    return sock


@pytest.mark.parametrize("kind", [StorageDaemon, VM])
def test_it_listens_at_a_socket_of_our_own(kind: type[StorageDaemon | VM]) -> None:
    with kind() as qemu, qemu.start_nbd_server() as server:
        with server.export(qemu.add_node(DISK)) as export:
            assert str(export.uri) == f"nbd+unix:///disk?socket={server.address}"
            assert NbdServer.list_exports(export.uri)[0].size == SIZE
        assert isinstance(server.address, str)
        assert Path(server.address).parent in scratch()


def test_it_tells_the_port_that_it_has_found(daemon: StorageDaemon) -> None:
    with daemon.start_nbd_server(("localhost", 0)) as server:
        assert isinstance(server.address, tuple)
        host, port = server.address
        assert host == "localhost"
        assert port != 0
        export = server.export(daemon.add_node(DISK), name="a b")
        assert str(export.uri) == f"nbd://localhost:{port}/a%20b"
        assert NbdServer.list_exports(export.uri)[0].name == "a b"


def test_a_port_in_use_is_told(daemon: StorageDaemon) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with pytest.raises(CommandError, match="Address already in use") as caught:
            daemon.start_nbd_server(("127.0.0.1", sock.getsockname()[1]))
    assert str(caught.value).startswith("StorageDaemon ")


@pytest.mark.parametrize("address", [("", 1), ("localhost", -1), ("localhost", 1 << 16)])
def test_what_is_no_address_is_refused(daemon: StorageDaemon, address: tuple[str, int]) -> None:
    with pytest.raises(UsageError, match="no TCP address"):
        daemon.start_nbd_server(address)


def test_a_path_that_is_too_long_is_refused(daemon: StorageDaemon, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="107 at most"):
        daemon.start_nbd_server(tmp_path / ("x" * 108))


def test_what_is_at_the_path_is_not_replaced(daemon: StorageDaemon, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
    for name in ("letter", "nowhere"):
        with pytest.raises(UsageError, match=f"{name}' is taken"):
            daemon.start_nbd_server(tmp_path / name)
    with StorageDaemon() as other, other.start_nbd_server(tmp_path / "sock"):
        with pytest.raises(UsageError, match="sock' is taken"):
            daemon.start_nbd_server(tmp_path / "sock")
        with _client(str(tmp_path / "sock")) as client:
            assert is_greeted(client)
    assert (tmp_path / "letter").read_text() == "dear"


def test_a_folder_that_is_missing_is_told(daemon: StorageDaemon, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        daemon.start_nbd_server(tmp_path / "nowhere" / "sock")


def test_a_second_server_is_refused_and_the_first_stays(daemon: StorageDaemon) -> None:
    with daemon.start_nbd_server() as server:
        with pytest.raises(CommandError, match="already running"):
            daemon.start_nbd_server()
        with _client(server.address) as client:
            assert is_greeted(client)


def test_stopping_ends_the_exports_and_their_clients(daemon: StorageDaemon, tmp_path: Path) -> None:
    server = daemon.start_nbd_server(tmp_path / "sock")
    export = server.export(daemon.add_node(DISK))
    with QemuIo(Image.at_uri(export.uri), read_only=True) as client:
        client.read(0, 512)
        server.stop()
        with pytest.raises(ToolError):
            client.read(0, 512)
    export.wait_deleted(timeout=0)
    assert not (tmp_path / "sock").exists()
    assert daemon.qmp.execute(QueryBlockExports()) == []
    assert repr(server) == f"<NBD server at {tmp_path / 'sock'}: stopped>"
    daemon.node("disk").delete()


def test_a_client_that_has_not_negotiated_does_not_hold_up_the_stop_for_ever(
    daemon: StorageDaemon, qemu_version: tuple[int, int]
) -> None:
    server = daemon.start_nbd_server()
    with _client(server.address) as client:
        assert is_greeted(client)
        if qemu_version >= (10, 0):
            server.stop()
            assert client.recv(1) == b""
            return
        with pytest.raises(DeadlineExceeded, match=r"NBD server at .*: .*nbd-server-stop"):
            server.stop(timeout=0.5)
        with pytest.raises(DeadlineExceeded):  # QEMU has come to a standstill
            daemon.qmp.execute(QueryBlockExports(), timeout=0.2)
        os.kill(daemon.process.pid, signal.SIGKILL)


def test_a_verb_after_the_stop_reaches_no_other_server(daemon: StorageDaemon) -> None:
    with daemon.start_nbd_server() as old:
        old.stop()
        with daemon.start_nbd_server() as new:
            with pytest.raises(StateError, match=r"NBD server at .*: stopped: nbd-server-stop"):
                old.stop()
            with pytest.raises(StateError, match="block-export-add"):
                old.export(daemon.add_node(DISK))
            new.export(daemon.node("disk"))


def test_the_stop_by_somebody_else_is_told_and_leaves_nothing(daemon: StorageDaemon) -> None:
    with daemon.start_nbd_server() as server:
        daemon.qmp.execute(NbdServerStop())
        with pytest.raises(CommandError, match="NBD server not running") as caught:
            server.stop()
        assert str(caught.value).startswith("NBD server at ")
        with pytest.raises(CommandError, match="NBD server not running"):
            server.export(daemon.add_node(DISK))


def test_no_more_clients_than_allowed_are_served_at_a_time(daemon: StorageDaemon) -> None:
    with daemon.start_nbd_server(max_connections=1) as server, _client(server.address) as second:
        assert is_greeted(second)
        with _client(server.address) as waiting:
            assert not is_greeted(waiting, within=0.2)
            second.close()
            assert is_greeted(waiting)


def test_a_client_that_does_not_negotiate_is_dropped(
    daemon: StorageDaemon, qemu_version: tuple[int, int]
) -> None:
    if qemu_version < (10, 0):
        with pytest.raises(Unsupported, match="handshake-max-seconds"):
            daemon.start_nbd_server(handshake_max_seconds=1)
        return
    server = daemon.start_nbd_server(handshake_max_seconds=1)
    with _client(server.address) as client:
        assert is_greeted(client)
        assert client.recv(1) == b""


@pytest.mark.parametrize("way", ["stop", "SIGTERM", "SIGKILL"])
def test_no_socket_outlives_qemu(tmp_path: Path, way: str) -> None:
    with StorageDaemon() as daemon:
        # QEMU leaves it, also where it ends in good order.
        with daemon.start_nbd_server(tmp_path / "a"):
            daemon.node("x")
        daemon.start_nbd_server(tmp_path / "b")
        if way != "stop":
            os.kill(daemon.process.pid, getattr(signal, way))
            daemon.process.wait(timeout=5)
            assert left_in(tmp_path) == {tmp_path / "b"}
    assert left_in(tmp_path) == set()


def test_a_socket_that_took_the_place_of_ours_stays(tmp_path: Path) -> None:
    with StorageDaemon() as daemon:
        daemon.start_nbd_server(tmp_path / "sock")
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait(timeout=5)
        (tmp_path / "sock").rename(tmp_path / "old")  # its number is in use
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "sock"))
    assert left_in(tmp_path) == {tmp_path / "sock", tmp_path / "old"}
    (tmp_path / "sock").unlink()
    (tmp_path / "old").unlink()


def test_leaving_the_block_of_a_server_whose_qemu_was_killed_is_quick(tmp_path: Path) -> None:
    with StorageDaemon() as daemon:
        node = daemon.add_node(DISK)
        with daemon.start_nbd_server(tmp_path / "sock") as server:
            os.kill(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait(timeout=5)
            with pytest.raises(ConnectionLost, match=r"NBD server at .*: block-export-add"):
                server.export(node)
            with pytest.raises(ConnectionLost, match=r"NBD server at .*: nbd-server-stop"):
                server.stop()
            begin = time.monotonic()
        assert time.monotonic() - begin < 1
        assert not (tmp_path / "sock").exists()
        with pytest.raises(ConnectionLost, match=r"StorageDaemon .*: nbd-server-start"):
            daemon.start_nbd_server(tmp_path / "sock")


def test_leaving_the_block_of_a_server_whose_qemu_hangs_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, daemon: StorageDaemon
) -> None:
    monkeypatch.setattr("qemu_blocksdk.qmp.cancellation.CLEANUP_TIMEOUT", 0.3)
    server = daemon.start_nbd_server()
    begin = time.monotonic()
    with suspended(daemon), server:
        pass
    assert 0.3 <= time.monotonic() - begin < 2


def test_a_start_that_is_given_up_leaves_no_server(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            with suspended(daemon):
                task = asyncio.create_task(daemon.start_nbd_server(tmp_path / "sock"))
                await asyncio.wait((task,), timeout=0.1)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(CommandError, match="not running"):
                await daemon.qmp.execute(NbdServerStop())

    asyncio.run(main())


def test_a_daemon_that_was_not_launched_has_no_server() -> None:
    with pytest.raises(UsageError, match="has not been launched"):
        StorageDaemon().start_nbd_server()


def test_a_frozen_qemu_is_given_up(daemon: StorageDaemon) -> None:
    export = daemon.start_nbd_server().export(daemon.add_node(DISK))
    with suspended(daemon), pytest.raises(DeadlineExceeded, match="the end of nbd export"):
        export.delete(timeout=0.2)
    export.wait_deleted(timeout=5)
