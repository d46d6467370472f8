"""qemu-nbd by its old names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import qemu_blocksdk as typed
from qemu_blocksdk.sealed import sealed, sealed_class

from .environ import qemu_nbd_args, qemu_nbd_prog
from .files import file_path
from .filtering import filter_nbd_exports, filter_testfiles
from .logs import log
from .programs import call, qemu_tool_pipe_and_status


@sealed
def qemu_nbd(*args: str) -> int:
    """Start a qemu-nbd in the background (``--fork``); return the status of its parent."""
    return call([*qemu_nbd_args, "--fork", *args])


@sealed
def qemu_nbd_early_pipe(*args: str) -> tuple[int, str]:
    """Do as :func:`qemu_nbd`; return the status and, where it is an error, what was printed."""
    words = [*qemu_nbd_args, "--fork", *args]
    output, status = qemu_tool_pipe_and_status("qemu-nbd", words, connect_stderr=False)
    return status, output if status else ""


@sealed
def qemu_nbd_list_log(*args: str) -> str:
    """Log and return what ``qemu-nbd -L`` tells of the exports of a server."""
    output, _ = qemu_tool_pipe_and_status("qemu-nbd", [qemu_nbd_prog, "-L", *args])
    log(output, filters=[filter_testfiles, filter_nbd_exports])
    return output


@sealed
def qemu_nbd_popen(*args: str) -> AbstractContextManager[None]:
    """Run a qemu-nbd for as long as the block lasts, and say so in the log."""
    return _NbdServer(args)


@sealed_class
class _NbdServer(AbstractContextManager[None]):
    # Not a generator, whose frame would have the arguments when it raises.
    def __init__(self, args: Sequence[str]) -> None:
        self._pid_file = Path(file_path("qemu_nbd_popen-nbd-pid-file"))
        self._words = [*qemu_nbd_args, "--persistent", "--pid-file", str(self._pid_file), *args]
        self._process: typed.Process | None = None

    def __enter__(self) -> None:
        assert not self._pid_file.exists()
        log("Start NBD server")
        self._process = typed.Process.spawn(self._words, stdout=1, stderr=2)
        try:
            self._wait_started(self._process)
        except BaseException:
            self._end()
            raise

    def __exit__(self, *_: object) -> None:
        self._end()

    def _wait_started(self, process: typed.Process) -> None:
        while not self._pid_file.exists():
            if process.exit_status is not None:
                raise RuntimeError(
                    f"qemu-nbd terminated with exit code {process.exit_status}:"
                    f" {' '.join(process.argv)}"
                )
            time.sleep(0.01)

    def _end(self) -> None:
        self._pid_file.unlink(missing_ok=True)
        log("Kill NBD server")
        if self._process is not None:
            self._process.kill()
