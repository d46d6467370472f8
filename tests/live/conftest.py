"""What every live test stands on: the right QEMU, a clean slate before and after."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Image, Secret, StorageDaemon
from qemu_blocksdk.errors import LaunchError, ToolError
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.testing import faults
from qemu_blocksdk.tools import CreateLuks, CreateQcow2, EncryptLuks
from tests.live.helpers import MakeImage, nothing_left_behind, run, write_with_qemu_io

QEMU = os.environ.get("BLOCKSDK_QEMU", "system")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder as live."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session", autouse=True)
def qemu_version() -> tuple[int, int]:
    """The version of the QEMU in PATH, which has to be the one that was asked for."""
    versions = set[tuple[int, int]]()
    for program in ("qemu-storage-daemon", "qemu-img", "qemu-system-x86_64"):
        found = re.search(r"version (\d+)\.(\d+)", run(program, "--version"))
        assert found is not None, f"{program} does not tell its version"
        versions.add((int(found[1]), int(found[2])))
    assert len(versions) == 1, f"programs of several QEMUs in PATH: {versions}"
    version = versions.pop()
    if QEMU != "system":
        assert ".".join(map(str, version)) == QEMU, f"BLOCKSDK_QEMU={QEMU}, but PATH has {version}"
    return version


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody else's scratch directories are mistaken for ours."""
    before = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("t"))
    background_loop.call(lambda: None)  # the background loop stays, so it is there before
    yield
    tempfile.tempdir = before


@pytest.fixture(autouse=True)
def clean_slate(tmp_path: Path, own_temporary_folder: None) -> Iterator[None]:
    """Fail a test that leaves something behind."""
    with nothing_left_behind(tmp_path):
        yield


@pytest.fixture
def daemon() -> Iterator[StorageDaemon]:
    """A running storage daemon."""
    with StorageDaemon() as running:
        yield running


@pytest.fixture(scope="session")
def encrypted_headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty images of 16 MiB, ``header.FORMAT``, encrypted with ``s3cr3t``.

    They spare a test the four seconds that QEMU takes for a LUKS header.
    """
    folder = tmp_path_factory.mktemp("headers")
    for options in (CreateQcow2(encrypt=EncryptLuks(iter_time=0.01)), CreateLuks(iter_time=0.01)):
        path = folder / f"header.{options.format}"
        Image(path, format=options.format, secret=Secret("s3cr3t")).create("16M", options)
    return folder


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Make images in the test's folder."""

    def make(
        name: str = "disk.qcow2",
        *,
        size: str = "16M",
        fmt: str = "qcow2",
        backing: Path | None = None,
        write: str | None = None,
    ) -> Path:
        path = tmp_path / name
        on = () if backing is None else ("-b", backing, "-F", "qcow2")
        run("qemu-img", "create", "-q", "-f", fmt, *on, path, size)
        if write is not None:
            write_with_qemu_io(path, f"write {write}", fmt=fmt)
        return path

    return make


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is full after 1 MiB; skips where none can be mounted."""
    with contextlib.ExitStack() as held:
        try:
            folder = held.enter_context(faults.full_disk(tmp_path / "full"))
        except (LaunchError, ToolError) as error:
            pytest.skip(f"no right to mount a small tmpfs: {error}")
        yield folder
