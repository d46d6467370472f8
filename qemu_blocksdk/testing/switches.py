"""Environment variables that stand for the plugin's options, for tests of unittest."""

from __future__ import annotations

import os
from typing import Final

KEEP_FAILED: Final = "KEEP_FAILED"
"""Leave the directory of a test that fails."""
UPDATE_GOLDEN: Final = "UPDATE_GOLDEN"
"""Write golden files anew."""


def is_set(variable: str) -> bool:
    """Return whether an environment variable is set to anything but 0, false or no."""
    return os.environ.get(variable, "").lower() not in ("", "0", "false", "no")
