"""The plugin of pytest: ``--update-golden``, and the fixture ``golden``.

Only this module imports pytest. What golden files are is in ``golden.py``.
"""

from __future__ import annotations

import pytest

from .golden import UPDATE, Golden

_OPTION = "--update-golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(_OPTION, action="store_true", help="write golden files anew (never in CI)")


def pytest_configure(config: pytest.Config) -> None:
    """Pass the option on, to tests of unittest as well."""
    if config.getoption(_OPTION):
        environment = pytest.MonkeyPatch()
        environment.setenv(UPDATE, "1")
        config.add_cleanup(environment.undo)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files of the test that asks."""
    node: pytest.Item = request.node
    parts = (one.name for one in node.listchain() if isinstance(one, pytest.Class | pytest.Item))
    return Golden(node.path, test=".".join(parts))
