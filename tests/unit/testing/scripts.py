"""Test scripts as a runner starts them, with programs that only answer what scripts ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import qemu_blocksdk

ROOT = Path(qemu_blocksdk.__file__).parent.parent

QEMU = """
case "$*" in
    *-device*help*) echo 'name "virtio-blk-pci"'; echo 'name "virtio-scsi-ccw"';;
    *format=help*)
        echo 'Supported formats: file luks qcow2 raw'
        echo 'Supported formats (read-only): bochs file luks qcow2 raw';;
esac
"""
QEMU_IMG = """
case "$*" in
    *--help*) echo 'Supported formats: file qcow2 raw';;
    map*) echo "qemu-img: this cipher is not supported" >&2; exit 1;;
esac
"""
BEGIN = """
import sys, unittest
from qemu_blocksdk.testing import notrun, runner, skips
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.text import log

env = TestEnv.from_environ()
"""


class Scripts:
    """A folder of scripts; each is run in it, with ``variables`` beside those of ``check``."""

    def __init__(self, folder: Path, *, qemu: str = QEMU, qemu_img: str = QEMU_IMG) -> None:
        self.folder = folder
        self.output = folder / "out"
        for name in ("images", "sockets", "out"):
            (folder / name).mkdir()
        self._programs = {
            "QEMU_PROG": self._program("qemu", qemu),
            "QEMU_IMG_PROG": self._program("qemu-img", qemu_img),
        }

    def _program(self, name: str, source: str) -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\necho {name} >> {self.folder}/launches\n{source}")
        path.chmod(0o755)
        return str(path)

    def run(
        self, source: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the script ``001``, which begins with the imports and an ``env``."""
        script = self.folder / "001"
        script.write_text(BEGIN + source)
        return subprocess.run(
            [sys.executable, "001", *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TEST_DIR": str(self.folder / "images"),
                "SOCK_DIR": str(self.folder / "sockets"),
                "OUTPUT_DIR": str(self.output),
                "CACHEMODE": "none",
                "AIOMODE": "native",
                "QEMU_DEFAULT_MACHINE": "pc",
                "IMGFMT": "qcow2",
                **self._programs,
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def left(self) -> dict[str, str]:
        """What the script has left for its runner, by the file's name."""
        return {path.name: path.read_text() for path in self.output.iterdir()}

    def launches(self) -> list[str]:
        """The programs that were started."""
        path = self.folder / "launches"
        return path.read_text().split() if path.exists() else []
