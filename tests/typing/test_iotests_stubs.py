"""``import iotests`` type-checks by the stubs, which are as the module is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qemu_blocksdk.testing.env import TestEnv

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "tests" / "iotests").glob("[0-9][0-9][0-9]"))


def _run(*arguments: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **variables},
    )
    return done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_the_scripts_pass_the_strict_checker() -> None:
    assert len(SCRIPTS) >= 30
    options = ("--strict", "--config-file", "mypy.ini", "--scripts-are-modules")
    # To type checkers, `qemu.qmp` is the library; what scripts import beside iotests has no stubs.
    scripts = [script for script in SCRIPTS if script.name != "037"]
    told = _run("mypy", *options, *scripts)
    assert told == f"Success: no issues found in {len(scripts)} source files\n"


@pytest.mark.timeout(180)
def test_the_stubs_are_as_the_module_is() -> None:
    path = _run("qemu_blocksdk.iotests", "path", PYTHONPATH=str(ROOT)).strip()
    with TestEnv.temporary() as env:
        told = _run(
            *("mypy.stubtest", "--mypy-config-file", "mypy.ini", "iotests"),
            **{**env.variables(), "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
        )
    assert told == "Success: no issues found in 1 module\n"
