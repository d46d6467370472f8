"""The ways to do it without this package: a subprocess, a socket, `json`, and no more.

They are what a careful person writes by hand, without types, time limits or clean-up
beyond `finally`: the least that the work can cost in Python.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import cast

Message = Mapping[str, object]
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class RawQmp:
    """QMP over a blocking socket, in the form that costs QEMU least.

    Compact JSON, an id of one digit, no newline: QEMU reads its monitor byte by byte.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")
        self.events: deque[Message] = deque()
        self._read()  # the greeting
        self.execute("qmp_capabilities")

    def _read(self) -> Message:
        line = self._file.readline()
        if not line:
            raise ConnectionError("a peer's daemon has ended")
        return cast("Message", json.loads(line))

    def execute(self, name: str, arguments: Message | None = None) -> object:
        """Send a command and return its reply; events that come before it are kept."""
        command: dict[str, object] = {"execute": name}
        if arguments is not None:
            command["arguments"] = arguments
        command["id"] = 1
        self._sock.sendall(_dumps(command).encode())
        while True:
            message = self._read()
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise RuntimeError(f"{name}: {message['error']}")
            self.events.append(message)

    def next_event(self) -> Message:
        """Return the next event, waiting for it."""
        return self.events.popleft() if self.events else self._read()


@contextmanager
def daemon(*, guarded: bool = True) -> Generator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Start a storage daemon that speaks QMP on a socketpair; it ends with the block.

    A guarded one dies with this process also when that is killed. The peer that is
    measured at starting a daemon does without: nobody who uses `subprocess` has it.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [
                    *(("setpriv", "--pdeathsig", "KILL") if guarded else ()),
                    "qemu-storage-daemon",
                    *("--chardev", f"socket,id=qmp,fd={theirs.fileno()}"),
                    *("--monitor", "chardev=qmp"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C in the terminal is for us: a peer whose daemon it ended would raise.
                process_group=0,
            )
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait()


@contextmanager
def daemon_socket() -> Generator[socket.socket]:
    """Start a storage daemon and yield the socket on which it speaks QMP."""
    with daemon() as (_, sock):
        yield sock


def launch_and_quit() -> None:
    """Start a storage daemon, wait until it is ready, make it quit, wait until it is gone."""
    with daemon(guarded=False) as (process, sock):
        RawQmp(sock).execute("quit")
        process.wait()
