"""The fixtures of the pytest plugin, ``blocksdk_...``; ``short_fixtures`` has short names for them.

The module is loaded with every session of pytest, so a fixture imports what it needs when it is
used.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import pytest

if TYPE_CHECKING:
    from qemu_blocksdk import VM, StorageDaemon, Toolchain

    from .env import TestEnv
    from .factories import (
        AsyncImageFactory,
        AsyncNbdServerFactory,
        AsyncNodeFactory,
        AsyncStorageDaemonFactory,
        AsyncVmFactory,
        ImageFactory,
        NbdServerFactory,
        NodeFactory,
        StorageDaemonFactory,
        VmFactory,
    )
    from .golden import Golden
    from .machines import Machines
    from .qmp_log import QmpLog

ENVIRONMENT: Final = "blocksdk_test_env"
"""The fixture that a matrix parametrizes."""
KEEP: Final = "keep-failed"
UPDATE: Final = "update-golden"
_MATRIX: Final = pytest.StashKey["dict[str, TestEnv]"]()
ENV: Final = pytest.StashKey["TestEnv"]()
"""On an item, while it runs: its environment."""
MACHINES: Final = pytest.StashKey["Machines"]()
"""On an item, while it runs: its QEMUs."""
FAILED: Final = pytest.StashKey[bool]()
"""On an item, while it runs: whether it has failed."""
AXES: Final = {
    "qemu": "a directory with QEMU's programs, or an emulator in it",
    "imgfmt": "the image format",
    "imgproto": "the protocol that images are reached by",
    "cache-mode": "the cache mode of images that are opened in a QEMU",
    "aio-mode": "the aio mode of images that are opened in a QEMU",
}
"""The options that make a matrix, without their prefix."""


def option_of(config: pytest.Config, name: str) -> object:
    """Return the value of an option, given without its prefix."""
    return cast("object", config.getoption(f"blocksdk_{name.replace('-', '_')}"))


def environments(config: pytest.Config) -> dict[str, TestEnv]:
    """Return the matrix: by their ids the environments, without directories. Raises UsageError."""
    if _MATRIX not in config.stash:
        from qemu_blocksdk.codec import evolve

        from .matrix import Choices, matrix

        given = {name.replace("-", "_"): option_of(config, name) for name in AXES}
        config.stash[_MATRIX] = matrix(evolve(Choices(), **given), os.environ)
    return config.stash[_MATRIX]


def environment_of(item: pytest.Item) -> TestEnv:
    """Return the environment that a test runs in, without directories. Raises UsageError."""
    callspec = getattr(item, "callspec", None)
    params: Mapping[str, object] = {} if callspec is None else callspec.params
    default = next(iter(environments(item.config).values()))
    return cast("TestEnv", params.get(ENVIRONMENT, default))


def golden_of(item: pytest.Item) -> Golden:
    """Return the golden files of a test: the same in each environment, but for its format."""
    from .golden import Golden

    names = [one.name for one in item.listchain() if isinstance(one, pytest.Class | pytest.Item)]
    fmt = None
    if ENVIRONMENT in getattr(item, "fixturenames", ()):
        env = environment_of(item)
        fmt = env.imgfmt
        word = next(name for name, each in environments(item.config).items() if each is env)
        names[-1] = _without(word, names[-1])
    return Golden(item.path, test=".".join(names), fmt=fmt)


def _without(word: str, name: str) -> str:
    """Return a test's name without one of the parameters behind it."""
    test, bracket, rest = name.partition("[")
    if not word or not bracket:
        return name
    left = f"-{rest[:-1]}-".replace(f"-{word}-", "-", 1).strip("-")
    return f"{test}[{left}]" if left else test


@contextlib.contextmanager
def _without_traceback() -> Generator[None]:
    """Turn a LaunchError into a failure without a traceback, as no frame is the test's."""
    from qemu_blocksdk.errors import LaunchError

    try:
        yield
    except LaunchError as error:
        message = f"{error}\ncommand line: {shlex.join(error.argv)}"
        raise pytest.fail.Exception(message, pytrace=False) from None


