"""The fixtures of the pytest plugin: each hands out what other modules make.

They are loaded with every session of pytest, so what they need is imported when they are used.
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

KEEP: Final = "--keep-failed"
UPDATE: Final = "--update-golden"
_MATRIX: Final = pytest.StashKey["dict[str, TestEnv]"]()
ENV: Final = pytest.StashKey["TestEnv"]()
"""On an item, while it runs: its environment."""
MACHINES: Final = pytest.StashKey["Machines"]()
"""On an item, while it runs: its QEMUs."""
FAILED: Final = pytest.StashKey[bool]()
"""On an item, while it runs: whether it has failed."""
AXES: Final = {
    "--qemu": "a directory with QEMU's programs, or an emulator in it",
    "--imgfmt": "the image format",
    "--imgproto": "the protocol that images are reached by",
    "--cache-mode": "the cache mode of images that are opened in a QEMU",
    "--aio-mode": "the aio mode of images that are opened in a QEMU",
}
"""The options that make a matrix."""


def environments(config: pytest.Config) -> dict[str, TestEnv]:
    """Return the matrix: by their ids the environments, without directories. Raises UsageError."""
    if _MATRIX not in config.stash:
        from qemu_blocksdk.codec import evolve

        from .matrix import Choices, matrix

        given = {name[2:].replace("-", "_"): config.getoption(name) for name in AXES}
        config.stash[_MATRIX] = matrix(evolve(Choices(), **given), os.environ)
    return config.stash[_MATRIX]


def environment_of(item: pytest.Item) -> TestEnv:
    """Return the environment that a test runs in, without directories. Raises UsageError."""
    callspec = getattr(item, "callspec", None)
    params: Mapping[str, object] = {} if callspec is None else callspec.params
    default = next(iter(environments(item.config).values()))
    return cast("TestEnv", params.get("test_env", default))


def golden_of(item: pytest.Item) -> Golden:
    """Return the golden files of a test: the same in each environment, but for its format."""
    from .golden import Golden

    names = [one.name for one in item.listchain() if isinstance(one, pytest.Class | pytest.Item)]
    fmt = None
    if "test_env" in getattr(item, "fixturenames", ()):
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
def _told_briefly() -> Generator[None]:
    """Fail without the frames, none of which is the test's."""
    from qemu_blocksdk.errors import LaunchError

    try:
        yield
    except LaunchError as error:
        words = f"{error}\ncommand line: {shlex.join(error.argv)}"
        raise pytest.fail.Exception(words, pytrace=False) from None


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files of the test that asks."""
    return golden_of(request.node)


# One for all tests, because a process looks after it: for the case that this one is killed.
@pytest.fixture(scope="session")
def _sockets() -> Iterator[Path]:
    from .scratch import directory

    with directory(short=True) as path:
        yield path


@pytest.fixture
def test_env(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    _sockets: Path,  # noqa: PT019 - its value counts
) -> Iterator[TestEnv]:
    """What the test runs with; its directories are gone afterwards."""
    from qemu_blocksdk.codec import evolve

    from .scratch import gone_afterwards, keep

    item: pytest.Item = request.node
    # Beside what the test itself has in tmp_path.
    place = tmp_path / "test_dir"
    place.mkdir()  # one that is there already is not removed
    with gone_afterwards(place) as test_dir:
        sock_dir = Path(tempfile.mkdtemp(prefix="", dir=_sockets))
        here = {"test_dir": test_dir, "sock_dir": sock_dir, "output_dir": test_dir}
        env = item.stash[ENV] = evolve(environment_of(item), **here)
        item.stash[FAILED] = False  # it may run again
        yield env
        shutil.rmtree(sock_dir, ignore_errors=True)
        if item.config.getoption(KEEP) and item.stash[FAILED]:
            keep(test_dir)


@pytest.fixture
def toolchain(test_env: TestEnv) -> Toolchain:
    """The QEMU programs that the test runs with."""
    from qemu_blocksdk import Toolchain

    return Toolchain(test_env.programs)


@pytest.fixture
def image(test_env: TestEnv) -> ImageFactory:
    """Makes images in the test's directory, of its format: ``image("disk", "64M")``."""
    from .images import Images

    return Images(test_env).create


@pytest.fixture
def add_image(test_env: TestEnv) -> NodeFactory:
    """Opens images in a QEMU: ``add_image(vm, disk, node_name="disk")``."""
    from .images import Images

    return Images(test_env).add


@pytest.fixture
def async_image(test_env: TestEnv) -> AsyncImageFactory:
    """Makes images for coroutines: ``await async_image("disk", "64M")``."""
    from .images import AsyncImages

    return AsyncImages(test_env).create


@pytest.fixture
def async_add_image(test_env: TestEnv) -> AsyncNodeFactory:
    """Opens images in a coroutine's QEMU: ``await async_add_image(vm, disk, node_name="disk")``."""
    from .images import AsyncImages

    return AsyncImages(test_env).add


@pytest.fixture
def _machines(request: pytest.FixtureRequest, test_env: TestEnv) -> Iterator[Machines]:
    from .machines import Machines

    item: pytest.Item = request.node
    with Machines(test_env) as machines:
        item.stash[MACHINES] = machines
        yield machines


@pytest.fixture
def vm_factory(_machines: Machines) -> VmFactory:
    """Starts VMs, which end with the test: ``vm_factory(drives=[...])``."""
    return _machines.vm


@pytest.fixture
def vm(_machines: Machines) -> VM:
    """A VM that runs."""
    with _told_briefly():
        return _machines.vm()


@pytest.fixture
def storage_daemon_factory(_machines: Machines) -> StorageDaemonFactory:
    """Starts storage daemons, which end with the test."""
    return _machines.storage_daemon


@pytest.fixture
def storage_daemon(_machines: Machines) -> StorageDaemon:
    """A storage daemon that runs."""
    with _told_briefly():
        return _machines.storage_daemon()


@pytest.fixture
def nbd_server(_machines: Machines) -> NbdServerFactory:
    """Starts ``qemu-nbd`` servers, which end with the test: ``nbd_server(disk)``."""
    return _machines.nbd_server


# pytest-asyncio and anyio run fixtures that are coroutines each in a way of its own, and a
# QEMU belongs to the event loop that started it: so the test itself opens the block.
@pytest.fixture
def async_vm(_machines: Machines) -> AsyncVmFactory:
    """Makes VMs for coroutines: ``async with async_vm() as vm:``."""
    return _machines.async_vm


@pytest.fixture
def async_storage_daemon(_machines: Machines) -> AsyncStorageDaemonFactory:
    """Makes storage daemons for coroutines: ``async with async_storage_daemon() as daemon:``."""
    return _machines.async_storage_daemon


@pytest.fixture
def async_nbd_server(_machines: Machines) -> AsyncNbdServerFactory:
    """Makes ``qemu-nbd`` servers for coroutines: ``async with async_nbd_server(disk) as it:``."""
    return _machines.async_nbd_server


@pytest.fixture
def qmp_log(_machines: Machines) -> QmpLog:
    """What the test and its QEMUs say to each other by QMP, filtered."""
    return _machines.log
