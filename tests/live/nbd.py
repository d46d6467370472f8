"""What the tests of NBD share: clients, and a server that is none."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator
from pathlib import Path

from qemu_blocksdk import NbdServer
from qemu_blocksdk.tools import NbdUri
from tests.live.helpers import run


def client(server: NbdServer, *commands: str) -> None:
    """Let qemu-io carry out commands on the export; all that is read has to be as told."""
    script = [word for command in commands for word in ("-c", command)]
    access = [] if any(command.startswith("write") for command in commands) else ["-r"]
    said = run("qemu-io", "-f", "raw", *access, *script, str(server.uri))
    assert "verification failed" not in said


def connected(server: NbdServer) -> socket.socket:
    """A client that has not been greeted yet."""
    address = server.uri.address
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(5)
    sock.connect(address)
    return sock


def is_greeted(sock: socket.socket, *, within: float = 5.0) -> bool:
    """Whether the server turns to a client, within a time in seconds."""
    sock.settimeout(within)
    try:
        return sock.recv(18)[:8] == b"NBDMAGIC"
    except TimeoutError:
        return False


@contextlib.contextmanager
def silent_server(folder: Path) -> Generator[NbdUri, None, None]:
    """Somebody who takes connections and says nothing."""
    path = folder / "silent"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        yield NbdUri(address=str(path))
    path.unlink()
