"""The NBD server of a running QEMU over TLS: who is let in, and what it needs inside QEMU."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Image, NbdServer, StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import CommandError, ToolError, Unsupported, UsageError
from qemu_blocksdk.objects import ExportServerOptions
from qemu_blocksdk.objects.export_server import Authorization
from qemu_blocksdk.tools import TlsAnon, TlsCredentials, TlsPsk, TlsX509
from qemu_blocksdk.wire import (
    ObjectOptionsAuthzList,
    ObjectOptionsAuthzPam,
    ObjectOptionsAuthzSimple,
    QAuthZListRule,
    QomList,
)
from tests.live.tls import HERE, certificates, keys

__all__ = ["certificates", "keys"]  # fixtures
pytestmark = pytest.mark.timeout(60)

DISK = NullCo(node_name="disk", size=1 << 20)
CLIENT = "O=tests,CN=client"


def _objects(qemu: StorageDaemon | VM) -> set[str]:
    """The names of the objects that somebody has added."""
    found = {each.name for each in qemu.qmp.execute(QomList(path="/"))}
    if "objects" not in found:  # nobody ever has
        return set()
    return {
        each.name
        for each in qemu.qmp.execute(QomList(path="/objects"))
        if each.name != "type" and "monitor" not in each.type  # QEMU 11.1 lists its own
    }


def test_a_client_with_a_key_is_let_in_and_one_without_is_not(
    daemon: StorageDaemon, keys: Path
) -> None:
    alice = TlsPsk(directory=keys, username="alice")
    with daemon.start_nbd_server(tls=TlsPsk(directory=keys)) as server:
        export = server.export(daemon.add_node(DISK), writable=True)
        assert str(export.uri).startswith("nbds+unix:///disk?socket=")
        assert Image.at_uri(export.uri, tls=alice).info().virtual_size == 1 << 20
        with pytest.raises(ToolError, match="TLS handshake failed"):
            NbdServer.list_exports(export.uri, tls=TlsAnon())
        with pytest.raises(UsageError, match="TLS credentials"):
            export.write(0, 512)
    assert _objects(daemon) == set()


def test_strangers_talk_in_private(daemon: StorageDaemon) -> None:
    with daemon.start_nbd_server(("localhost", 0), tls=TlsAnon()) as server:
        export = server.export(daemon.add_node(DISK))
        assert str(export.uri).startswith("nbds://localhost:")
        assert NbdServer.list_exports(export.uri, tls=TlsAnon())[0].size == 1 << 20


def test_a_locked_key_is_opened_with_a_password_that_is_shown_nowhere(
    daemon: StorageDaemon, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    tls = TlsX509(directory=certificates, password=Secret("geheim"))
    with daemon.start_nbd_server(HERE, tls=tls) as server:
        assert len(_objects(daemon)) == 2
        export = server.export(daemon.add_node(DISK))
        client = TlsX509(directory=certificates)
        assert NbdServer.list_exports(export.uri, tls=client)[0].size == 1 << 20
    assert _objects(daemon) == set()
    assert "geheim" not in caplog.text + daemon.process.output()
    assert "Z2VoZWlt" not in caplog.text
    with pytest.raises(CommandError, match=r"Decryption has failed|import private key"):
        daemon.start_nbd_server(HERE, tls=TlsX509(directory=certificates))
    assert _objects(daemon) == set()


@pytest.mark.parametrize("kind", [StorageDaemon, VM])
@pytest.mark.parametrize("way", ["names", "list", "simple"])
@pytest.mark.parametrize("who", [CLIENT, "O=tests,CN=somebody"], ids=["client", "somebody"])
def test_clients_are_admitted_by_name(
    certificates: Path, kind: type[StorageDaemon | VM], way: str, who: str
) -> None:
    rules = [QAuthZListRule(match=who, policy="allow")]
    ways: dict[str, Sequence[str] | Authorization] = {
        "names": [who],
        "list": ObjectOptionsAuthzList(id="ours", policy="deny", rules=rules),
        "simple": ObjectOptionsAuthzSimple(id="ours", identity=who),
    }
    tls = TlsX509(directory=certificates, password=Secret("geheim"))
    with kind() as qemu:
        before = _objects(qemu)
        with qemu.start_nbd_server(HERE, tls=tls, tls_authz=ways[way]) as server:
            export = server.export(qemu.add_node(DISK))
            client = TlsX509(directory=certificates)
            if who == CLIENT:
                assert NbdServer.list_exports(export.uri, tls=client)[0].size == 1 << 20
            else:
                with pytest.raises(ToolError):
                    NbdServer.list_exports(export.uri, tls=client)
        assert _objects(qemu) == before


def test_an_authorisation_that_was_not_compiled_in_is_told(
    daemon: StorageDaemon, certificates: Path
) -> None:
    tls = TlsX509(directory=certificates, password=Secret("geheim"))
    pam = ObjectOptionsAuthzPam(id="ours", service="blocksdk-of-nowhere")
    # It is in the schema, which thus lets it pass.
    with pytest.raises(CommandError, match="invalid object type: authz-pam"):
        daemon.start_nbd_server(tls=tls, tls_authz=pam)
    assert _objects(daemon) == set()


@pytest.mark.parametrize(
    "tls",
    [None, TlsAnon(), TlsPsk(directory="d"), TlsX509(directory="d", verify_peer=False)],
    ids=["none", "anon", "psk", "unverified"],
)
def test_names_that_qemu_would_not_look_at_are_refused(
    daemon: StorageDaemon, tls: TlsCredentials | None
) -> None:
    options: ExportServerOptions = {"tls_authz": [CLIENT]}
    if tls is not None:
        options["tls"] = tls
    with pytest.raises(UsageError, match="x509"):
        daemon.start_nbd_server(**options)
    assert _objects(daemon) == set()


def test_a_start_that_fails_leaves_no_object(
    daemon: StorageDaemon, keys: Path, qemu_version: tuple[int, int]
) -> None:
    with pytest.raises(CommandError, match="nowhere") as caught:
        daemon.start_nbd_server(tls=TlsPsk(directory=keys / "nowhere"))
    assert caught.value.command == "object-add"
    tls = TlsPsk(directory=keys)
    with daemon.start_nbd_server(), pytest.raises(CommandError, match="already running"):
        daemon.start_nbd_server(tls=tls)
    if qemu_version < (10, 0):
        with pytest.raises(Unsupported):
            daemon.start_nbd_server(tls=tls, handshake_max_seconds=1)
    assert _objects(daemon) == set()
    with daemon.start_nbd_server(tls=tls):
        assert len(_objects(daemon)) == 1


def test_an_object_that_somebody_else_removed_is_no_matter(
    daemon: StorageDaemon, keys: Path
) -> None:
    with daemon.start_nbd_server(tls=TlsPsk(directory=keys)) as server:
        for name in _objects(daemon):
            daemon.qmp.execute_raw("object-del", {"id": name})
        server.stop()


def test_a_server_whose_qemu_was_killed_is_left_in_silence(
    daemon: StorageDaemon, keys: Path
) -> None:
    with daemon.start_nbd_server(tls=TlsPsk(directory=keys)):
        os.kill(daemon.process.pid, signal.SIGKILL)
