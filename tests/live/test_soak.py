"""Work that is done again and again keeps nothing; `make soak` does it for longer."""

from __future__ import annotations

import pytest

from tests.soak.__main__ import soak


@pytest.mark.timeout(60)
def test_nothing_grows_while_the_same_work_is_done_again() -> None:
    said: list[str] = []
    assert soak(6.0, said.append) == [], said
