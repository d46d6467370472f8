"""NBD over TLS: who is let in, who is not, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk import Image, NbdServer, QemuIo
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import LaunchError, ToolError, UsageError
from qemu_blocksdk.tools import NbdUri, TlsAnon, TlsPsk, TlsX509
from tests.live.helpers import MakeImage
from tests.live.tls import HERE, KEY, certificates, keys

pytestmark = pytest.mark.timeout(60)

__all__ = ["certificates", "keys"]  # fixtures


@pytest.fixture
def image(make_image: MakeImage) -> Image:
    return Image(make_image(size="1M"), format="qcow2")


def test_a_client_with_a_key_is_let_in(image: Image, keys: Path) -> None:
    alice = TlsPsk(directory=keys, username="alice")
    with NbdServer(image, tls=TlsPsk(directory=keys), export_name="a b") as server:
        assert str(server.uri).startswith("nbds+unix:///a%20b?socket=")
        assert NbdServer.list_exports(server.uri, tls=alice)[0].name == "a b"
        assert NbdServer.list_exports(str(server.uri), tls=alice)[0].name == "a b"
        remote = Image.at_uri(server.uri, tls=alice)
        assert remote.info().virtual_size == 1 << 20
        copy = Image(keys / "copy", format="raw")
        remote.convert(copy)
        assert copy.compare(remote).is_equal
        with QemuIo(remote) as io:
            assert io.read(0, 512, pattern=0).operations == 1
        assert KEY not in str(server.process.argv) + server.process.output()


def test_who_has_no_key_is_kept_out(image: Image, keys: Path, tmp_path: Path) -> None:
    with NbdServer(image, tls=TlsPsk(directory=keys)) as server:
        with pytest.raises(UsageError, match="TLS credentials"):
            NbdServer.list_exports(server.uri)
        with pytest.raises(ToolError, match="TLS negotiation required"):
            NbdServer.list_exports(NbdUri(address=server.uri.address))
        with pytest.raises(ToolError, match="TLS handshake failed"):
            NbdServer.list_exports(server.uri, tls=TlsAnon())
        (tmp_path / "keys.psk").write_text(f"alice:{KEY[::-1]}\n")
        with pytest.raises(ToolError, match="TLS handshake failed"):
            NbdServer.list_exports(server.uri, tls=TlsPsk(directory=tmp_path, username="alice"))


@pytest.mark.parametrize("verb", ["append", "compare", "in_place"])
def test_two_servers_are_met_with_credentials_of_their_own(
    make_image: MakeImage, keys: Path, verb: str
) -> None:
    disks = [Image(make_image(name, size="1M"), format="qcow2") for name in ("a", "b")]
    with (
        NbdServer(disks[0], tls=TlsPsk(directory=keys)) as a,
        NbdServer(disks[1], tls=TlsAnon()) as b,
    ):
        one = Image.at_uri(a.uri, tls=TlsPsk(directory=keys, username="alice"))
        two = Image.at_uri(b.uri, tls=TlsAnon())
        if verb == "append":
            both = Image(keys / "both", format="raw")
            one.convert(both, append=[two])
            assert both.info().virtual_size == 2 << 20
        elif verb == "in_place":
            one.convert(two, in_place=True)
        else:
            assert one.compare(two).is_equal


def test_strangers_talk_in_private(image: Image) -> None:
    with NbdServer(image, tls=TlsAnon()) as server:
        assert NbdServer.list_exports(server.uri, tls=TlsAnon())[0].size == 1 << 20


def test_a_locked_key_is_opened_with_a_password_that_is_shown_nowhere(
    image: Image, certificates: Path
) -> None:
    tls = TlsX509(directory=certificates, password=Secret("geheim"))
    with NbdServer(image, tls=tls, address=HERE) as server:
        client = TlsX509(directory=certificates)
        assert NbdServer.list_exports(server.uri, tls=client)[0].size == 1 << 20
        assert b"geheim" not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert "geheim" not in f"{server!r} {server.process.argv}"
    with pytest.raises(LaunchError, match=r"Decryption has failed|import private key"):
        NbdServer(image, tls=TlsX509(directory=certificates), address=HERE).launch()


@pytest.mark.parametrize("who", ["client", "server"])
def test_clients_are_admitted_by_name(image: Image, certificates: Path, who: str) -> None:
    tls = TlsX509(directory=certificates, password=Secret("geheim"))
    with NbdServer(image, tls=tls, tls_authz=[f"O=tests,CN={who}"], address=HERE) as server:
        client = TlsX509(directory=certificates)
        if who == "client":
            assert NbdServer.list_exports(server.uri, tls=client)[0].size == 1 << 20
        else:
            with pytest.raises(ToolError):
                NbdServer.list_exports(server.uri, tls=client)
            assert "O=tests,CN=client is denied" in server.process.output()


def test_a_certificate_is_for_a_host_that_the_uri_may_name(
    image: Image, certificates: Path
) -> None:
    tls = TlsX509(directory=certificates, password=Secret("geheim"))
    client = TlsX509(directory=certificates)
    with NbdServer(image, tls=tls) as server:
        with pytest.raises(ToolError, match="No hostname"):
            NbdServer.list_exports(server.uri, tls=client)
        named = NbdUri(address=server.uri.address, tls=True, tls_hostname="localhost")
        assert NbdServer.list_exports(named, tls=client)[0].size == 1 << 20


def test_credentials_that_are_not_there_are_told(image: Image, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="nowhere"):
        NbdServer(image, tls=TlsPsk(directory=tmp_path / "nowhere")).launch()
