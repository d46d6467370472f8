"""Short names of the plugin's fixtures, for test suites that set ``blocksdk_short_names``.

Each is its long namesake and nothing else. An override of ``test_env`` counts for all others too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from .qmp_log import QmpLog


@pytest.fixture
def _blocksdk_env(test_env: TestEnv) -> TestEnv:
    return test_env


@pytest.fixture
def golden(blocksdk_golden: Golden) -> Golden:
    """The golden files of the test."""
    return blocksdk_golden


@pytest.fixture
def test_env(blocksdk_test_env: TestEnv) -> TestEnv:
    """The environment of the test; its directories are removed afterwards."""
    return blocksdk_test_env


@pytest.fixture
def toolchain(blocksdk_toolchain: Toolchain) -> Toolchain:
    """The QEMU programs of the test."""
    return blocksdk_toolchain


@pytest.fixture
def image(blocksdk_image: ImageFactory) -> ImageFactory:
    """Create an image in the test's directory, of its format: ``image("disk", "64M")``."""
    return blocksdk_image


@pytest.fixture
def add_image(blocksdk_add_image: NodeFactory) -> NodeFactory:
    """Open an image in a QEMU: ``add_image(vm, disk, node_name="disk")``."""
    return blocksdk_add_image


@pytest.fixture
def async_image(blocksdk_async_image: AsyncImageFactory) -> AsyncImageFactory:
    """Create an image, for coroutines: ``await async_image("disk", "64M")``."""
    return blocksdk_async_image


@pytest.fixture
def async_add_image(blocksdk_async_add_image: AsyncNodeFactory) -> AsyncNodeFactory:
    """Open an image, for coroutines: ``await async_add_image(vm, disk)``."""
    return blocksdk_async_add_image


@pytest.fixture
def vm_factory(blocksdk_vm_factory: VmFactory) -> VmFactory:
    """Start VMs that end with the test: ``vm_factory(drives=[...])``."""
    return blocksdk_vm_factory


@pytest.fixture
def vm(blocksdk_vm: VM) -> VM:
    """A running VM."""
    return blocksdk_vm


@pytest.fixture
def storage_daemon_factory(
    blocksdk_storage_daemon_factory: StorageDaemonFactory,
) -> StorageDaemonFactory:
    """Start storage daemons that end with the test."""
    return blocksdk_storage_daemon_factory


@pytest.fixture
def storage_daemon(blocksdk_storage_daemon: StorageDaemon) -> StorageDaemon:
    """A running storage daemon."""
    return blocksdk_storage_daemon


@pytest.fixture
def nbd_server(blocksdk_nbd_server: NbdServerFactory) -> NbdServerFactory:
    """Start ``qemu-nbd`` servers that end with the test: ``nbd_server(disk)``."""
    return blocksdk_nbd_server


@pytest.fixture
def async_vm(blocksdk_async_vm: AsyncVmFactory) -> AsyncVmFactory:
    """Make VMs for coroutines: ``async with async_vm() as vm:``."""
    return blocksdk_async_vm


@pytest.fixture
def async_storage_daemon(
    blocksdk_async_storage_daemon: AsyncStorageDaemonFactory,
) -> AsyncStorageDaemonFactory:
    """Make daemons for coroutines: ``async with async_storage_daemon() as daemon:``."""
    return blocksdk_async_storage_daemon


@pytest.fixture
def async_nbd_server(blocksdk_async_nbd_server: AsyncNbdServerFactory) -> AsyncNbdServerFactory:
    """Make ``qemu-nbd`` servers for coroutines: ``async with async_nbd_server(disk):``."""
    return blocksdk_async_nbd_server


@pytest.fixture
def qmp_log(blocksdk_qmp_log: QmpLog) -> QmpLog:
    """The QMP messages between the test and its QEMUs, filtered."""
    return blocksdk_qmp_log
