"""A session of qemu-io that returns a hex dump of 256 KiB: 1.2 MB of text.

qemu-io takes most of the time to print it, so the row with the target measures what
reading it costs this process; the other one is what a caller waits for.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qemu_blocksdk import Image, QemuIo

from .core import Bench, Contestant, Row, timed

_COMMAND = "read -v 0 256k"
_PROMPT = "qemu-io> "


def _read_by_character(stdout: IO[str]) -> str:
    """Read up to the prompt, one character at a time."""
    text: list[str] = []
    matched = 0
    while matched < len(_PROMPT):
        character = stdout.read(1)
        assert character, "a peer's qemu-io has ended"
        text.append(character)
        matched = matched + 1 if character == _PROMPT[matched] else 0
    return "".join(text[: -len(_PROMPT)])


@contextmanager
def _by_character(path: Path) -> Generator[Callable[[], str]]:
    """A qemu-io behind pipes of text, the way it is done without a library."""
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        _read_by_character(stdout)

        def dump() -> str:
            stdin.write(f"{_COMMAND}\n")
            stdin.flush()
            return _read_by_character(stdout)

        try:
            yield dump
        finally:
            process.kill()


def _processor_time(action: Callable[[], object]) -> Contestant:
    """A contestant that counts the seconds for which this process itself was at work."""

    def sample() -> float:
        start = time.process_time()
        action()
        return time.process_time() - start

    return sample


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        path.write_bytes(bytes(1 << 20))
        with QemuIo(Image(path, format="raw")) as io, _by_character(path) as dump:
            assert len(io.raw(_COMMAND)) > 1 << 20
            yield {
                "QemuIo": timed(lambda: io.raw(_COMMAND)),
                "by character": timed(dump),
                "QemuIo at work": _processor_time(lambda: io.raw(_COMMAND)),
                "by character at work": _processor_time(dump),
                "read_data": timed(lambda: io.read_data(0, 1 << 18)),
            }


BENCH = Bench(
    name="qemu-io",
    rows=[
        Row(
            "qemu-io-dump",
            ours="QemuIo at work",
            peer="by character at work",
            target=0.05,
            note="processor time of this process for a hex dump of 256 KiB from a session",
        ),
        Row(
            "qemu-io-dump-wait",
            ours="QemuIo",
            peer="by character",
            note="the same as time on the clock, 20 ms of which qemu-io prints",
        ),
        Row(
            "qemu-io-read-data",
            ours="read_data",
            peer="by character",
            note="the 256 KiB as bytes, against the text of their dump",
        ),
    ],
    rounds=20,
    contestants=_contestants,
    programs=("qemu-io", "setpriv"),
)
