"""Graphviz, which turns a graph's DOT into a picture. It runs for a moment, and reads no files."""

from __future__ import annotations

import subprocess

from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, ToolError

_ARGV = ("dot", "-Tsvg")


def svg(dot: str, *, timeout: float = 30.0) -> str:
    """Return the SVG of a graph in DOT, such as ``graph.dot()``, by Graphviz's ``dot``.

    It takes some 20 ms, and seconds for a thousand nodes. Raises LaunchError where Graphviz is not
    installed, DeadlineExceeded after ``timeout`` seconds, ToolError for what is no DOT.
    """
    try:
        done = subprocess.run(
            _ARGV, input=dot, capture_output=True, encoding="utf-8", timeout=timeout, check=False
        )
    except OSError as error:
        what = f"cannot run 'dot': {error.strerror}; install Graphviz (apt-get install graphviz)"
        raise LaunchError(what, argv=_ARGV) from error
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded("Graphviz", seconds=timeout) from error
    if done.returncode:
        raise ToolError(_ARGV, exit_status=done.returncode, output=done.stderr)
    return done.stdout
