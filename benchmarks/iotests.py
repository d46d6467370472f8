"""The drop-in `iotests` beside the old way: a blocking socket with `json`, `subprocess.Popen`.

The old way does no more than scripts see of it; the same programs get the same words.
"""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from qemu_blocksdk import Toolchain
from qemu_blocksdk.iotests import ACCELERATOR_VARIABLE
from qemu_blocksdk.iotests.check import PATH
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.tools import Programs

from .core import Bench, Contestant, Row, timed
from .peers import RawQmp

_COMMANDS = 100
"""Commands of one sample."""
_MODULES = """
    atexit bz2 collections contextlib faulthandler json logging os re select shutil signal socket
    struct subprocess sys tempfile time typing unittest
"""


class _OldVM:
    """A QEMU with its monitor on a socketpair, its output in a file."""

    def __init__(self, words: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - until the shutdown
        chardev = f"socket,id=mon,fd={theirs.fileno()}"
        monitor = ["-chardev", chardev, "-mon", "chardev=mon,mode=control"]
        self._process = subprocess.Popen(
            [words[0], "-display", "none", "-vga", "none", *monitor, "-accel", "tcg", *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.qmp = RawQmp(self._socket)

    def shutdown(self) -> str:
        self.qmp.execute("quit")
        self._process.wait()
        self._socket.close()
        with self._log as log:
            log.seek(0)
            return log.read().decode()


def _old_life(words: Sequence[str]) -> None:
    vm = _OldVM(words)
    vm.qmp.execute("query-status")
    vm.shutdown()


def _our_life(iotests: Any) -> None:  # noqa: ANN401 - a module, as scripts see it
    with iotests.VM() as vm:
        vm.launch()
        vm.qmp("query-status")


def _old_tool(words: Sequence[str]) -> None:
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as tool:
        tool.communicate()


@contextmanager
def _environment() -> Generator[TestEnv]:
    """Have scripts' variables in ours, as the runner sets them."""
    # With -S: no guest runs beside what is measured.
    qemu = (*Programs().qemu, "-nodefaults", "-display", "none", "-S")
    programs = Programs().evolve(qemu=qemu)
    machine = Toolchain(programs).query_emulator().default_machine
    with TestEnv.temporary(programs=programs, default_machine=machine, imgfmt="qcow2") as env:
        variables = {**env.variables(), ACCELERATOR_VARIABLE: "tcg"}
        with mock.patch.dict(os.environ, variables):
            yield env


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with ExitStack() as stack:
        env = stack.enter_context(_environment())
        iotests: Any = importlib.import_module("qemu_blocksdk.iotests.face")
        qemu = [iotests.qemu_prog, *iotests.qemu_opts]
        image = str(env.test_dir / "image")
        iotests.qemu_img_create("-f", "qcow2", image, "1M")
        info = ["info", "--output=json", image]
        ours = iotests.VM()
        ours.launch()
        stack.callback(ours.kill)
        old = _OldVM(qemu)
        stack.callback(old.shutdown)
        yield {
            "VM.qmp": timed(lambda: ours.qmp("query-jobs"), times=_COMMANDS),
            "raw socket": timed(lambda: old.qmp.execute("query-jobs"), times=_COMMANDS),
            "VM": timed(lambda: _our_life(iotests), times=3),
            "Popen of QEMU": timed(lambda: _old_life(qemu), times=3),
            "qemu_img_pipe": timed(lambda: iotests.qemu_img_pipe(*info), times=10),
            "Popen of qemu-img": timed(
                lambda: _old_tool([*iotests.qemu_img_args, *info]), times=10
            ),
            "import iotests": _in_fresh_interpreter("import iotests"),
            "import of the old": _in_fresh_interpreter(f"import {','.join(_MODULES.split())}"),
        }


def _in_fresh_interpreter(statement: str) -> Contestant:
    path = os.pathsep.join([str(PATH), str(PATH.parents[2])])
    program = (
        "from time import process_time\n"
        "start = process_time()\n"
        f"{statement}\n"
        "print(process_time() - start)"
    )

    def sample() -> float:
        environ = {**os.environ, "PYTHONPATH": path}
        return float(subprocess.check_output([sys.executable, "-P", "-c", program], env=environ))

    return sample


BENCH = Bench(
    name="iotests",
    rows=[
        Row(
            "iotests-command",
            ours="VM.qmp",
            peer="raw socket",
            target=1.4,
            note='vm.qmp("query-jobs") against json.dumps, readline, json.loads',
        ),
        Row(
            "iotests-life",
            ours="VM",
            peer="Popen of QEMU",
            target=1.1,
            note="launch, query-status, shutdown against Popen with the same, quit, wait",
        ),
        Row(
            "iotests-tool",
            ours="qemu_img_pipe",
            peer="Popen of qemu-img",
            target=1.15,
            note="qemu-img info against Popen with the same, communicate",
        ),
        Row(
            "iotests-import",
            ours="import iotests",
            peer="import of the old",
            note="the statement alone, in processor time, against what the original imports",
        ),
    ],
    rounds=30,
    contestants=_contestants,
    programs=(Programs.qemu[0], Programs.qemu_img[0]),
)
