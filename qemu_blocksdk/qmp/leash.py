"""A leash for programs that end by themselves: the kernel ends them with us.

The child has one end of a pipe of which we hold the other. When that closes, because we
are gone, the kernel sends the signal that was set on the pipe to the child. It costs four
system calls, where ``setpriv`` costs a millisecond; but a child is off the leash while it
is being started, so what never ends by itself gets ``setpriv`` (:mod:`.process`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import weakref

_held = weakref.WeakSet["Leash"]()


class Leash:
    """A pipe; ``child_end`` is for the child to inherit."""

    def __init__(self) -> None:
        self.child_end: int
        self._our_end: int
        self.child_end, self._our_end = os.pipe()
        _held.add(self)

    def fasten(self, pid: int) -> None:
        """Tie the child that now holds its end."""
        fcntl.fcntl(self.child_end, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(self.child_end, fcntl.F_SETOWN, pid)
        fcntl.fcntl(self.child_end, fcntl.F_SETFL, os.O_ASYNC)
        os.close(self.child_end)
        self.child_end = -1

    def drop(self) -> None:
        """Close what is open here; a child that is tied and still runs is killed."""
        for end in (self.child_end, self._our_end):
            with contextlib.suppress(OSError):
                os.close(end)
        self.child_end = self._our_end = -1
        _held.discard(self)


def _let_go_after_fork() -> None:
    # A child of os.fork() that kept our end open would keep the tool alive after us.
    for leash in list(_held):
        leash.drop()


os.register_at_fork(after_in_child=_let_go_after_fork)
