"""New files that appear under their final names when they are complete, and not before.

A file is written as a draft, in a private directory in the folder that it is meant for, and
renamed. What was there before is replaced only on request, and the new file then has its owner,
mode, ACL and extended attributes. Nothing but a regular file is ever replaced: a block device is
written in place (:func:`assert_device_can_be_written`), the rest is refused. Who writes the
content, and what it is, is not the business of this module.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Generator

from qemu_blocksdk.codec.filename import has_protocol, qemu_name
from qemu_blocksdk.errors import UsageError

from .mounts import is_mount_point
from .private_directory import NEW, OLD, PrivateDirectory, clear_dead, is_locked
from .run import Path, as_path


class Published:
    """The files that :func:`atomic_write` gave their names; see :func:`undo_on_failure`."""

    def __init__(self) -> None:
        self._drafts: list[_Drafts] = []

    def settle(self) -> None:
        """From now on, keep the files when this process is killed; they can still be undone."""
        for drafts in self._drafts:
            drafts.keep()

    def keep(self) -> None:
        """Keep the files whatever happens from now on, and drop what they replaced."""
        self.settle()
        while self._drafts:
            self._drafts[-1].remove()
            self._drafts.pop()

    def undo(self) -> None:
        """Take the files back, and give back what they replaced."""
        while self._drafts:
            self._drafts[-1].take_back()
            self._drafts[-1].remove()
            self._drafts.pop()

    def _add(self, drafts: _Drafts) -> None:
        self._drafts.append(drafts)


class _Drafts(PrivateDirectory):
    """The drafts of one file, and of its parts, which get their places in the folder."""

    def __init__(self, target: pathlib.Path) -> None:
        super().__init__(target.parent)
        self._renamed: list[tuple[pathlib.Path, os.stat_result]] = []

    def give(self, draft: pathlib.Path, *, replace: bool) -> None:
        """Give a draft its place. Raises OSError."""
        place = self.path.parent / draft.name
        if replace and place.exists():
            _take_attributes(draft, place)
            draft.replace(place)
        else:
            self._renamed.append((place, draft.lstat()))
            _move(draft, place)

    def give_for_a_while(self, draft: pathlib.Path, *, replace: bool) -> None:
        """Do so and keep second names, by which that can be undone. Raises OSError."""
        place, new = self.path.parent / draft.name, self.path / NEW / draft.name
        for kind in (NEW, OLD):
            (self.path / kind).mkdir(exist_ok=True)
        if replace and place.exists():
            _take_attributes(draft, place)
            new.hardlink_to(draft)
            (self.path / OLD / draft.name).hardlink_to(place)
            draft.replace(place)
            return
        self._renamed.append((place, draft.lstat()))
        try:
            new.hardlink_to(draft)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        _move(draft, place)

    def take_back(self) -> None:
        super().take_back()
        while self._guard.is_here and self._renamed:
            place, status = self._renamed[-1]
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(place.lstat(), status):
                    place.unlink()
            self._renamed.pop()


@contextlib.contextmanager
def undo_on_failure() -> Generator[Published]:
    """Let a block that fails take back the files that got their final names in it.

    For what has to be there before it is known whether all goes well::

        with undo_on_failure() as published:
            with atomic_write(path, replace=True, published=published) as draft:
                ...
            ...  # when this raises, what was at `path` before is there again

    A file that somebody else has put at such a name since then is left alone.
    """
    published = Published()
    end = published.undo
    try:
        try:
            yield published
            end = published.keep
        finally:
            end()
    except BaseException:
        # Once more, because Ctrl-C may have cut the first time short.
        end()
        raise


@contextlib.contextmanager
def atomic_write(
    path: Path, *, replace: bool = False, published: Published | None = None
) -> Generator[pathlib.Path]:
    """Write a file under a draft's name; the end of the block gives it the final one.

    Yields the draft, a path of the same base name in a private directory. All that the block
    leaves in there moves into the folder of ``path``, the draft itself last. When the block
    raises, or is interrupted, all of it is removed and ``path`` stays as it was. With
    ``published``, that can be undone after the block as well. What a process has left in the
    folder that was killed in such a block, or before it kept what is published, is undone first.

    ``replace`` allows files that are there to be replaced. Owner, mode, ACL and extended
    attributes of such a file are kept. A symbolic link stays one: the file that it points to
    is replaced.

    Raises UsageError, before the block runs, for a folder that is missing or not writable and
    for a ``path`` that exists where ``replace`` is False, that is no regular file, is a mount
    point or immutable, whose owner or attributes cannot be kept, or that a QEMU holds a lock
    on: it would go on with the old file, which then has no name any more.
    """
    target = _resolved(path)
    clear_dead(target.parent)
    _assert_free(target, replace=replace)
    drafts = _Drafts(target)
    draft = drafts.path / target.name
    is_published = False
    try:
        try:
            _make(drafts)
            draft = drafts.path / target.name
            if target.exists():
                _assert_replaceable(target, draft, restore=published is not None)
            yield draft
            _publish(drafts, draft, replace=replace, published=published)
            is_published = published is not None
        finally:
            if not is_published:
                drafts.remove()
    except BaseException:
        # Once more, because Ctrl-C may have cut the first time short.
        if not is_published:
            drafts.remove()
        raise


def assert_device_can_be_written(path: Path, *, replace: bool) -> None:
    """Raise UsageError unless a new image may be written onto a block device, in place.

    That loses what the device holds, so it takes ``replace``. A device that is mounted, belongs
    to a volume group or an array, is read-only or locked by a QEMU is refused.
    """
    name = os.fsdecode(path)
    if not replace:
        raise UsageError(f"{name!r} is a block device: replace=True overwrites what it holds")
    try:
        # Linux: O_EXCL without O_CREAT fails for a block device that the system uses.
        device = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise UsageError(
                f"{name!r} is in use: it is mounted, or part of a volume group or an array"
            ) from error
        raise UsageError(f"cannot write {name!r}: {error.strerror}") from error
    try:
        if is_locked(device):
            raise UsageError(f"{name!r} is in use by a running QEMU")
    finally:
        os.close(device)


def assert_absent(name: str | os.PathLike[str], *, replace: bool) -> None:
    """Raise UsageError for a file that QEMU would truncate, unless ``replace`` allows that.

    A str is a name in QEMU's syntax; what it has at a server is for QEMU to say.
    """
    path = qemu_name(name).removeprefix("file:")
    if not replace and not has_protocol(path) and os.path.lexists(path):
        raise UsageError(f"{path!r} exists already: replace=True overwrites it")


def _resolved(path: Path) -> pathlib.Path:
    name = os.fspath(path)
    try:
        target = as_path(path).resolve()
        there = _identity(as_path(path))
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL character
        raise UsageError(f"{name!r} cannot be a file: {error}") from error
    if there != _identity(target):  # a link of /proc/self/fd to a file that has no name
        raise UsageError(f"{name!r} stands for a file without a name, which cannot be replaced")
    return target


def _identity(path: pathlib.Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _assert_free(place: pathlib.Path, *, replace: bool) -> None:
    """Raise UsageError unless a new file may stand there."""
    name = str(place)
    try:
        if place.is_symlink():  # beside a target, which is resolved
            raise UsageError(f"{name!r} is a symbolic link: it is not replaced")
        if not stat.S_ISREG(place.stat().st_mode):
            raise UsageError(f"{name!r} exists and is no regular file")
        if not replace:
            raise UsageError(f"{name!r} exists already: replace=True replaces it")
        if is_mount_point(place):
            raise UsageError(f"{name!r} is a mount point: it cannot be replaced")
        with place.open("rb") as file:
            if is_locked(file.fileno()):
                raise UsageError(f"{name!r} is in use by a running QEMU")
        if _is_immutable(place):
            raise UsageError(f"{name!r} is immutable or append-only: see chattr(1)")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"cannot write {name!r}: {error.strerror}") from error


_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP)
"""What a file system without hard links says (vfat): the look before has to do there."""


def _is_immutable(place: pathlib.Path) -> bool:
    """Whether ``chattr`` protects a file from being replaced, by whomever."""
    try:
        os.close(os.open(place, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.EPERM  # a mode that does not allow it is EACCES
    return False


def _make(drafts: PrivateDirectory) -> None:
    try:
        drafts.make()
    except OSError as error:
        folder = str(drafts.path.parent)
        raise UsageError(f"cannot write in {folder!r}: {error.strerror}") from error


def _assert_replaceable(place: pathlib.Path, sample: pathlib.Path, *, restore: bool) -> None:
    """Try with an empty file what will be done with the complete one."""
    try:
        sample.touch(0o600)
        _take_attributes(sample, place)
        sample.unlink()
        if restore:
            sample.hardlink_to(place)
    except OSError as error:
        owner = place.stat()
        raise UsageError(
            f"{str(place)!r} cannot be replaced by a file of the same owner"
            f" ({owner.st_uid}:{owner.st_gid}), mode and attributes: {error.strerror};"
            " do that as its owner or as root, or remove it first"
        ) from error
    finally:
        sample.unlink(missing_ok=True)


_ACL = "system.posix_acl_access"
_OF_THE_CONTENT = ("security.capability", "security.evm", "security.ima")
"""Attributes that vouch for a content, and are of no use with another one."""


def _take_attributes(file: pathlib.Path, of: pathlib.Path) -> None:
    """Give a new file the owner, mode and attributes of the one that it replaces."""
    status, own = of.stat(), file.stat()
    if (status.st_uid, status.st_gid) != (own.st_uid, own.st_gid):
        os.chown(file, status.st_uid, status.st_gid)
    wanted, there = _attributes(of), _attributes(file)
    if _ACL in there and _ACL not in wanted:  # a default of the folder
        os.removexattr(file, _ACL)
    for name, value in wanted.items():
        if there.get(name) != value:
            os.setxattr(file, name, value)
    file.chmod(stat.S_IMODE(status.st_mode))


def _attributes(file: pathlib.Path) -> dict[str, bytes]:
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    return {name: os.getxattr(file, name) for name in names if name not in _OF_THE_CONTENT}


def _publish(
    drafts: _Drafts, draft: pathlib.Path, *, replace: bool, published: Published | None
) -> None:
    files = [*(file for file in drafts.files() if file != draft), draft]
    for file in files:
        _assert_free(drafts.path.with_name(file.name), replace=replace)
    give = drafts.give
    if published is not None:
        give = drafts.give_for_a_while
        published._add(drafts)
    try:
        for file in files:
            give(file, replace=replace)
    except BaseException as error:
        if published is None:
            drafts.take_back()
        if isinstance(error, FileExistsError):
            raise UsageError(f"{error.filename2!r} exists already") from error
        raise


def _move(file: pathlib.Path, place: pathlib.Path) -> None:
    """Rename a file, unless there is one of that name."""
    try:
        place.hardlink_to(file)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        file.rename(place)
