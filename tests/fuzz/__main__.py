"""All fuzz functions of this folder in turn: `python -m tests.fuzz [SECONDS] [SEED]`.

Each takes a folder to work in, a duration in seconds and a seed, and returns how many inputs it
tried; a fault is an AssertionError that has the input. Without a seed, the one that was chosen is
printed, to repeat the run with it.
"""

from __future__ import annotations

import importlib
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

Fuzz = Callable[..., int]


def functions() -> Iterator[Fuzz]:
    """Yield the functions whose names begin with ``fuzz_``."""
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = importlib.import_module(f"tests.fuzz.{file.stem}")
        for name, value in vars(module).items():
            if name.startswith("fuzz_") and value.__module__ == module.__name__:
                yield cast("Fuzz", value)


def main(words: list[str]) -> None:
    """Run each for its share of the time."""
    seconds = float(words[0]) if words else 3600.0
    seed = int(words[1]) if len(words) > 1 else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    found = list(functions())
    for function in found:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            count = function(Path(folder), seconds=seconds / len(found), seed=seed)
        print(f"{function.__name__}: {count:,} inputs", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
