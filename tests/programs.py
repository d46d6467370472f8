"""Programs that tests make."""

from __future__ import annotations

import sys
from pathlib import Path


def python_program(path: Path, source: str) -> Path:
    """Write a program in Python; return its path.

    A shell reads its second line as `exec`, Python as a string that nobody uses: the path of an
    interpreter on a first line can be neither long nor hold a space.
    """
    path.write_text(f'#!/bin/sh\n"exec" "{sys.executable}" "$0" "$@"\n{source}')
    path.chmod(0o755)
    return path
