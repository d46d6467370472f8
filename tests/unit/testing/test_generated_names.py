"""Generated names in texts: numbered in the order of appearance, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.qmp.owner import Owner
from qemu_blocksdk.testing import Golden, QmpLog
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.generated_names import numbered_names


def test_names_are_numbered_as_they_appear() -> None:
    text = "disk-0a1b2c3d-7, blocksdk-0a1b2c3d-2; disk-0a1b2c3d-7 (blocksdk-ffffffff-2.sock)"
    assert numbered_names(text) == "disk-ID1, blocksdk-ID2; disk-ID1 (blocksdk-ID3.sock)"


def test_what_an_owner_makes_is_generated() -> None:
    owner = Owner(is_guest=False)
    text = f"{owner.temporary_name()} {owner.lasting_name('overlay')}"
    assert numbered_names(text) == "blocksdk-ID1 overlay-ID2"


@pytest.mark.parametrize(
    "text",
    [
        "12345678-1234-1234-1234-123456789012",
        "disk-12345678-1234-1234-1234-123456789012",
        "disk-1234567-1",
        "blocksdk-0a1b2c3d-2x",
        "my-blocksdk-0a1b2c3d-2",
        "Disk-0a1b2c3d-2",
    ],
)
def test_other_names_stay(text: str) -> None:
    assert numbered_names(text) == text


def test_a_golden_file_passes_with_other_generated_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    module = tmp_path / "test_a.py"
    with monkeypatch.context() as updating:
        updating.setenv("UPDATE_GOLDEN", "1")
        Golden(module, test="test").check("job blocksdk-0a1b2c3d-4\n")
    assert (tmp_path / "test_a.test.out").read_text() == "job blocksdk-ID1\n"
    Golden(module, test="test").check("job blocksdk-ffffffff-0\n")
    with pytest.raises(AssertionError, match=r"\+job blocksdk-ffffffff-0"):
        Golden(module, test="test", generated_names=True).check("job blocksdk-ffffffff-0\n")


def test_without_events_each_reply_follows_its_command() -> None:
    with TestEnv.temporary() as env:
        log = QmpLog(env)
        messages: list[JsonObject] = [
            {"execute": "query-jobs", "id": 1},
            {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}},
            {"execute": "job-dismiss", "id": 2, "arguments": {"id": "blocksdk-0a1b2c3d-0"}},
            {"return": {}, "id": 2},
            {"return": [], "id": 1},
            {"exec-oob": "yank"},
            {"error": {"class": "GenericError", "desc": "no"}},
            {"return": {}},
        ]
        for message in messages:
            log.add(message)
        assert log.lines(events=False) == [
            '{"execute": "query-jobs"}',
            '{"return": []}',
            '{"arguments": {"id": "blocksdk-ID1"}, "execute": "job-dismiss"}',
            '{"exec-oob": "yank"}',
            '{"error": {"class": "GenericError", "desc": "no"}}',
        ]
        assert len(log.lines()) == 8
        assert log.text(events=False).count("\n") == 5
