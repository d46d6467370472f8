"""The base class of async context managers."""

from __future__ import annotations

import pytest

from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.errors import UsageError


def test_where_another_library_runs_the_coroutines_that_is_said() -> None:
    entering = AsyncVM(program="qemu").__aenter__()
    with pytest.raises(UsageError, match=r"^<AsyncVM qemu: .*> needs asyncio: no event loop"):
        entering.send(None)
