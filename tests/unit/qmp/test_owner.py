"""Owners of temporary objects, and the proof that an owner is dead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk.qmp import owner
from qemu_blocksdk.qmp.owner import Owner, forget_owner, owner_of, owner_state

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of the owner files of a test."""
    monkeypatch.setattr(owner, "_PLACES", (str(tmp_path),))
    return tmp_path / f"blocksdk-owners-{os.geteuid()}"


@pytest.fixture
def guest(folder: Path) -> Iterator[Owner]:
    """Return an owner in a QEMU that is not ours."""
    guest = Owner(is_guest=True)
    yield guest
    guest.end(in_order=True)


def _state_elsewhere(id: str, place: Path) -> str:
    code = f"""
from qemu_blocksdk.qmp import owner
owner._PLACES = ({str(place)!r},)
print(owner.owner_state({id!r}))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_name_tells_its_owner_and_fits_a_node(guest: Owner) -> None:
    names = {guest.temporary_name() for _ in range(1000)}
    assert len(names) == 1000
    assert {owner_of(name) for name in names} == {guest.id}
    assert max(map(len, names)) + len("000000000") <= 31
    assert owner_of(f"{guest.temporary_name()}-claims-backup-busy") == guest.id
    assert owner_of(guest.lasting_name("overlay")) is None


@pytest.mark.parametrize(
    "name",
    ["", "disk", "blocksdk-disk", "blocksdk-12345678", "blocksdk-1234567-0", "blocksdk-12345678-x",
     "blocksdk-12345678-0x", "xblocksdk-12345678-0", "blocksdk-1234567G-0", "blocksdk-qmp"],
)  # fmt: skip
def test_other_names_have_no_owner(name: str) -> None:
    assert owner_of(name) is None


def test_threads_get_names_of_their_own(guest: Owner, folder: Path) -> None:
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.extend(guest.temporary_name() for _ in range(200)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 1600
    assert [path.name for path in folder.iterdir()] == [guest.id]


def test_an_owner_is_alive_here_and_elsewhere_until_its_end(guest: Owner, tmp_path: Path) -> None:
    assert owner_state(guest.id) == "unknown"  # nothing has its name yet
    guest.temporary_name()
    for _ in range(2):  # to ask does not drop the lock
        assert owner_state(guest.id) == "alive"
        assert _state_elsewhere(guest.id, tmp_path) == "alive"
    guest.end(in_order=True)
    assert owner_state(guest.id) == "unknown"
    guest.temporary_name()
    assert owner_state(guest.id) == "unknown"


def test_an_owner_that_lost_its_qemu_is_dead(guest: Owner, folder: Path) -> None:
    guest.temporary_name()
    guest.end(in_order=False)
    assert owner_state(guest.id) == "dead"
    forget_owner(guest.id)
    assert owner_state(guest.id) == "unknown"
    assert not list(folder.iterdir())


def test_an_end_in_order_amid_work_is_none(guest: Owner) -> None:
    guest.temporary_name()
    with guest.at_work():
        guest.end(in_order=True)
    assert owner_state(guest.id) == "dead"
    forget_owner(guest.id)


def test_what_is_alive_is_not_forgotten(guest: Owner, tmp_path: Path) -> None:
    guest.temporary_name()
    code = f"""
from qemu_blocksdk.qmp import owner
owner._PLACES = ({str(tmp_path)!r},)
owner.forget_owner({guest.id!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert _state_elsewhere(guest.id, tmp_path) == "alive"


# Its end in each way; the parent tells what is known of it then.
_ENDS = {
    "SIGKILL": ("os.kill(os.getpid(), 9)", "dead"),
    "SIGTERM": ("os.kill(os.getpid(), 15)", "dead"),
    "os._exit": ("os._exit(0)", "dead"),
    "exec": ("os.execv('/bin/true', ['true'])", "dead"),
    "an error": ("raise SystemExit(1)", "unknown"),
    "its end": ("", "unknown"),
}


@pytest.mark.parametrize("way", _ENDS)
def test_the_end_of_a_process_is_known_and_a_child_of_it_does_not_count(
    folder: Path, tmp_path: Path, way: str
) -> None:
    end, state = _ENDS[way]
    code = f"""
import os, time
from qemu_blocksdk.qmp import owner
owner._PLACES = ({str(tmp_path)!r},)
guest = owner.Owner(is_guest=True)
guest.temporary_name()
read, write = os.pipe()
if not os.fork():
    os.close(write)
    assert owner.owner_state(guest.id) == "alive"
    os.read(read, 1)  # until the test ends
    os._exit(0)
print(guest.id, flush=True)
os.set_inheritable(write, True)
os.dup2(write, 99)
input()
{end}
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        id = process.stdout.readline().strip()
        assert owner_state(id) == "alive"
        process.stdin.write("\n")
        process.stdin.close()
        process.wait(timeout=20)
        assert owner_state(id) == state
        forget_owner(id)
    assert not list(folder.iterdir())


def test_a_directory_that_others_may_write_proves_nothing(
    tmp_path: Path, folder: Path, guest: Owner
) -> None:
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / "12345678").touch()
    assert owner_state("12345678") == "unknown"
    assert guest.temporary_name()
    assert owner_state(guest.id) == "alive"  # in here that is known
    assert _state_elsewhere(guest.id, tmp_path) == "unknown"
    folder.chmod(0o700)
    assert owner_state("12345678") == "dead"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert owner_state("12345678") == "unknown"


def test_where_no_file_can_be_made_names_are_given_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "_PLACES", (str(tmp_path / "nowhere"),))
    guest = Owner(is_guest=True)
    assert owner_of(guest.temporary_name()) == guest.id
    guest.end(in_order=True)


def test_our_own_qemu_needs_no_file(folder: Path) -> None:
    ours = Owner(is_guest=False)
    ours.temporary_name()
    assert owner_state(ours.id) == "alive"
    ours.end(in_order=True)
    assert not folder.exists()
