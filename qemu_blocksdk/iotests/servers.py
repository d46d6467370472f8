"""qemu-nbd by its old names."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import qemu_blocksdk as typed

from .environ import qemu_nbd_args, qemu_nbd_prog
from .files import file_path
from .filtering import filter_nbd_exports, filter_testfiles
from .logs import log
from .programs import call, qemu_tool_pipe_and_status


def qemu_nbd(*args: str) -> int:
    """Start a qemu-nbd in the background (``--fork``); return the status of its parent."""
    return call([*qemu_nbd_args, "--fork", *args])


def qemu_nbd_early_pipe(*args: str) -> tuple[int, str]:
    """Do as :func:`qemu_nbd`; return the status and, where it is an error, what was printed."""
    words = [*qemu_nbd_args, "--fork", *args]
    output, status = qemu_tool_pipe_and_status("qemu-nbd", words, connect_stderr=False)
    return status, output if status else ""


def qemu_nbd_list_log(*args: str) -> str:
    """Log and return what ``qemu-nbd -L`` tells of the exports of a server."""
    output, _ = qemu_tool_pipe_and_status("qemu-nbd", [qemu_nbd_prog, "-L", *args])
    log(output, filters=[filter_testfiles, filter_nbd_exports])
    return output


@contextmanager
def qemu_nbd_popen(*args: str) -> Generator[None]:
    """Run a qemu-nbd for as long as the block lasts, and say so in the log."""
    pid_file = Path(file_path("qemu_nbd_popen-nbd-pid-file"))
    assert not pid_file.exists()
    words = [*qemu_nbd_args, "--persistent", "--pid-file", str(pid_file), *args]
    log("Start NBD server")
    process = typed.Process.spawn(words, stdout=1, stderr=2)
    try:
        _wait_for(pid_file, process, words)
        yield
    finally:
        pid_file.unlink(missing_ok=True)
        log("Kill NBD server")
        process.kill()


def _wait_for(pid_file: Path, process: typed.Process, argv: list[str]) -> None:
    while not pid_file.exists():
        if process.exit_status is not None:
            raise RuntimeError(
                f"qemu-nbd terminated with exit code {process.exit_status}: {' '.join(argv)}"
            )
        time.sleep(0.01)
