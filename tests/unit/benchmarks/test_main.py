"""The command line of the benchmarks, as far as nothing has to be measured for it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

import benchmarks.__main__ as command
from benchmarks.core import Bench, Contestant, Row


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    yield {"ours": lambda: 3.0, "peer": lambda: 2.0}


def _use(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    row = Row("send", ours="ours", peer="peer", target=1.4, note="")
    bench = Bench("send", [row], rounds=20, contestants=_contestants, programs=programs)
    monkeypatch.setattr(command, "BENCHES", (bench,))


@pytest.mark.parametrize(("options", "status"), [([], 0), (["--check"], 1)])
def test_missed_target_is_a_failure_only_for_a_check(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
) -> None:
    _use(monkeypatch)
    path = tmp_path / "bench.json"
    assert command.main(["--quick", "--json", str(path), *options]) == status
    (row,) = json.loads(path.read_text())["rows"]
    assert (row["met"], row["rounds"]) == (False, 4)
    assert "1.50 x" in capsys.readouterr().out


def test_unknown_row_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _use(monkeypatch)
    assert command.main(["sned"]) == 2
    assert "sned" in capsys.readouterr().err


def test_missing_program_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _use(monkeypatch, "qemu-of-nobody")
    assert command.main([]) == 2
    assert "qemu-of-nobody" in capsys.readouterr().err


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.name for bench in command.BENCHES for row in bench.rows]
    assert len(set(names)) == len(names)
