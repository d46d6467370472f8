"""What environment variables ask of a run, for tests of unittest, which has no options of ours."""

from __future__ import annotations

import os
from typing import Final

KEEP_FAILED: Final = "KEEP_FAILED"
"""Leave the directory of a test that fails."""
UPDATE_GOLDEN: Final = "UPDATE_GOLDEN"
"""Write golden files anew."""


def is_set(variable: str) -> bool:
    """Tell whether an environment variable says yes."""
    return os.environ.get(variable, "").lower() not in ("", "0", "false", "no")
