"""qemu-nbd as a resource: where it listens, and what clients see."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Image, NbdServer, StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import (
    DeadlineExceeded,
    LaunchError,
    ToolError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.tools import NbdServerOptions, NbdUri
from tests.live.helpers import MakeImage, Script, run, write_with_qemu_io
from tests.live.nbd import client, connected, is_greeted, silent_server

pytestmark = pytest.mark.timeout(30)

SIZE = 1 << 20


@pytest.fixture
def image(make_image: MakeImage) -> Image:
    """An image of 1 MiB with sevens in its first 64 KiB."""
    return Image(make_image(size="1M", write="-P 7 0 64k"), format="qcow2")


def holds(path: Path, commands: str) -> bool:
    """Whether qemu-io finds the pattern of a ``read -P`` in an image."""
    argv = ["qemu-io", "-r", "-U", "-f", "qcow2", "-c", commands, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return done.returncode == 0 and "verification failed" not in done.stdout


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[NbdUri]:
    with silent_server(tmp_path) as uri:
        yield uri


# -- where it listens -------------------------------------------------------------------


@pytest.mark.parametrize("where", ["of our own", "path", "port"])
def test_data_written_through_the_server_arrives(image: Image, tmp_path: Path, where: str) -> None:
    addresses = {"of our own": None, "path": tmp_path / "sock", "port": ("127.0.0.1", 0)}
    with NbdServer(image, address=addresses[where]) as server:
        client(server, "read -P 7 0 64k", "write -P 9 512k 64k")
        assert server.process.output() == ""
    assert holds(image.path, "read -P 9 512k 64k")
    assert server.process.exit_status == 0


def test_port_0_is_one_that_is_free_and_is_told(image: Image) -> None:
    with NbdServer(image, address=("localhost", 0), read_only=True, shared=0) as server:
        assert isinstance(server.uri.address, tuple)
        host, port = server.uri.address
        assert (host, port > 0) == ("localhost", True)
        with pytest.raises(LaunchError, match=f"cannot listen at localhost:{port}: Address"):
            NbdServer(image, address=("localhost", port), read_only=True).launch()
        with connected(server) as sock:
            assert is_greeted(sock)


def test_a_socket_in_use_is_not_taken_away(image: Image, silent: NbdUri) -> None:
    path = str(silent.address)
    with pytest.raises(LaunchError, match="already in use") as caught:
        NbdServer(image, address=path).launch()
    assert caught.value.argv[0] == "qemu-nbd"
    with pytest.raises(UsageError, match="is there already"):
        NbdServer(image, address=path).fork()
    assert Path(path).is_socket()


@pytest.mark.parametrize("length", [107, 108])
def test_the_path_of_a_socket_has_107_bytes_at_most(
    image: Image, tmp_path: Path, length: int
) -> None:
    path = str(tmp_path) + "/"
    path += "ä" * ((length - len(path)) // 2)
    path += "x" * (length - len(os.fsencode(path)))
    if length <= 107:
        with NbdServer(image, address=path) as server:
            client(server, "read -P 7 0 64k")
        assert not Path(path).exists()
    else:
        with pytest.raises(UsageError, match="has 108 bytes"):
            NbdServer(image, address=path)


@pytest.mark.parametrize("address", [("", 0), ("localhost", -1), ("localhost", 65536), "", "a\0b"])
def test_an_address_that_cannot_be_right_is_refused(
    image: Image, address: str | tuple[str, int]
) -> None:
    with pytest.raises(UsageError):
        NbdServer(image, address=address)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_told(image: Image, host: str) -> None:
    with pytest.raises(LaunchError, match=rf"cannot listen at {host}:0: \w+"):
        NbdServer(image, address=(host, 0)).launch()


# -- what it serves ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "a", "a/b", "..a", "a b", "%41", "a?b#c", "a&b=c;d+e", "a,b", "ä", "'\"\n"]
)
def test_qemu_reaches_the_export_by_the_uri(image: Image, name: str) -> None:
    with NbdServer(image, export_name=name) as server:
        assert "virtual size: 1 MiB" in run("qemu-img", "info", str(server.uri))
        other = NbdUri(address=server.uri.address, export=f"{name}x")
        with pytest.raises(AssertionError, match="not available"):
            run("qemu-img", "info", str(other))


@pytest.mark.parametrize("name", ["/a", "//", "..", "a/../b", "-a"])
def test_qemu_reaches_every_export_by_the_options_of_its_uri(image: Image, name: str) -> None:
    with NbdServer(image, export_name=name) as server:
        assert Image.at_uri(server.uri).info().virtual_size == 1 << 20


@pytest.mark.parametrize(
    "name", ["a,b=c.img", "nbd:x", "json:{}", "-o", "with space", "new\nline", os.fsdecode(b"\xff")]
)
def test_the_name_of_an_image_is_never_taken_for_more(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"7" * SIZE)
    with NbdServer(Image(tmp_path / name, format="raw"), read_only=True) as server:
        client(server, f"read -P {ord('7')} 0 1M")


def test_a_read_only_server_refuses_writes(image: Image) -> None:
    with NbdServer(image, read_only=True) as server:
        with pytest.raises(AssertionError, match="Permission denied"):
            client(server, "write 0 64k")
        assert NbdServer.list_exports(server.uri)[0].is_read_only


def test_part_of_an_image_is_served(image: Image) -> None:
    with NbdServer(image, offset=32 << 10) as server:
        (export,) = NbdServer.list_exports(server.uri)
        assert export.size == SIZE - (32 << 10)
        client(server, "read -P 7 0 32k", "read -P 0 32k 64k")


def test_writes_to_a_snapshot_leave_the_image_unchanged(image: Image) -> None:
    before = image.path.read_bytes()
    with NbdServer(image, snapshot=True) as server:
        client(server, "write -P 9 0 64k")
        client(server, "read -P 9 0 64k")
    assert image.path.read_bytes() == before


@pytest.mark.parametrize("name", ["2", "second", "snapshot.id=1,x"])
def test_an_internal_snapshot_is_served_by_id_or_name(image: Image, name: str) -> None:
    for number, tag in ((1, "first"), (2, "second" if name == "2" else name)):
        write_with_qemu_io(str(image.path), f"write -P {number} 0 64k")
        run("qemu-img", "snapshot", "-c", tag, str(image.path))
    write_with_qemu_io(str(image.path), "write -P 3 0 64k")
    with NbdServer(image, load_snapshot=name) as server:
        client(server, "read -P 2 0 64k")
        assert NbdServer.list_exports(server.uri)[0].is_read_only


@pytest.mark.parametrize("clients", [1, 2])
def test_as_many_clients_as_were_said_are_served_at_a_time(image: Image, clients: int) -> None:
    with NbdServer(image, shared=clients) as server, contextlib.ExitStack() as stack:
        first = [stack.enter_context(connected(server)) for _ in range(clients)]
        assert all(map(is_greeted, first))
        late = stack.enter_context(connected(server))
        assert not is_greeted(late, within=0.2)
        first[0].close()
        assert is_greeted(late)


def test_any_number_of_clients_is_served(image: Image) -> None:
    with NbdServer(image, shared=0) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(30)]
        assert all(map(is_greeted, clients))


def test_zeroes_that_are_detected_take_no_room(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(b"7" * SIZE)
    image = Image(path, format="raw")
    with NbdServer(image, detect_zeroes="unmap", discard="unmap", cache="writethrough") as server:
        client(server, "write -P 0 0 1M")
    assert path.read_bytes() == bytes(SIZE)
    assert path.stat().st_blocks == 0


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"cache": mode}
            for mode in ("none", "writeback", "writethrough", "directsync", "unsafe")
        ),
        *({"aio": "threads"}, {"discard": "ignore"}, {"detect_zeroes": "on"}),
    ],
    ids=str,
)
def test_modes_are_understood(image: Image, options: NbdServerOptions) -> None:
    with NbdServer(image, **options) as server:
        client(server, "write -P 9 0 64k", "flush", "read -P 9 0 64k")


def test_who_is_slow_to_introduce_himself_is_disconnected_in_time(
    image: Image, qemu_version: tuple[int, int]
) -> None:
    server = NbdServer(image, handshake_limit=1)
    if qemu_version < (9, 0):
        with pytest.raises(Unsupported, match="--handshake-limit"):
            server.launch()
        return
    with server, connected(server) as sock:
        assert is_greeted(sock)
        assert sock.recv(1) == b""


def test_an_encrypted_image_is_served_and_its_key_shown_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "image"
    words = ["--object", "secret,id=s,data=geheim", "-f", "qcow2", "-o", "encrypt.format=aes"]
    run("qemu-img", "create", "-q", *words, "-o", "encrypt.key-secret=s", path, "1M")
    with NbdServer(Image(path, format="qcow2", secret=Secret("geheim"))) as server:
        client(server, "write -P 9 0 64k", "read -P 9 0 64k")
        shown = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert b"secret" in shown
        assert b"geheim" not in shown + repr((server, server.process.argv)).encode()


_SECRETS = """
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.tools.run import handed_over

