"""The command line of the generator: `python -m qemu_blocksdk.schema`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qemu_blocksdk.errors import BlockSdkError


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; return the exit status: 1 for a difference or an error."""
    options = _parser().parse_args(arguments)
    try:
        return _RUN[options.command](options)
    except BlockSdkError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qemu_blocksdk.schema", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="ask a QEMU binary for its schema")
    fetch.add_argument("--qemu", required=True, metavar="PROG")
    fetch.add_argument("--out", required=True, type=Path, metavar="FILE")
    return parser


def _fetch(options: argparse.Namespace) -> int:
    from .fetch import fetch

    meta, entries = fetch(options.qemu, options.out)
    print(f"{options.out}: {meta['binary']} {meta['version']}, {len(entries)} entries")
    return 0


_RUN = {"fetch": _fetch}

if __name__ == "__main__":
    sys.exit(main())
