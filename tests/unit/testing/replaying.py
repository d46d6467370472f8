"""What the tests of replays stand on: sessions to play, a client, a clean slate."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator

import pytest

from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.testing.replay import (
    ReplayServer,
    expect,
)
from qemu_blocksdk.wire import (
    BlockdevAdd,
    QueryJobs,
)
from tests.live.helpers import nothing_left_behind

JOBS = expect(QueryJobs()).returns([])
ADDED = expect(BlockdevAdd(options=NullCo(node_name="n"))).returns(None)


@pytest.fixture
def clean_slate(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test that leaves something behind."""
    # Nobody else's directories are mistaken for ours.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("t")))
    background_loop.call(lambda: None)  # the background loop stays
    with nothing_left_behind():
        yield


def client_of(server: ReplayServer) -> socket.socket:
    """A client that is no part of this package."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(server.address)
    return client
