"""Backups of several disks at one moment, and the bitmaps that make the next one small.

A bitmap is rotated by a second one that begins to record in the transaction that starts
the backup. Until the images are whole and under their names, the first is left alone, so a
backup that fails costs nothing: what changed is still marked, and at worst more than that.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple, cast

from qemu_blocksdk.codec import NULL, evolved
from qemu_blocksdk.errors import BlockSdkError, CommandError, TransactionFailed, UsageError
from qemu_blocksdk.objects import (
    AsyncBitmap,
    AsyncImage,
    AsyncJob,
    AsyncNode,
    AsyncOperation,
    AsyncQemu,
    AsyncTransaction,
)
from qemu_blocksdk.objects.job import new_job_id
from qemu_blocksdk.objects.live import subject
from qemu_blocksdk.qmp import finish
from qemu_blocksdk.tools import ImageFormat
from qemu_blocksdk.tools.atomic_write import atomic_write
from qemu_blocksdk.wire import BlockdevOptions, Qcow2

from .jobs import Tell, drive_all
from .lent import lent_node

_COARSEST = 1 << 31


class _Disk(NamedTuple):
    node: AsyncNode
    target: AsyncImage
    base: AsyncImage | None


class AsyncBackup:
    """Backups of disks of one QEMU, all of one moment, into new images.

    Each disk has two bitmaps: ``NAME`` marks what changed since its last full or incremental
    backup, ``NAME-full`` since its last full one. They are changed for all disks or for none,
    and only when the images are complete; an image appears under its name when it is whole.
    """

    def __init__(self, qemu: AsyncQemu, *, bitmap: str = "backup", persistent: bool = True) -> None:
        """Describe a backup of no disk yet.

        ``persistent`` stores the bitmaps in the disks' images, which then have to be qcow2.
        """
        self._qemu = qemu
        self._name = bitmap
        self._persistent = persistent
        self._disks: list[_Disk] = []

    def add_disk(
        self, node: AsyncNode, target: AsyncImage, *, base: AsyncImage | None = None
    ) -> None:
        """Add a disk, the image to make, and the backup that a smaller one builds on.

        The ``base`` of an incremental backup is the last full or incremental one, that of a
        differential one the last full one.
        """
        self._disks.append(_Disk(node, target, base))

    def full(self) -> AsyncOperation[None]:
        """Start to back up all content; from now on the bitmaps mark what changes.

        What this and the others raise when they are waited for: JobFailed, UsageError for an
        image that is there already or is not of that format and while another backup by these
        bitmaps is under way, CommandError, ConnectionLost.
        """
        return AsyncOperation(f"the full {subject(self)}", self._full)

    def incremental(self) -> AsyncOperation[None]:
        """Start to back up what changed since the last full or incremental backup.

        The targets have to be qcow2. Raises GraphError, when it is waited for, where there is
        no bitmap of it, UsageError where the bitmap is of no use.
        """
        return AsyncOperation(f"the incremental {subject(self)}", self._incremental)

    def differential(self) -> AsyncOperation[None]:
        """Start to back up what changed since the last full backup; see :meth:`incremental`."""
        return AsyncOperation(f"the differential {subject(self)}", self._differential)

    def __repr__(self) -> str:
        return f"<backup of {', '.join(disk.node.name for disk in self._disks) or 'nothing'}>"

    # -- the three --------------------------------------------------------------------------

    async def _full(self, tell: Tell) -> None:
        names = [self._name, f"{self._name}-full"]
        async with self._claimed(), self._rotation(names) as transaction:
            await self._copy(transaction, tell, bitmap=None)

    async def _incremental(self, tell: Tell) -> None:
        async with self._claimed():
            await self._assert_usable(self._name)
            async with self._rotation([self._name]) as transaction:
                await self._copy(transaction, tell, bitmap=self._name)

    async def _differential(self, tell: Tell) -> None:
        async with self._claimed():
            await self._assert_usable(f"{self._name}-full")
            await self._copy(self._qemu.transaction(), tell, bitmap=f"{self._name}-full")

    async def _assert_usable(self, name: str) -> None:
        for disk in self._disks:
            if disk.base is None:
                raise UsageError(f"{subject(self)}: {subject(disk.node)} has no base to build on")
            if disk.target.format != "qcow2":
                raise UsageError(f"{subject(disk.target)} cannot build on another image: use qcow2")
            obstacle = await disk.node.bitmap(name).query_obstacle()
            if obstacle is not None:
                raise UsageError(f"{subject(disk.node.bitmap(name))} is of no use: {obstacle}")

    # -- images -----------------------------------------------------------------------------

    async def _copy(self, transaction: AsyncTransaction, tell: Tell, *, bitmap: str | None) -> None:
        """Start the backups in the transaction, and make images of them."""
        published: list[Path] = []
        try:
            async with AsyncExitStack() as stack:
                for disk in self._disks:
                    draft = stack.enter_context(_published(disk.target.path, published))
                    base = None if bitmap is None else disk.base
                    options = await _draft(disk, draft, base)
                    target = await stack.enter_async_context(lent_node(self._qemu, options))
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
        except BaseException:
            for path in published:
                path.unlink()
            raise

    # -- bitmaps ----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _claimed(self) -> AsyncGenerator[None]:
        """Keep other backups, of whatever client, from rotating the bitmaps meanwhile.

        One that ends between this one's look at a bitmap and its start would leave it too few
        marks. The claim is a bitmap that nobody writes to.
        """
        name = f"{self._name}-busy"
        claims = [disk.node.bitmap(name) for disk in {d.node.name: d for d in self._disks}.values()]
        transaction = self._qemu.transaction()
        for claim in claims:
            transaction.add_bitmap(claim, granularity=_COARSEST, disabled=True)

        async def give_back() -> None:
            await finish(_remove(claims))

        async with contextlib.AsyncExitStack() as held:

            async def take() -> None:
                await transaction.commit()
                held.push_async_callback(give_back)

            try:
                await finish(take())
            except TransactionFailed as error:
                there = await self._qemu.query_bitmaps()
                if any(info.name == name for c in claims for info in there.get(c.node.name, ())):
                    raise UsageError(
                        f"{subject(self)}: another one is under way; if there is none, its"
                        f" bitmap {name!r} was left behind and has to be removed"
                    ) from error
                raise
            yield

    @contextlib.asynccontextmanager
    async def _rotation(self, names: Sequence[str]) -> AsyncGenerator[AsyncTransaction]:
        """Begin new bitmaps in the transaction that is yielded; afterwards they take over."""
        transaction = self._qemu.transaction()
        fresh = [disk.node.bitmap(new_job_id(self._name)) for disk in self._disks]
        for bitmap in fresh:
            transaction.add_bitmap(bitmap)
        try:
            yield transaction
            await finish(self._take_over(names, fresh))
        except BaseException:
            await finish(_remove(fresh))
            raise

    async def _take_over(self, names: Sequence[str], fresh: Sequence[AsyncBitmap]) -> None:
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
                else:
                    transaction.add_bitmap(bitmap, persistent=self._persistent)
                transaction.merge_bitmaps(bitmap, [new])
            transaction.remove_bitmap(new)
        await transaction.commit()


async def _remove(bitmaps: Sequence[AsyncBitmap]) -> None:
    with contextlib.suppress(BlockSdkError):
        for bitmap in bitmaps:
            with contextlib.suppress(CommandError):  # not there yet, or no longer
                await bitmap.remove()


@contextlib.contextmanager
def _published(target: Path, published: list[Path]) -> Generator[Path]:
    """Give the name to write under; it is the target's, and noted, when the block ends well."""
    with atomic_write(target) as draft:
        yield draft
    published.append(target)


async def _draft(disk: _Disk, path: Path, base: AsyncImage | None) -> BlockdevOptions:
    """Create an empty image for a disk; return how QEMU opens it."""
    image = AsyncImage(path, format=cast("ImageFormat", disk.target.format))
    await image.create((await disk.node.query_info()).image.virtual_size, backing=base)
    options = image.options(new_job_id("target"))
    # Whole clusters are copied, so nobody needs the base.
    return evolved(options, backing=NULL) if isinstance(options, Qcow2) else options