@pytest.fixture
def blocksdk_golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files of the test."""
    return golden_of(request.node)


# One for all tests, because a process looks after it: for the case that this one is killed.
@pytest.fixture(scope="session")
def _blocksdk_sockets() -> Iterator[Path]:
    from .scratch import directory

    with directory(short=True) as path:
        yield path


@pytest.fixture
def blocksdk_test_env(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    _blocksdk_sockets: Path,
) -> Iterator[TestEnv]:
    """The environment of the test; its directories are removed afterwards."""
    from qemu_blocksdk.codec import evolve

    from .scratch import gone_afterwards, keep

    item: pytest.Item = request.node
    # Beside what the test itself has in tmp_path.
    place = tmp_path / "test_dir"
    place.mkdir()  # one that is there already is not removed
    with gone_afterwards(place) as test_dir:
        sock_dir = Path(tempfile.mkdtemp(prefix="", dir=_blocksdk_sockets))
        here = {"test_dir": test_dir, "sock_dir": sock_dir, "output_dir": test_dir}
        env = item.stash[ENV] = evolve(environment_of(item), **here)
        item.stash[FAILED] = False  # it may run again
        yield env
        shutil.rmtree(sock_dir, ignore_errors=True)
        if option_of(item.config, KEEP) and item.stash[FAILED]:
            keep(test_dir)


@pytest.fixture
def _blocksdk_env(blocksdk_test_env: TestEnv) -> TestEnv:
    """The environment that the other fixtures use; ``short_fixtures`` replaces this one."""
    return blocksdk_test_env


@pytest.fixture
def blocksdk_toolchain(_blocksdk_env: TestEnv) -> Toolchain:
    """The QEMU programs of the test."""
    from qemu_blocksdk import Toolchain

    return Toolchain(_blocksdk_env.programs)


@pytest.fixture
def blocksdk_image(_blocksdk_env: TestEnv) -> ImageFactory:
    """Create an image in the test's directory, of its format: ``blocksdk_image("disk", "64M")``."""
    from .images import Images

    return Images(_blocksdk_env).create


@pytest.fixture
def blocksdk_add_image(_blocksdk_env: TestEnv) -> NodeFactory:
    """Open an image in a QEMU: ``blocksdk_add_image(vm, disk, node_name="disk")``."""
    from .images import Images

    return Images(_blocksdk_env).add


@pytest.fixture
def blocksdk_async_image(_blocksdk_env: TestEnv) -> AsyncImageFactory:
    """Create an image, for coroutines: ``await blocksdk_async_image("disk", "64M")``."""
    from .images import AsyncImages

    return AsyncImages(_blocksdk_env).create


@pytest.fixture
def blocksdk_async_add_image(_blocksdk_env: TestEnv) -> AsyncNodeFactory:
    """Open an image, for coroutines: ``await blocksdk_async_add_image(vm, disk)``."""
    from .images import AsyncImages

    return AsyncImages(_blocksdk_env).add


@pytest.fixture
def _blocksdk_machines(
    request: pytest.FixtureRequest, _blocksdk_env: TestEnv
) -> Iterator[Machines]:
    from .machines import Machines

    item: pytest.Item = request.node
    with Machines(_blocksdk_env) as machines:
        item.stash[MACHINES] = machines
        yield machines


@pytest.fixture
def blocksdk_vm_factory(_blocksdk_machines: Machines) -> VmFactory:
    """Start VMs that end with the test: ``blocksdk_vm_factory(drives=[...])``."""
    return _blocksdk_machines.vm


@pytest.fixture
def blocksdk_vm(_blocksdk_machines: Machines) -> VM:
    """A running VM."""
    with _without_traceback():
        return _blocksdk_machines.vm()


@pytest.fixture
def blocksdk_storage_daemon_factory(_blocksdk_machines: Machines) -> StorageDaemonFactory:
    """Start storage daemons that end with the test."""
    return _blocksdk_machines.storage_daemon


@pytest.fixture
def blocksdk_storage_daemon(_blocksdk_machines: Machines) -> StorageDaemon:
    """A running storage daemon."""
    with _without_traceback():
        return _blocksdk_machines.storage_daemon()


@pytest.fixture
def blocksdk_nbd_server(_blocksdk_machines: Machines) -> NbdServerFactory:
    """Start ``qemu-nbd`` servers that end with the test: ``blocksdk_nbd_server(disk)``."""
    return _blocksdk_machines.nbd_server


# pytest-asyncio and anyio run fixtures that are coroutines each in a way of its own, and a
# QEMU belongs to the event loop that started it: so the test itself opens the block.
@pytest.fixture
def blocksdk_async_vm(_blocksdk_machines: Machines) -> AsyncVmFactory:
    """Make VMs for coroutines: ``async with blocksdk_async_vm() as vm:``."""
    return _blocksdk_machines.async_vm


@pytest.fixture
def blocksdk_async_storage_daemon(_blocksdk_machines: Machines) -> AsyncStorageDaemonFactory:
    """Make daemons for coroutines: ``async with blocksdk_async_storage_daemon() as daemon:``."""
    return _blocksdk_machines.async_storage_daemon


@pytest.fixture
def blocksdk_async_nbd_server(_blocksdk_machines: Machines) -> AsyncNbdServerFactory:
    """Make ``qemu-nbd`` servers for coroutines: ``async with blocksdk_async_nbd_server(disk):``."""
    return _blocksdk_machines.async_nbd_server


@pytest.fixture
def blocksdk_qmp_log(_blocksdk_machines: Machines) -> QmpLog:
    """The QMP messages between the test and its QEMUs, filtered."""
    return _blocksdk_machines.log
