"""Backups of several disks at one moment, and the bitmaps that make the next one small.

A bitmap is rotated by a second one that begins to record in the transaction that starts
the backup. Until the images are whole and under their names, the first is left alone, so a
backup that fails costs nothing: what changed is still marked, and at worst more than that.
What can be known before the start is refused before the start.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ToolError,
    TransactionFailed,
    UsageError,
)
from qemu_blocksdk.objects import (
    AsyncBitmap,
    AsyncBlockLayer,
    AsyncImage,
    AsyncJob,
    AsyncNode,
    AsyncOperation,
    AsyncTransaction,
)
from qemu_blocksdk.objects._base import subject
from qemu_blocksdk.objects.leftovers import claim_name
from qemu_blocksdk.objects.names import temporary_name
from qemu_blocksdk.qmp import AsyncQmp, shielded
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import CreationOptions
from qemu_blocksdk.tools.atomic_write import Published, atomic_write
from qemu_blocksdk.tools.progress import ToolProgress

from .jobs import Tell, drive_all
from .temporary import temporary_image

_COARSEST = 1 << 31


class _Disk(NamedTuple):
    node: AsyncNode
    target: AsyncImage
    base: AsyncImage | None
    options: CreationOptions | None


class _Marked(NamedTuple):
    """A bitmap, by its name and the file that is written to."""

    file: str
    bitmap: str


_latest: weakref.WeakKeyDictionary[AsyncQmp, dict[_Marked, AsyncImage]] = (
    weakref.WeakKeyDictionary()
)
"""The last backup by each bitmap, as far as it was made by this connection."""


@sealed_class
class AsyncBackup:
    """Backups of disks of one QEMU, all of one moment, into new images.

    Each disk has two bitmaps: ``NAME`` marks what changed since its last full or incremental
    backup, ``NAME-full`` since its last full one. They are changed for all disks or for none,
    and only when the images are complete; an image appears under its name when it is whole.
    An image with a secret is encrypted. What a client left that was killed is removed first
    (:meth:`AsyncBlockLayer.clear_leftovers`).
    """

    def __init__(
        self, qemu: AsyncBlockLayer, *, bitmap: str = "backup", persistent: bool = True
    ) -> None:
        """Describe a backup of no disk yet.

        ``persistent`` stores the bitmaps in the disks' images, which then have to be qcow2.
        """
        self._qemu = qemu
        self._name = bitmap
        self._persistent = persistent
        self._disks: list[_Disk] = []

    def add_disk(
        self,
        node: AsyncNode,
        target: AsyncImage,
        *,
        base: AsyncImage | None = None,
        options: CreationOptions | None = None,
    ) -> None:
        """Add a disk, the image to make, and the backup that a smaller one builds on.

        The ``base`` of an incremental backup is the last full or incremental one, that of a
        differential one the last full one. It has to be of the disk's size: after a resize
        make a full backup. The ``target`` is a new file: one that is there is never replaced, nor
        is a device written. ``options`` are those of the new image, of the target's format.
        """
        self._disks.append(_Disk(node, target, base, options))

    async def full(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Back up all content; from now on the bitmaps mark what changes.

        Raises UsageError where there is no disk, where a disk or a target was added twice, and
        for a target that cannot be made as it is described: all before the start. Raises
        UsageError for an image that is there already, for a disk that cannot store bitmaps
        (``persistent=False`` does without) and while another backup by these bitmaps is under
        way; JobFailed, CommandError, ConnectionLost.
        """
        operation = self.start_full()
        return await operation.run(on_progress=on_progress, timeout=timeout)

    def start_full(self) -> AsyncOperation[None]:
        """Start :meth:`full`; return it in flight."""
        self._assert_sound()
        return AsyncOperation(f"the full {subject(self)}", self._full)

    async def incremental(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Back up what changed since the last full or incremental backup.

        The targets have to be qcow2. Raises as :meth:`full`, and GraphError
        where there is no bitmap of it; UsageError where the bitmap is of no use, and for a base
        that is not of the disk's size, has lost a part of its chain, or is known not to be the
        last backup.
        """
        operation = self.start_incremental()
        return await operation.run(on_progress=on_progress, timeout=timeout)

    def start_incremental(self) -> AsyncOperation[None]:
        """Start :meth:`incremental`; return it in flight."""
        self._assert_sound(builds=True)
        return AsyncOperation(f"the incremental {subject(self)}", self._incremental)

    async def differential(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Back up what changed since the last full backup; see :meth:`incremental`."""
        operation = self.start_differential()
        return await operation.run(on_progress=on_progress, timeout=timeout)

    def start_differential(self) -> AsyncOperation[None]:
        """Start :meth:`differential`; return it in flight."""
        self._assert_sound(builds=True)
        return AsyncOperation(f"the differential {subject(self)}", self._differential)

    def __repr__(self) -> str:
        return f"<backup of {', '.join(disk.node.name for disk in self._disks) or 'nothing'}>"

    # -- the three --------------------------------------------------------------------------

    async def _full(self, tell: Tell) -> None:
        names = [self._name, f"{self._name}-full"]
        async with self._claimed():
            await self._assert_can_begin(names)
            await self._back_up(tell, bitmap=None, rotated=names)

    async def _incremental(self, tell: Tell) -> None:
        async with self._claimed():
            await self._assert_usable(self._name)
            await self._back_up(tell, bitmap=self._name, rotated=[self._name])

    async def _differential(self, tell: Tell) -> None:
        async with self._claimed():
            await self._assert_usable(f"{self._name}-full")
            await self._back_up(tell, bitmap=f"{self._name}-full", rotated=[])

    # -- what is refused before the start ---------------------------------------------------

    def _assert_sound(self, *, builds: bool = False) -> None:
        """Raise UsageError for what needs no look at QEMU."""
        if not self._disks:
            raise UsageError(f"{subject(self)}: add_disk() says what to back up")
        nodes, targets = set[str](), set[str]()
        for disk in self._disks:
            target = os.path.realpath(disk.target.path)
            if disk.node._connection() is not self._qemu.qmp:
                raise UsageError(f"{subject(disk.node)} is of another QEMU than {self._qemu!r}")
            if disk.node.name in nodes:
                raise UsageError(f"{subject(disk.node)} was added twice")
            if target in targets:
                raise UsageError(f"{subject(disk.target)} was added for two disks")
            nodes.add(disk.node.name)
            targets.add(target)
            disk.target._creation_words(disk.options)
            if builds and disk.base is None:
                raise UsageError(f"{subject(self)}: {subject(disk.node)} has no base to build on")
            if builds and disk.target.format != "qcow2":
                raise UsageError(f"{subject(disk.target)} cannot build on another image: use qcow2")

    async def _assert_can_begin(self, names: Sequence[str]) -> None:
        """Raise UsageError where new bitmaps could not take over in the end."""
        known = await self._qemu.query_bitmaps()
        # QEMU tries the actions before the last, which takes them back.
        trial = self._qemu.transaction()
        for disk in self._disks:
            infos = {info.name: info for info in known.get(disk.node.name, ())}
            for name in names:
                if name not in infos or infos[name].inconsistent:
                    new = temporary_name(self._qemu.qmp) if name in infos else name
                    trial.add_bitmap(disk.node.bitmap(new), persistent=self._persistent)
                elif infos[name].busy:
                    raise UsageError(
                        f"{subject(disk.node.bitmap(name))} is in use by a job, an export or a"
                        " migration, and could not begin anew"
                    )
        trial.abort()
        try:
            await trial.commit()
        except TransactionFailed as refusal:
            if "Abort action" not in refusal.desc:
                hint = "; give persistent=False" if self._persistent else ""
                raise UsageError(f"{subject(self)}: {refusal.desc}{hint}") from refusal

    async def _assert_usable(self, name: str) -> None:
        for disk in self._disks:
            bitmap = disk.node.bitmap(name)
            obstacle = await bitmap.query_obstacle()
            if obstacle is None and not (await bitmap.query_info()).recording:
                obstacle = "it is disabled, so what was written since is not in it"
            if obstacle is not None:
                raise UsageError(f"{subject(bitmap)} is of no use: {obstacle}")
            if disk.base is not None:
                await self._assert_base(disk, disk.base, bitmap)

    async def _assert_base(self, disk: _Disk, base: AsyncImage, bitmap: AsyncBitmap) -> None:
        """Raise UsageError for a base on which the marked parts would not make the disk.

        That its content is of the moment since which the bitmap marks can be seen only where
        this connection made the last backup.
        """
        layers = await base.backing_chain(force_share=True)
        info = await disk.node.query_info()
        size, wanted = layers[0].virtual_size, info.image.virtual_size
        if size != wanted:
            raise UsageError(
                f"{subject(base)} has {size} bytes and {subject(disk.node)} has {wanted}: it was"
                " resized, or that is not its backup; make a full one"
            )
        if _is_same_file(base._path, info.file):
            raise UsageError(f"{subject(base)} is the disk itself, not a backup of it")
        last = _latest.get(self._qemu.qmp, {}).get(_Marked(info.file, bitmap.name))
        if last is None or _is_same_file(base._path, last._path) or not last.path.exists():
            return
        with contextlib.suppress(ToolError):  # it cannot be read any more
            comparison = await base.start_compare(last, force_share=True)
            if not (await comparison.run()).is_equal:
                raise UsageError(
                    f"{subject(bitmap)} marks what changed since {subject(last)}, so"
                    f" {subject(base)} is the wrong base"
                )

    # -- images -----------------------------------------------------------------------------

    async def _back_up(self, tell: Tell, *, bitmap: str | None, rotated: Sequence[str]) -> None:
        """Make the images and rotate the bitmaps, or undo all."""
        for disk in self._disks:
            _assert_new(disk.target)
        images = _Images()
        try:
            async with self._rotation(rotated, images) as transaction:
                await self._copy(transaction, tell, bitmap=bitmap, images=images)
        except BaseException:
            images.undo()
            raise
        images.published.keep()

    async def _copy(
        self, transaction: AsyncTransaction, tell: Tell, *, bitmap: str | None, images: _Images
    ) -> None:
        """Start the backups in the transaction, and make images of them."""
        async with AsyncExitStack() as stack:
            for disk in self._disks:
                file = atomic_write(disk.target.path, published=images.published)
                draft = disk.target._at(stack.enter_context(file))
                size = (await disk.node.query_info()).image.virtual_size
                base = None if bitmap is None else disk.base
                await draft._create(
                    size,
                    disk.options,
                    backing=base,
                    replace=False,
                    published=images.published,
                )
                # Whole clusters are copied, so nobody needs the base.
                target = await stack.enter_async_context(
                    temporary_image(self._qemu, draft, backing=False)
                )
                if bitmap is None:
                    transaction.backup(disk.node, target)
                else:
                    transaction.backup(
                        disk.node,
                        target,
                        sync="bitmap",
                        bitmap=disk.node.bitmap(bitmap),
                        bitmap_mode="never",
                    )
            await drive_all(await transaction.commit(), AsyncJob.run, tell)

    # -- bitmaps ----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _claimed(self) -> AsyncGenerator[None]:
        """Keep other backups, of whatever client, from rotating the bitmaps meanwhile.

        One that ends between this one's look at a bitmap and its start would leave it too few
        marks. The claim is a bitmap that nobody writes to, beside one whose name says whose
        the claim is.
        """
        with contextlib.suppress(BlockSdkError):  # what is in the way shows below
            await self._qemu.clear_leftovers()
        name = f"{self._name}-busy"
        owner = claim_name(name, temporary_name(self._qemu.qmp))
        # In this order they go.
        claims = [disk.node.bitmap(each) for disk in self._disks for each in (name, owner)]
        transaction = self._qemu.transaction()
        for claim in claims:
            transaction.add_bitmap(claim, granularity=_COARSEST, disabled=True)

        async def give_back() -> None:
            await shielded(_remove(claims))

        async with contextlib.AsyncExitStack() as held:
            held.enter_context(self._qemu.qmp._owner.at_work())

            async def take() -> None:
                await transaction.commit()
                held.push_async_callback(give_back)

            try:
                await shielded(take())
            except TransactionFailed as error:
                there = await self._qemu.query_bitmaps()
                if any(info.name == name for c in claims for info in there.get(c.node.name, ())):
                    raise UsageError(
                        f"{subject(self)}: another one is under way, of a client that is alive or"
                        " cannot be checked; if it is dead, clear_leftovers(force=True) removes"
                        f" the bitmap {name!r} and what else it left"
                    ) from error
                raise
            yield

    @contextlib.asynccontextmanager
    async def _rotation(
        self, names: Sequence[str], images: _Images
    ) -> AsyncGenerator[AsyncTransaction]:
        """Begin new bitmaps in the transaction that is yielded; afterwards they take over.

        There are none where nothing is to be rotated.
        """
        transaction = self._qemu.transaction()
        fresh = [disk.node.bitmap(temporary_name(self._qemu.qmp)) for disk in self._disks if names]
        for bitmap in fresh:
            transaction.add_bitmap(bitmap)
        try:
            yield transaction
            if names:
                await shielded(self._take_over(names, fresh, images))
        except BaseException:
            await shielded(_remove(fresh))
            raise

    async def _take_over(
        self, names: Sequence[str], fresh: Sequence[AsyncBitmap], images: _Images
    ) -> None:
        known = await self._qemu.query_bitmaps()
        transaction = self._qemu.transaction()
        for disk, new in zip(self._disks, fresh, strict=True):
            infos = {info.name: info for info in known.get(disk.node.name, ())}
            for name in names:
                bitmap = disk.node.bitmap(name)
                if name in infos and infos[name].inconsistent:
                    await bitmap.remove()
                    del infos[name]
                if name in infos:
                    transaction.clear_bitmap(bitmap)
                    if not infos[name].recording:
                        transaction.enable_bitmap(bitmap)
                else:
                    transaction.add_bitmap(bitmap, persistent=self._persistent)
                transaction.merge_bitmaps(bitmap, [new])
            transaction.remove_bitmap(new)
        files = {disk.node.name: (await disk.node.query_info()).file for disk in self._disks}
        # From here on the next increment may need the images, even if no reply comes.
        images.are_needed = True
        images.published.settle()
        try:
            await transaction.commit()
        except TransactionFailed:
            images.are_needed = False
            raise
        latest = _latest.setdefault(self._qemu.qmp, {})
        for disk in self._disks:
            for name in names:
                latest[_Marked(files[disk.node.name], name)] = disk.target


class _Images:
    """The images that a backup gives their names, and whether the next one may need them."""

    def __init__(self) -> None:
        self.published = Published()
        self.are_needed = False

    def undo(self) -> None:
        """Remove the images, unless they are needed."""
        if self.are_needed:
            self.published.keep()
        else:
            self.published.undo()


def _assert_new(target: AsyncImage) -> None:
    if target.path.is_block_device():
        raise UsageError(
            f"{subject(target)} is a block device, and a backup is a new file; node.backup() writes"
            " to a device that is open as a node"
        )
    if target.path.exists():
        raise UsageError(f"{subject(target)} exists already, and a backup replaces nothing")


async def _remove(bitmaps: Sequence[AsyncBitmap]) -> None:
    with contextlib.suppress(BlockSdkError):
        for bitmap in bitmaps:
            with contextlib.suppress(CommandError):  # not there yet, or no longer
                await bitmap.remove()


def _is_same_file(one: str, other: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(one and other) and Path(one).samefile(other)
    return False
