"""What an import costs: nothing that is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("names", ["StorageDaemon, Image", "Job, Operation"])
def test_the_objects_come_without_attrs(names: str) -> None:
    # attrs completes a value class when the first one is constructed: none is by an import.
    program = f"import sys; from qemu_blocksdk import {names}; print('attr' in sys.modules)"
    done = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert done == "False\n"
