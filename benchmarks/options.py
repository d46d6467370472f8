"""Options of a chain: built, checked and encoded, against the dictionaries that others write.

The peer does what a script does today: it writes a dictionary and hands it to `json.dumps`. It
checks nothing; the ratio tells what types and checks cost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from qemu_blocksdk.blockdev import NULL, File, Qcow2, check
from qemu_blocksdk.codec import JsonValue

from .core import Bench, Contestant, Row, timed

_TIMES = 1000


def typed() -> dict[str, JsonValue]:
    """Three levels of qcow2, typed and checked."""
    base = Qcow2(node_name="base", file=File(filename="base.qcow2"), backing=NULL)
    middle = Qcow2(node_name="middle", file=File(filename="middle.qcow2"), backing=base)
    return check(Qcow2(node_name="top", file=File(filename="top.qcow2"), backing=middle))


def _dictionaries() -> dict[str, object]:
    chain: dict[str, object] | None = None
    for name in ("base", "middle", "top"):
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        chain = {"driver": "qcow2", "node-name": name, "file": file, "backing": chain}
    assert chain is not None
    return chain


def _sample(action: Callable[[], object]) -> Contestant:
    def many() -> None:
        for _ in range(_TIMES):
            action()

    run = timed(many, times=5)
    return lambda: run() / _TIMES


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    assert typed() == _dictionaries()
    yield {
        "typed": _sample(typed),
        "typed to JSON": _sample(lambda: json.dumps(typed())),
        "dict to JSON": _sample(lambda: json.dumps(_dictionaries())),
    }


BENCH = Bench(
    name="options",
    rows=[
        Row(
            "options-chain",
            ours="typed",
            peer=None,
            kind="time",
            target=25e-6,
            note="a three-level chain of qcow2: built, checked, encoded; after the first use",
        ),
        Row(
            "options-json",
            ours="typed to JSON",
            peer="dict to JSON",
            note="the same and json.dumps, against dictionaries that nobody checks and json.dumps",
        ),
    ],
    rounds=15,
    contestants=_contestants,
    programs=(),
)