with open("/dev/null") as first:
    lowest = first.fileno()
with handed_over({"s": Secret("geheim")}) as (_, fds):
    print(lowest, min(fds) > 3)
"""


def test_a_secret_is_never_handed_over_where_a_server_looks_for_its_socket(tmp_path: Path) -> None:
    with Script(tmp_path, _SECRETS) as script:
        assert script.finish() == "3 True\n"


# -- lists of exports -------------------------------------------------------------------


def test_all_that_a_server_says_of_its_export_is_listed(image: Image) -> None:
    for name in ("b,1", "-b"):
        run("qemu-img", "bitmap", "--add", str(image.path), "--", name)
    with NbdServer(
        image,
        export_name="a b",
        description="line\nbreak",
        bitmaps=["b,1", "-b"],
        allocation_depth=True,
        shared=2,
    ) as server:
        (export,) = NbdServer.list_exports(server.uri)
    assert (export.name, export.description, export.size) == ("a b", "line\nbreak", SIZE)
    assert {"multi", "flush", "df"} <= set(export.flags)
    assert (export.min_block, export.max_block) == (1, 32 << 20)
    bitmaps = {"qemu:dirty-bitmap:b,1", "qemu:dirty-bitmap:-b"}
    assert {*export.meta_contexts} == {"base:allocation", "qemu:allocation-depth", *bitmaps}


def test_the_exports_of_a_daemon_are_listed(daemon: StorageDaemon) -> None:
    daemon.add_node(NullCo(node_name="n", size=SIZE))
    with daemon.start_nbd_server() as server:
        uri = server.export(daemon.node("n"), name="one").uri
        server.export(daemon.node("n"), name="two", description="the second")
        exports = NbdServer.list_exports(str(uri))
        found = {export.name: (export.description, export.size) for export in exports}
    assert found == {"one": (None, SIZE), "two": ("the second", SIZE)}


def test_exports_are_listed_over_tcp(image: Image) -> None:
    with NbdServer(image, address=("::1", 0)) as server:
        assert NbdServer.list_exports(server.uri)[0].size == SIZE


def test_a_server_that_says_nothing_is_given_up_in_time(silent: NbdUri) -> None:
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        NbdServer.list_exports(silent, timeout=0.3)
    assert time.monotonic() - begin < 2


def test_no_server_is_told_in_the_tools_words(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="No such file") as caught:
        NbdServer.list_exports(NbdUri(address=str(tmp_path / "nobody")))
    assert caught.value.exit_status == 1
