"""How samples become results, and how rows are chosen and shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.core import (
    Bench,
    Contestant,
    Row,
    contestants_of,
    interleave,
    result,
    select,
    timed,
)
from benchmarks.report import duration, table, write_json

ROW = Row("send-raw", ours="ours", peer="peer", target=1.4, note="a note")
ADDED = Row("send-first", ours="ours", peer="peer", kind="added", target=0.06, note="first")
GROWTH = Row("memory", ours="ours", peer=None, kind="growth", note="flat")


@contextmanager
def _nobody(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    yield {}


SEND = Bench("send", [ROW, ADDED], rounds=3, contestants=_nobody)
MEMORY = Bench("memory", [GROWTH], rounds=1, contestants=_nobody)


def test_contestants_run_in_turn_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []

    def contestant(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return float(len(order))

        return run

    samples = interleave({"a": contestant("a"), "b": contestant("b")}, 2)
    assert order == ["a", "b"] * 3
    assert samples == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_one_slow_call_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 19.0, 20.0, 21.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert timed(lambda: None, times=3)() == 1.0


def test_ratio_is_the_median_of_the_rounds_and_not_upset_by_one_that_was_disturbed() -> None:
    line = result(ROW, {"ours": [1.2, 90.0, 2.4], "peer": [1.0, 1.0, 2.0]})
    assert line.value == pytest.approx(1.2)
    assert line.is_met
    assert line.rounds == 3


def test_load_that_slows_a_whole_round_does_not_move_the_ratio() -> None:
    line = result(ROW, {"ours": [1.5, 15.0, 150.0], "peer": [1.0, 10.0, 100.0]})
    assert (line.low, line.value, line.high) == pytest.approx((1.5, 1.5, 1.5))
    assert line.is_met is False


def test_added_is_the_difference_to_the_peer() -> None:
    line = result(ADDED, {"ours": [0.06, 0.05, 0.07], "peer": [0.01, 0.01, 0.01]})
    assert line.value == pytest.approx(0.05)
    assert line.is_met


def test_growth_stands_alone_and_without_a_target_nothing_is_missed() -> None:
    line = result(GROWTH, {"ours": [0.25]})
    assert (line.low, line.value, line.high) == (0.25, 0.25, 0.25)
    assert line.peer is None
    assert line.is_met is None


def test_samples_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        result(ROW, {"ours": [1.0, 1.0], "peer": [1.0]})


@pytest.mark.parametrize(
    ("patterns", "rows"),
    [
        ([], ["send-raw", "send-first", "memory"]),
        (["send-first"], ["send-first"]),
        (["*-raw", "mem*"], ["send-raw", "memory"]),
        (["send"], ["send-raw", "send-first"]),
    ],
)
def test_rows_are_chosen_by_name_pattern_or_family(patterns: list[str], rows: list[str]) -> None:
    chosen = select([SEND, MEMORY], patterns)
    assert [row.name for _, rows_ in chosen for row in rows_] == rows


def test_name_that_no_row_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no row is called sned"):
        select([SEND, MEMORY], ["send", "sned"])


def test_only_contestants_of_the_chosen_rows_run() -> None:
    assert contestants_of([ROW, GROWTH]) == {"ours", "peer"}
    assert contestants_of([GROWTH]) == {"ours"}


def test_table_shows_the_ratio_beside_its_target_and_whether_it_is_met() -> None:
    text = table(
        [
            result(ROW, {"ours": [150e-6], "peer": [100e-6]}),
            result(ADDED, {"ours": [0.030] * 3, "peer": [0.001] * 3}),
            result(GROWTH, {"ours": [0.5]}),
        ]
    )
    header, _, ratio, added, growth, _, *notes = text.splitlines()
    assert header.split() == ["row", "ours", "peer", "result", "middle", "half", "target", "met"]
    assert ratio.split() == (
        ["send-raw", "ours", "150", "us", "peer", "100", "us", "1.50", "x", "<=", "1.40", "x", "NO"]
    )
    assert "+29.0 ms  +29.0 .. +29.0 ms  <= +60.0 ms  yes" in added
    assert growth.split() == ["memory", "ours", "0.50", "KiB", "-"]
    assert notes[0] == "send-raw    a note (1 round)"
    assert notes[1] == "send-first  first (3 rounds)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34e-6, "12.3 us"), (0.0009999, "1 ms"), (0.25, "250 ms"), (12.0, "12 s")],
)
def test_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_json_holds_what_the_table_shows(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    write_json(path, [result(ROW, {"ours": [3.0], "peer": [2.0]})])
    document = json.loads(path.read_text())
    (row,) = document["rows"]
    assert row["name"] == "send-raw"
    assert row["result"] == 1.5
    assert row["ours"] == {"what": "ours", "median": 3.0, "minimum": 3.0}
    assert row["target"] == 1.4
    assert row["met"] is False
    assert {"python", "qemu", "qemu.qmp", "cpus", "load"} <= document["measured"].keys()
