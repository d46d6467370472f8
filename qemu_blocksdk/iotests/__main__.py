"""The command line: ``python -m qemu_blocksdk.iotests``, with ``path``, ``run`` or ``survey``."""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TypeVar

from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.testing.env import AIO_MODES, CACHE_MODES, one_of

from .check import PATH, check, scripts_in
from .outcome import Outcome, Setting
from .script import orphanage
from .survey import survey

_USAGE = 2
_INTERRUPTED = 128 + signal.SIGINT
_N = TypeVar("_N", int, float)
_T = TypeVar("_T")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status: 0 where nothing failed, 2 for a wrong call."""
    options = _parser().parse_args(arguments)
    stdout: object = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        # A script may print what the encoding lacks.
        stdout.reconfigure(errors="backslashreplace")
    # What a script was killed by is told with its outcome.
    logging.getLogger("qemu_blocksdk").addHandler(logging.NullHandler())
    try:
        if options.command == "path":
            print(PATH, flush=True)
            return 0
        return _survey(options) if options.command == "survey" else _run(options)
    except BlockSdkError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return _USAGE
    except OSError as error:
        # What did not get out is in the buffer, and would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        print(f"{options.command}: {error}", file=sys.stderr)
        return _USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qemu_blocksdk.iotests", description="Scripts for QEMU's iotests.py."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("path", help="print the directory that PYTHONPATH has to begin with")
    run = commands.add_parser(
        "run",
        help="run scripts and compare what they print with SCRIPT.out.FMT or SCRIPT.out",
        epilog="The programs are those of QEMU_PROG, QEMU_IMG_PROG, ... or of PATH. Of a folder,"
        " the files that import iotests are run.",
    )
    run.add_argument("scripts", nargs="+", type=Path, metavar="SCRIPT", help="file or folder")
    for option, default in (
        ("--fmt", "raw"),
        ("--proto", "file"),
        ("--cache", "writeback"),
        ("--aio", "threads"),
    ):
        run.add_argument(
            option,
            action="append",
            metavar=option.strip("-").upper(),
            help=f"default: {default}; where given several times, the scripts run with each",
        )
    run.add_argument(
        "-j", type=_positive(int), default=1, dest="jobs", metavar="N", help="at a time"
    )
    run.add_argument(
        "--timeout",
        type=_positive(float),
        default=300.0,
        metavar="SECONDS",
        help="of a script; default: 300",
    )
    run.add_argument("--keep-failed", action="store_true", help="leave the files of what failed")
    look = commands.add_parser(
        "survey",
        help="tell which names of scripts have a typed replacement",
        epilog="Nothing is run or changed. docs/from-iotests.md shows each replacement.",
    )
    look.add_argument("scripts", nargs="+", type=Path, metavar="SCRIPT", help="file or folder")
    return parser


def _positive(kind: Callable[[str], _N]) -> Callable[[str], _N]:
    def number(word: str) -> _N:
        with suppress(ValueError):
            if (value := kind(word)) > 0:
                return value
        raise argparse.ArgumentTypeError(f"{word!r} is no {kind.__name__} above 0")

    return number


def _run(options: argparse.Namespace) -> int:
    settings = [
        Setting(
            imgfmt=imgfmt,
            imgproto=imgproto,
            cache_mode=one_of(CACHE_MODES, cache, what="--cache"),
            aio_mode=one_of(AIO_MODES, aio, what="--aio"),
        )
        for imgfmt, imgproto, cache, aio in product(
            options.fmt or ["raw"],
            options.proto or ["file"],
            options.cache or ["writeback"],
            options.aio or ["threads"],
        )
    ]
    outcomes = asyncio.run(
        _unless_ended(
            check(
                [script.absolute() for script in scripts_in(options.scripts)],
                settings,
                at_once=options.jobs,
                timeout=options.timeout,
                keep_failed=options.keep_failed,
                tell=lambda outcome: print(*_lines(outcome), sep="\n", flush=True),
            )
        )
    )
    kinds = [outcome.verdict.kind for outcome in outcomes]
    counts = [(kinds.count(kind), kind) for kind in ("pass", "fail", "not run")]
    print(", ".join(f"{number} {kind}" for number, kind in counts), flush=True)
    return 1 if "fail" in kinds else 0


async def _unless_ended(work: Coroutine[object, None, _T]) -> _T:
    """Do work, which SIGTERM and SIGHUP cancel, as Ctrl-C does by itself; leave no process."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with orphanage():
        return await work


def _survey(options: argparse.Namespace) -> int:
    surveys = [(script, survey(script)) for script in scripts_in(options.scripts)]
    for script, uses in surveys:
        for use in uses:
            print(f"{script}:{use.line}: {use.name} -> {use.replacement}", flush=True)
    return 0


def _lines(outcome: Outcome) -> Iterator[str]:
    verdict = outcome.verdict
    what = f": {verdict.what}" if verdict.what else ""
    yield f"{verdict.kind:8}{outcome.setting} {outcome.script.name}{what} ({outcome.seconds:.1f} s)"
    yield from outcome.cases_not_run
    if verdict.report:
        yield verdict.report
    if outcome.kept is not None:
        yield f"its files are in {outcome.kept}"


if __name__ == "__main__":
    sys.exit(main())
