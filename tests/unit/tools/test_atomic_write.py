"""A file stands under its final name when it is whole; whatever happens, nothing else is left."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.atomic_write import atomic_write, undo_on_failure

if TYPE_CHECKING:
    from _typeshed import TraceFunction

BOTH = pytest.mark.parametrize("replace", [True, False])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "disk.img"


@pytest.fixture(autouse=True)
def folder(path: Path) -> Path:
    path.parent.mkdir()
    return path.parent


def content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def lock(path: Path, start: int) -> int:
    """Hold a shared lock on a byte of a file, as QEMU does."""
    descriptor = os.open(path, os.O_RDWR)
    wanted = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, start, 1, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    return descriptor


@BOTH
def test_draft_gets_its_final_name_at_the_end(path: Path, folder: Path, replace: bool) -> None:
    with atomic_write(path, replace=replace) as draft:
        draft.write_text("new")
        assert draft.name == path.name
        assert not path.exists()
        assert [draft.parent] == [*folder.iterdir()]
    assert content(folder) == {"disk.img": "new"}


def test_existing_file_is_replaced_by_another_and_not_written_into(path: Path) -> None:
    path.write_text("old")
    with path.open() as old:
        with atomic_write(path, replace=True) as draft:
            draft.write_text("new")
            assert path.read_text() == "old"
        assert old.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), GeneratorExit()])
def test_error_passes_and_leaves_everything_as_it_was(
    path: Path, folder: Path, error: BaseException
) -> None:
    path.write_text("old")
    with pytest.raises(type(error)) as caught, atomic_write(path, replace=True) as draft:  # noqa: PT012
        draft.write_text("new")
        draft.with_name("extra").write_text("new")
        raise error
    assert caught.value is error
    assert content(folder) == {"disk.img": "old"}


@BOTH
def test_files_that_belong_to_it_come_along_and_before_it(
    path: Path, folder: Path, replace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    rename, link = Path.replace, Path.hardlink_to

    def seen_rename(file: Path, place: Path) -> None:
        rename(file, place)
        moved.append(place.name)

    def seen_link(place: Path, file: Path) -> None:
        link(place, file)
        moved.append(place.name)

    monkeypatch.setattr(Path, "replace", seen_rename)
    monkeypatch.setattr(Path, "hardlink_to", seen_link)
    with atomic_write(path, replace=replace) as draft:
        for name in ("disk.img", "disk-s001.img", "z"):
            draft.with_name(name).write_text(name)
    assert content(folder) == {name: name for name in ("disk.img", "disk-s001.img", "z")}
    assert len(moved) == 3
    assert moved[-1] == "disk.img"


def test_existing_file_can_be_protected(path: Path, folder: Path) -> None:
    path.write_text("old")
    with (
        pytest.raises(UsageError, match=r"disk\.img' exists already"),
        atomic_write(path, replace=False),
    ):
        pytest.fail("nothing is written in vain")
    assert content(folder) == {"disk.img": "old"}


@pytest.mark.parametrize("name", ["disk.img", "extra"])
def test_protected_file_may_come_while_the_draft_is_written(
    path: Path, folder: Path, name: str
) -> None:
    with (  # noqa: PT012
        pytest.raises(UsageError, match=rf"{name}' exists already"),
        atomic_write(path, replace=False) as draft,
    ):
        draft.write_text("new")
        draft.with_name("extra").write_text("new")
        (folder / name).write_text("somebody else's")
    assert content(folder) == {name: "somebody else's"}


def test_protected_file_may_come_at_the_last_moment(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to

    def race(place: Path, file: Path) -> None:
        if place == path:
            place.write_text("somebody else's")
        link(place, file)

    monkeypatch.setattr(Path, "hardlink_to", race)
    with (  # noqa: PT012
        pytest.raises(UsageError, match="exists already"),
        atomic_write(path, replace=False) as draft,
    ):
        draft.write_text("new")
        draft.with_name("extra").write_text("new")
    assert content(folder) == {"disk.img": "somebody else's"}


@pytest.mark.parametrize("byte", [100, 103, 201, 203])
def test_file_that_a_qemu_has_locked_is_not_replaced(path: Path, folder: Path, byte: int) -> None:
    path.write_text("old")
    held = lock(path, byte)
    try:
        with (
            pytest.raises(UsageError, match="in use by a running QEMU"),
            atomic_write(path, replace=True),
        ):
            pytest.fail("nothing is written in vain")
    finally:
        os.close(held)
    assert content(folder) == {"disk.img": "old"}


@pytest.mark.parametrize("name", ["disk.img", "extra"])
def test_file_that_a_qemu_locks_meanwhile_is_not_replaced(
    path: Path, folder: Path, name: str
) -> None:
    (folder / name).write_text("old")
    held = -1
    try:
        with (  # noqa: PT012
            pytest.raises(UsageError, match=f"{name}' is in use"),
            atomic_write(path, replace=True) as draft,
        ):
            draft.write_text("new")
            draft.with_name("extra").write_text("new")
            held = lock(folder / name, 100)
    finally:
        os.close(held)
    assert content(folder) == {name: "old"}


def test_lock_of_another_kind_is_no_hindrance(path: Path) -> None:
    path.write_text("old")
    held = lock(path, 0)
    try:
        with atomic_write(path, replace=True) as draft:
            draft.write_text("new")
    finally:
        os.close(held)
    assert path.read_text() == "new"


@pytest.mark.parametrize("is_there", [True, False])
def test_symbolic_link_stays_and_what_it_points_to_is_replaced(
    path: Path, tmp_path: Path, is_there: bool
) -> None:
    target = tmp_path / "elsewhere" / "target.img"
    target.parent.mkdir()
    if is_there:
        target.write_text("old")
    path.symlink_to(target)
    with atomic_write(path, replace=True) as draft:
        assert draft.parent.parent == target.parent
        draft.write_text("new")
    assert path.readlink() == target
    assert content(target.parent) == {"target.img": "new"}


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _under_a_file(path: Path) -> Path:
    path.write_text("")
    return path / "disk.img"


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a folder": (lambda path: path.parent, "no regular file"),
    "nothing": (lambda _: Path(), "no regular file"),
    "the root": (lambda _: Path("/"), "no regular file"),
    "a FIFO": (_fifo, "no regular file"),
    # Python 3.13 resolves it to itself.
    "a link to itself": (_loop, "cannot|is a symbolic link"),
    "under a file": (_under_a_file, "cannot write"),
    "a missing folder": (lambda path: path.parent / "missing" / "disk", "write in '.*missing'"),
    "a NUL": (lambda path: path.with_name("\0"), "cannot be a file"),
    "no bytes for it": (lambda path: path.with_name("\ud800"), "cannot be a file"),
    "too long": (lambda path: path.with_name("x" * 256), "name too long"),
}


@pytest.mark.parametrize("where", PLACES)
@BOTH
def test_place_where_no_file_can_be_is_refused(path: Path, where: str, replace: bool) -> None:
    make, complaint = PLACES[where]
    place = make(path)
    before = {*path.parent.iterdir()}
    with pytest.raises(UsageError, match=complaint), atomic_write(place, replace=replace):
        pytest.fail("nothing is written in vain")
    assert {*path.parent.iterdir()} == before


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that this process may not write in, also where it is root's."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def test_folder_without_permission_is_named(locked_folder: Path) -> None:
    with (
        # Of the folder or, in a folder that may not even be entered, of the file.
        pytest.raises(UsageError, match=rf"cannot write (in )?'{locked_folder}.*Permission denied"),
        atomic_write(locked_folder / "disk"),
    ):
        pytest.fail("nothing is written in vain")


@pytest.mark.parametrize(
    "name", [b"-o", b"a,b=c.img", b"nbd:x", b"json:{}", b" \n", b"\xff\xfe", b"x" * 255, b".x"]
)
@BOTH
def test_any_name_will_do(folder: Path, name: bytes, replace: bool) -> None:
    with atomic_write(folder / os.fsdecode(name), replace=replace) as draft:
        draft.write_text("new")
    assert os.listdir(os.fsencode(folder)) == [name]  # noqa: PTH208 - as bytes


@BOTH
def test_permissions_are_those_of_any_new_file(path: Path, replace: bool) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(path, replace=replace) as draft:
            draft.write_text("new")
            assert draft.parent.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o640


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def _acl(user: int, permissions: int) -> bytes:
    """An access control list that lets one more user in, as the kernel has it."""
    anyone = 0xFFFFFFFF
    entries = [(1, 6, anyone), (2, permissions, user), (4, 4, anyone), (16, 4, anyone)]
    packed = (struct.pack("<HHI", *entry) for entry in (*entries, (32, 0, anyone)))
    return struct.pack("<I", 2) + b"".join(packed)


def _set(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"this file system has no {name}: {error}")


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o4755, 0o666])
def test_owner_and_mode_of_what_is_replaced_stay(path: Path, mode: int) -> None:
    path.write_text("old")
    os.chown(path, 65534, 65533)
    path.chmod(mode)
    with atomic_write(path, replace=True) as draft:
        draft.write_text("new")
    status = path.stat()
    assert path.read_text() == "new"
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (65534, 65533, mode)


def test_acl_and_attributes_of_what_is_replaced_stay(path: Path, folder: Path) -> None:
    path.write_text("old")
    acl = _acl(4711, 4)
    _set(path, "system.posix_acl_access", acl)
    _set(path, "user.note", b"keep me")
    # What a new file in this folder would get.
    _set(folder, "system.posix_acl_default", _acl(4712, 6))
    with atomic_write(path, replace=True) as draft:
        draft.write_text("new")
    assert path.read_text() == "new"
    assert os.getxattr(path, "system.posix_acl_access") == acl
    assert os.getxattr(path, "user.note") == b"keep me"


def test_default_acl_of_the_folder_is_not_given_to_what_had_none(path: Path, folder: Path) -> None:
    path.write_text("old")
    path.chmod(0o640)
    _set(folder, "system.posix_acl_default", _acl(4712, 6))
    with atomic_write(path, replace=True) as draft:
        draft.write_text("new")
    assert os.listxattr(path) == []
    assert path.stat().st_mode & 0o777 == 0o640


@as_root
def test_owner_that_cannot_be_kept_is_refused_before_the_start() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # which others can reach
        path = Path(name, "disk.img")
        path.write_text("old")
        path.chmod(0o666)
        Path(name).chmod(0o777)
        os.seteuid(65534)
        try:
            with (
                pytest.raises(UsageError, match=r"of the same owner \(0:0\).*not permitted"),
                atomic_write(path, replace=True),
            ):
                pytest.fail("nothing is written in vain")
        finally:
            os.seteuid(0)
        assert content(Path(name)) == {"disk.img": "old"}


@as_root
def test_mounted_file_is_refused(path: Path, folder: Path) -> None:
    path.write_text("mount point")
    other = folder / "other"
    other.write_text("old")
    done = subprocess.run(["mount", "--bind", other, path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount: {done.stderr.decode()}")
    try:
        with (
            pytest.raises(UsageError, match="is a mount point"),
            atomic_write(path, replace=True),
        ):
            pytest.fail("nothing is written in vain")
        assert content(folder) == {"disk.img": "old", "other": "old"}
    finally:
        subprocess.run(["umount", path], check=True)
    assert content(folder) == {"disk.img": "mount point", "other": "old"}


@as_root
@pytest.mark.parametrize("flag", ["i", "a"])
def test_immutable_file_is_refused_before_the_start(path: Path, folder: Path, flag: str) -> None:
    path.write_text("old")
    if subprocess.run(["chattr", f"+{flag}", path], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no chattr")
    try:
        with (
            pytest.raises(UsageError, match="is immutable"),
            atomic_write(path, replace=True),
        ):
            pytest.fail("nothing is written in vain")
        assert content(folder) == {"disk.img": "old"}
    finally:
        subprocess.run(["chattr", f"-{flag}", path], check=True)


def test_file_without_a_name_is_refused() -> None:
    memory = os.memfd_create("nameless")
    try:
        with (
            pytest.raises(UsageError, match="without a name"),
            atomic_write(f"/proc/self/fd/{memory}", replace=True),
        ):
            pytest.fail("nothing is written in vain")
    finally:
        os.close(memory)


@BOTH
def test_published_files_stay_when_the_block_ends_well(
    path: Path, folder: Path, replace: bool
) -> None:
    if replace:
        path.write_text("old")
    with undo_on_failure() as published:
        with atomic_write(path, replace=replace, published=published) as draft:
            draft.write_text("new")
            draft.with_name("extra").write_text("new")
        assert path.read_text() == "new"
    assert content(folder) == {"disk.img": "new", "extra": "new"}


@BOTH
def test_published_files_are_taken_back_when_the_block_fails(
    path: Path, folder: Path, replace: bool
) -> None:
    before: dict[str, str] = {}
    if replace:
        path.write_text("old")
        path.chmod(0o640)
        before = content(folder)
    with pytest.raises(ZeroDivisionError), undo_on_failure() as published:  # noqa: PT012
        with atomic_write(path, replace=replace, published=published) as draft:
            draft.write_text("new")
            draft.with_name("extra").write_text("new")
        raise ZeroDivisionError
    assert content(folder) == before
    assert not replace or path.stat().st_mode & 0o777 == 0o640


def test_published_file_that_somebody_replaced_since_is_theirs(path: Path, folder: Path) -> None:
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), undo_on_failure() as published:  # noqa: PT012
        with atomic_write(path, replace=True, published=published) as draft:
            draft.write_text("new")
        theirs = folder / "theirs"
        theirs.write_text("somebody else's")
        theirs.replace(path)
        raise ZeroDivisionError
    assert content(folder) == {"disk.img": "somebody else's"}


def test_child_of_a_fork_leaves_the_draft_to_its_parent(path: Path, folder: Path) -> None:
    script = (
        "import os, sys\n"
        "from qemu_blocksdk.tools.atomic_write import atomic_write\n"
        "with atomic_write(sys.argv[1]) as draft:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        sys.exit(7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "    draft.write_text('new')\n"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=20)
    assert content(folder) == {"disk.img": "new"}


def _interrupted(at: int, action: Callable[[], None]) -> bool:
    """Run an action with Ctrl-C at one of its lines; tell whether it came to that line."""
    lines = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> TraceFunction:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    gc.disable()  # hypothesis watches the collector, and an interrupt in there would be lost
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return False


# What Python was about to return is closed, if with a complaint.
complaints = pytest.mark.filterwarnings(
    "ignore:.*(FileIO|ScandirIterator):pytest.PytestUnraisableExceptionWarning"
)


@complaints
@BOTH
@pytest.mark.parametrize("is_part_of_more", [False, True])
def test_ctrl_c_at_any_line_leaves_the_old_file_or_the_new_one(
    path: Path, folder: Path, tmp_path: Path, replace: bool, is_part_of_more: bool
) -> None:
    new = tmp_path / "new"
    new.write_text("new")

    def write() -> None:
        with (
            undo_on_failure() if is_part_of_more else contextlib.nullcontext() as published,
            atomic_write(path, replace=replace, published=published) as draft,
        ):
            draft.hardlink_to(new)

    old = {"disk.img": "old"} if replace else {}
    outcomes: list[dict[str, str]] = []
    while True:
        path.unlink(missing_ok=True)
        if replace:
            path.write_text("old")
        if not _interrupted(len(outcomes) + 1, write):
            break
        outcomes.append(content(folder))
    assert content(folder) == {"disk.img": "new"}
    assert old in outcomes
    assert {"disk.img": "new"} in outcomes
    assert [found for found in outcomes if found not in (old, {"disk.img": "new"})] == []
