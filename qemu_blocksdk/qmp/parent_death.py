"""Kill child processes when this process dies (:class:`ParentDeathSignal`).

The child inherits one end of a pipe; this process holds the other. When this process ends, the
pipe closes and the kernel sends SIGKILL to the child's process group. The kernel can be asked for
that only once the child exists, so a program that would not notice the end of this process by
itself starts behind a :class:`Barrier`: a shell that waits until the signal is set.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import weakref
from collections.abc import Sequence
from typing import Final

_held = weakref.WeakSet["ParentDeathSignal"]()
# The numbers below stay free for descriptors that need certain numbers (LISTEN_FDS).
_LOWEST: Final = 10


class ParentDeathSignal:
    """A pipe: closing our end kills the child that has inherited ``child_end``."""

    def __init__(self) -> None:
        self.child_end: int
        self._our_end: int
        low, self._our_end = os.pipe()
        try:
            self.child_end = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
        except BaseException:
            os.close(self._our_end)
            raise
        finally:
            os.close(low)
        _held.add(self)

    def arm(self, pid: int) -> None:
        """Set the signal for the process group of the child that has inherited ``child_end``."""
        fcntl.fcntl(self.child_end, fcntl.F_SETSIG, signal.SIGKILL)
        # The whole group: the child may be a wrapper that does not become the program.
        fcntl.fcntl(self.child_end, fcntl.F_SETOWN, -pid)
        fcntl.fcntl(self.child_end, fcntl.F_SETFL, os.O_ASYNC)
        os.close(self.child_end)
        self.child_end = -1

    def close(self) -> None:
        """Close this process's ends; a child with the signal set that still runs is killed."""
        for end in (self.child_end, self._our_end):
            with contextlib.suppress(OSError):
                os.close(end)
        self.child_end = self._our_end = -1
        _held.discard(self)


class Barrier:
    """A pipe; ``child_end`` has to be the stdin of the command line of :meth:`before`."""

    def __init__(self) -> None:
        self.child_end: int
        self.child_end, self._our_end = os.pipe()

    @staticmethod
    def before(words: Sequence[str], *, has_listener: bool) -> list[str]:
        """Return the command line of a shell that executes a program when the barrier is lifted.

        When this process ends before that, the shell ends. The program's stdin is empty. With
        ``has_listener``, the shell's stdout is a listening socket, passed on as systemd does.
        """
        run = 'exec "$@" </dev/null'
        if has_listener:
            run = f"export LISTEN_PID=$$ LISTEN_FDS=1 && {run} 3<&1 >&2"
        return ["sh", "-c", f"read -r _ && {run}", "sh", *words]

    def lift(self) -> None:
        """Let the shell execute the program."""
        os.write(self._our_end, b"\n")

    def close(self) -> None:
        """Close both ends of the pipe."""
        os.close(self.child_end)
        os.close(self._our_end)


def _let_go_after_fork() -> None:
    # A child of os.fork() that kept our end open would keep the program alive after us.
    for signal_pipe in list(_held):
        signal_pipe.close()


os.register_at_fork(after_in_child=_let_go_after_fork)
