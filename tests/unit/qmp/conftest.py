"""Fixtures of the connection tests: nothing is left behind by a test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from qemu_blocksdk.qmp import background_loop
from tests.live.helpers import nothing_left_behind


@pytest.fixture(scope="session", autouse=True)
def running_loop() -> None:
    """Start the background loop before the tests, because it stays."""
    background_loop.call(lambda: None)


@pytest.fixture(autouse=True)
def clean_slate(
    running_loop: None,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Fail a test that leaves a process, an open socket or a directory behind."""
    # Nobody else's directories are mistaken for ours.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("t")))
    with nothing_left_behind():
        yield
