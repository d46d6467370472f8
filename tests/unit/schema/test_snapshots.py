"""Snapshot files: a directory that a person puts files into, and so also wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.schema.__main__ import main


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory in the place of the real one."""

    def forget() -> None:
        snapshots.available.cache_clear()
        snapshots.load.cache_clear()

    monkeypatch.setattr(snapshots, "DIRECTORY", tmp_path)
    forget()
    yield tmp_path
    forget()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"QEMU", "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "is a list"),
        (b'{"schema": {}}', "is a list"),
        (b'{"schema": [1]}', "list of objects"),
        (b'{"schema": [{"meta-type": "enum"}]}', "lacks 'name'"),
    ],
)
@pytest.mark.parametrize("command", ["check", "names"])
def test_a_file_that_is_no_snapshot_is_named_in_one_sentence(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    what: str,
    command: str,
) -> None:
    path = directory / "system-1.0.json"
    path.write_bytes(content)
    assert main([command]) == 1
    said = capsys.readouterr().err
    assert f"{path} is no snapshot" in said
    assert what in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["notes.json", "system.json", "system-10.x.json", "qemu-8.0.json"])
def test_a_stray_file_is_named(
    directory: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (directory / name).write_text("{}")
    assert main(["check"]) == 1
    said = capsys.readouterr().err
    assert name in said
    assert said.count("\n") == 1


def test_a_directory_called_like_a_snapshot_is_named(directory: Path) -> None:
    (directory / "system-1.0.json").mkdir()
    with pytest.raises(UsageError, match=r"system-1\.0\.json: Is a directory"):
        snapshots.load("system-1.0")


def test_files_of_other_kinds_are_left_alone(directory: Path) -> None:
    (directory / "README.md").write_text("")
    (directory / "system-10.0.json").write_text('{"schema": []}')
    (directory / "system-9.2.json").write_text('{"schema": []}')
    assert snapshots.available() == ("system-9.2", "system-10.0")


@pytest.mark.parametrize(
    "entry",
    [
        '{"meta-type": "enum", "name": "1", "values": "on"}',
        '{"meta-type": "enum", "name": "1", "values": [1]}',
        '{"meta-type": "command", "name": "1", "arg-type": "0", "ret-type": "0", "features": 1}',
    ],
)
def test_an_entry_of_another_form_is_told_when_it_is_asked_for(directory: Path, entry: str) -> None:
    path = directory / "system-1.0.json"
    path.write_text(f'{{"schema": [{entry}]}}')
    with pytest.raises(UsageError, match=r"'1'.*list of strings"):
        snapshots.read(path).entity("1")
