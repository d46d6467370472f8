"""Graphviz is run, and what goes wrong with it is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, ToolError
from qemu_blocksdk.tools import svg

needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="no program 'dot'")


@needs_graphviz
def test_dot_becomes_svg() -> None:
    assert "<title>ü</title>" in svg('digraph { "ü" }').replace("&#252;", "ü")


@needs_graphviz
def test_what_is_no_dot_is_refused_with_graphvizs_words() -> None:
    with pytest.raises(ToolError, match=r"dot failed \(exit status 1\): .*syntax error in line 1"):
        svg("digraph {")


def test_without_graphviz_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LaunchError, match=r"cannot run 'dot': .*apt-get install graphviz"):
        svg("digraph {}")


def test_a_graphviz_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "dot"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(DeadlineExceeded, match=r"gave up on Graphviz after 0.1 s"):
        svg("digraph {}", timeout=0.1)
