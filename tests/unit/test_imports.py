"""What an import costs: nothing that is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("names", ["StorageDaemon, Image", "Job, Operation"])
def test_attrs_is_not_loaded_before_somebody_uses_it(names: str) -> None:
    program = (
        "import sys\n"
        f"from qemu_blocksdk import {names}\n"
        "from qemu_blocksdk.blockdev import File\n"
        "File(filename='a').evolve(discard='unmap')\n"
        "print('attr' in sys.modules)"
    )
    done = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert done == "False\n"
