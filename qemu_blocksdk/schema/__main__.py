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
    generate = commands.add_parser("generate", help="write the wire types")
    generate.add_argument("--out", type=Path, metavar="DIR", help="default: qemu_blocksdk/wire")
    check = commands.add_parser("check", help="fail where the wire types are not as generated")
    check.add_argument("--out", type=Path, metavar="DIR", help="default: qemu_blocksdk/wire")
    commands.add_parser("names", help="list types that want a name in names.toml")
    return parser


def _fetch(options: argparse.Namespace) -> int:
    from .fetch import fetch

    meta, entries = fetch(options.qemu, options.out)
    print(f"{options.out}: {meta['binary']} {meta['version']}, {len(entries)} entries")
    return 0


def _generate(options: argparse.Namespace) -> int:
    from . import output

    directory = options.out or output.WIRE
    for name in output.write(output.generate(), directory):
        print(f"{directory / name}: written")
    return 0


def _check(options: argparse.Namespace) -> int:
    from . import output

    directory = options.out or output.WIRE
    found = list(output.differences(output.generate(), directory))
    for name, what in found:
        print(f"{directory / name}: {what}", file=sys.stderr)
    return 1 if found else 0


def _names(_options: argparse.Namespace) -> int:
    from . import snapshots
    from .config import Config
    from .naming import Names

    models = {name: snapshots.load(name) for name in snapshots.available()}
    unnamed = Names(models, Config.load()).unnamed()
    for path, suggestion in unnamed:
        print(f'"{path}" = "{suggestion}"')
    return 1 if unnamed else 0


_RUN = {"fetch": _fetch, "generate": _generate, "check": _check, "names": _names}

if __name__ == "__main__":
    sys.exit(main())
