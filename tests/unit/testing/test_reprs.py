"""The objects for tests show in a report what they are, and no addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk.testing import (
    FilePath,
    Golden,
    QmpLog,
    ReplayServer,
    TestEnv,
    Timeout,
    Transcript,
)
from qemu_blocksdk.testing.machines import Machines
from qemu_blocksdk.testing.report import Recorder

ENV = TestEnv(test_dir=Path("t"), sock_dir=Path("s"))


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        (Golden(Path("/a/test_a.py"), test="test_b"), "<golden files of test_b in test_a.py>"),
        (Machines(ENV), "<0 QEMUs of a test>"),
        (QmpLog(ENV), "<0 QMP messages>"),
        (Recorder(), "<recorder of 0 QMP messages>"),
        (Transcript("a.jsonl"), "<transcript to 'a.jsonl'>"),
        (Transcript(print), "<transcript to a function>"),
        (FilePath("a", "b", env=ENV), "<paths of 'a', 'b'>"),
        (Timeout(2, "the job"), "<limit of 2 s for the job>"),
        (ReplayServer([]), "<replay server outside its block>"),
    ],
)
def test_a_repr_is_short_and_the_same_each_time(thing: object, shown: str) -> None:
    assert repr(thing) == shown


def test_a_server_shows_its_address() -> None:
    with ReplayServer([]) as server:
        assert repr(server) == f"<replay server at {server.address!r}>"
