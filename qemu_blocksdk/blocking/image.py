# Generated from objects/image.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.image.AsyncImage`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from qemu_blocksdk.objects.image import AsyncImage
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.tools.creation import Format_co, ImageFormat, ReadOnlyFormat

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Literal, Self

    from qemu_blocksdk.codec import Secret
    from qemu_blocksdk.tools import Programs
    from qemu_blocksdk.tools.amendment import Amendment
    from qemu_blocksdk.tools.creation import Creation, CreationOptions
    from qemu_blocksdk.tools.nbd import NbdUri
    from qemu_blocksdk.tools.probe import ImageProbe
    from qemu_blocksdk.tools.progress import ToolProgress
    from qemu_blocksdk.tools.results import (
        BenchResult,
        BlockGraphInfo,
        BlockMeasureInfo,
        Comparison,
        ImageCheck,
        MapEntry,
    )
    from qemu_blocksdk.tools.tls import TlsCredentials
    from qemu_blocksdk.tools.words import AioMode, CacheMode, Preallocation
    from qemu_blocksdk.wire import BlockdevOptions, SnapshotInfo

    from .operation import Operation

FormatT = TypeVar("FormatT", bound=ImageFormat | ReadOnlyFormat)


class Image(SyncProxy, Generic[Format_co]):
    """An image file, or what else opens as one: options, an NBD export.

    The format is always given, never guessed, and names are literal: no protocol and no option is
    read into a path.

    All verbs raise ToolError with the tool's message (no such file, no permission, locked by a
    running QEMU, another format), LaunchError without the tool, DeadlineExceeded after ``timeout``
    seconds, and UsageError for a backing chain that loops. Verbs that write raise UsageError where
    a layer of a backing chain does not name the format of the next. As many tools run at once as
    there are processors.

    New images are made beside their final names and then renamed: what fails or is cancelled
    leaves what was there. A change in place that fails or is cancelled may be half done:
    :meth:`check` shows it for formats with metadata.

    An ``untrusted`` image comes from a stranger. It is read as the format that was given, and
    what reads it can open no other file, connect to nothing, and has limits on memory, threads,
    output and processor time; the kernel enforces that (Landlock, seccomp, rlimits). An image with
    its data in other files, or behind a URI, is refused (UsageError). Where the kernel cannot
    enforce it, SandboxUnavailable is raised and nothing is read. The processor time is two minutes,
    and ten for each GiB that the file takes on the disk; give a ``timeout`` for less.
    """

    @property
    def _async(self) -> AsyncImage[Format_co]:
        return cast("AsyncImage[Format_co]", self._reach())

    def __init__(
        self: Image[FormatT],
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        format: FormatT,
        secret: Secret | None = None,
        programs: Programs | None = None,
    ) -> None:
        """Name an image; whether it is there shows when it is used.

        ``secret`` opens an encrypted one.
        """
        self._hold(background_loop.call(
            lambda: AsyncImage(path, format=format, secret=secret, programs=programs)
        ))

    @classmethod
    def from_options(
        cls,
        options: BlockdevOptions,
        *,
        secrets: Mapping[str, Secret] | None = None,
        programs: Programs | None = None,
    ) -> Self:
        """Name an image by the options that open it, all children inside.

        ``secrets`` has those that the options refer to (``key_secret``), by their ids.
        Raises UsageError for options that hold a secret themselves.
        """
        return cls._of(background_loop.call(
            lambda: AsyncImage.from_options(options, secrets=secrets, programs=programs)
        ))

    @classmethod
    def at_uri(
        cls,
        uri: NbdUri | str,
        *,
        format: ImageFormat = "raw",
        tls: TlsCredentials | None = None,
        programs: Programs | None = None,
    ) -> Self:
        """Name what an NBD server offers.

        Raises UsageError for what is no NBD URI and for one with TLS without credentials.
        """
        return cls._of(background_loop.call(
            lambda: AsyncImage.at_uri(uri, format=format, tls=tls, programs=programs)
        ))

    @property
    def path(self) -> Path:
        """Where the image is, absolute. Raises UsageError for one that was named by options."""
        return self._async.path

    @property
    def format(self) -> str:
        """The image's format."""
        return self._async.format

    def options(self, node_name: str, *, key_secret: str | None = None) -> BlockdevOptions:
        """Return the options that open the image as the node ``node_name`` in a running QEMU.

        ``key_secret`` is the id of the secret in that QEMU that opens an encrypted image
        (:meth:`BlockLayer.add_secret`). Raises UsageError for an image named by options.
        """
        return background_loop.call(lambda: self._async.options(node_name, key_secret=key_secret))

    def chain_options(
        self,
        node_name: str,
        *,
        key_secrets: Mapping[str, str] | None = None,
        force_share: bool = False,
        timeout: float = 60.0,
    ) -> BlockdevOptions:
        """Return the options of the whole backing chain, read from the image headers.

        Each layer is a node: ``disk``, ``disk-1``, ...; all below the top are read-only.
        ``key_secrets`` maps the node name of an encrypted layer to the id of its secret.
        ``force_share`` reads images that a running QEMU has locked.

        Raises UsageError, with the name of the layer, if the chain loops, a header does not name
        the format of its backing file, a layer uses a protocol that this package does not know,
        or an encrypted layer has no secret. Raises ToolError for a missing file.
        """
        work = self._async.chain_options(
            node_name,
            key_secrets=key_secrets,
            force_share=force_share,
            timeout=timeout,
        )
        return background_loop.run(work)

    @classmethod
    def probe(cls, path: str | os.PathLike[str]) -> ImageProbe:
        """Tell the format of a file by its header, and what makes it dangerous.

        No QEMU is started and no other file looked at. Raises UsageError for what is no
        regular file or block device, cannot be read, is empty or contradicts itself.
        """
        return background_loop.run(AsyncImage.probe(path))

    def info(
        self,
        *,
        untrusted: bool = False,
        force_share: bool = False,
        timeout: float = 60.0,
    ) -> BlockGraphInfo:
        """Return the information in the header (``qemu-img info``); no backing file is opened.

        For an ``untrusted`` image, the result names a backing file and leaves out an external data
        file, and ten seconds of processor time are the limit. Where the kernel cannot keep QEMU
        from opening other files, this verb still runs, with options that make QEMU open none: it
        needs the header only. ``force_share`` reads an image that a running QEMU has locked.
        """
        work = self._async.info(untrusted=untrusted, force_share=force_share, timeout=timeout)
        return background_loop.run(work)

    def backing_chain(
        self,
        *,
        force_share: bool = False,
        timeout: float = 60.0,
    ) -> Sequence[BlockGraphInfo]:
        """Return the info of the image, its backing file, and so on (``--backing-chain``)."""
        work = self._async.backing_chain(force_share=force_share, timeout=timeout)
        return background_loop.run(work)

    def snapshots(
        self,
        *,
        untrusted: bool = False,
        force_share: bool = False,
        timeout: float = 60.0,
    ) -> Sequence[SnapshotInfo]:
        """Return the internal snapshots."""
        work = self._async.snapshots(untrusted=untrusted, force_share=force_share, timeout=timeout)
        return background_loop.run(work)

    def check(
        self,
        *,
        cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
        timeout: float | None = None,
    ) -> ImageCheck:
        """Look for errors in the image's own structures (``qemu-img check``).

        What is found is in the result and raises nothing. Raises ToolError for a format
        that has no checks (raw).
        """
        work = self._async.check(
            cache=cache,
            untrusted=untrusted,
            force_share=force_share,
            timeout=timeout,
        )
        return background_loop.run(work)

    def map(
        self,
        *,
        start: int | str = 0,
        length: int | str | None = None,
        untrusted: bool = False,
        force_share: bool = False,
        timeout: float | None = None,
    ) -> Sequence[MapEntry]:
        """Return the allocation of the image (``qemu-img map``), range by range.

        Each range has data or reads as zeros, and is in this image or in one of its backing files.
        ``start`` and ``length`` are in bytes; without a ``length``, it goes to the end.
        """
        work = self._async.map(
            start=start,
            length=length,
            untrusted=untrusted,
            force_share=force_share,
            timeout=timeout,
        )
        return background_loop.run(work)

    def measure(
        self,
        options: ImageFormat | CreationOptions,
        *,
        snapshot: str | None = None,
        untrusted: bool = False,
        force_share: bool = False,
        timeout: float | None = None,
    ) -> BlockMeasureInfo:
        """Tell how large a copy in another format would be (``qemu-img measure``).

        A copy of the image, or of its internal ``snapshot``.
        """
        work = self._async.measure(
            options,
            snapshot=snapshot,
            untrusted=untrusted,
            force_share=force_share,
            timeout=timeout,
        )
        return background_loop.run(work)

    @classmethod
    def measure_size(
        cls,
        size: int | str,
        options: ImageFormat | CreationOptions,
        *,
        programs: Programs | None = None,
        timeout: float = 60.0,
    ) -> BlockMeasureInfo:
        """Tell how large an image of that virtual size would be (``qemu-img measure``)."""
        work = AsyncImage.measure_size(size, options, programs=programs, timeout=timeout)
        return background_loop.run(work)

    def compare(
        self,
        other: Image,
        *,
        strict: bool = False,
        cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> Comparison:
        """Compare the content with another image's (``qemu-img compare``).

        ``strict`` counts a different size or allocation as a difference. With ``untrusted``
        neither image is trusted.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.compare(
                other._async,
                strict=strict,
                cache=cache,
                untrusted=untrusted,
                force_share=force_share,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_compare(
        self,
        other: Image,
        *,
        strict: bool = False,
        cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
    ) -> Operation[Comparison]:
        """Start :meth:`compare`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        work = self._async.start_compare(
            other._async,
            strict=strict,
            cache=cache,
            untrusted=untrusted,
            force_share=force_share,
        )
        return cast("Operation[Comparison]", Operation._of(background_loop.run(work)))

    def bench(
        self,
        *,
        count: int = 75000,
        buffer_size: int | str = 4096,
        depth: int = 64,
        offset: int | str = 0,
        step_size: int | str | None = None,
        aio: AioMode | None = None,
        native: bool = False,
        cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
        timeout: float | None = None,
    ) -> BenchResult:
        """Time read requests (``qemu-img bench``): ``count`` of ``buffer_size`` bytes.

        ``depth`` of them at once, the first at ``offset``, each ``step_size`` bytes (by
        default the buffer's) after the one before.
        """
        work = self._async.bench(
            count=count,
            buffer_size=buffer_size,
            depth=depth,
            offset=offset,
            step_size=step_size,
            aio=aio,
            native=native,
            cache=cache,
            untrusted=untrusted,
            force_share=force_share,
            timeout=timeout,
        )
        return background_loop.run(work)

    def create(
        self,
        size: int | str | None = None,
        options: Creation[Format_co] | None = None,
        *,
        backing: Image | None = None,
        unsafe: bool = False,
        replace: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Create the image (``qemu-img create``), of ``size`` bytes or as large as ``backing``.

        The backing file is recorded by its absolute path; ``unsafe`` does not look whether
        it is there. ``replace`` allows a file of that name (and an external data file) to be
        replaced, and a block device to be overwritten. Raises UsageError, before anything is
        written, when there is a file of that name, or for options of another format.
        """
        work = self._async.create(
            size,
            options,
            backing=None if backing is None else backing._async,
            unsafe=unsafe,
            replace=replace,
            timeout=timeout,
        )
        return background_loop.run(work)

    def convert(
        self,
        target: Image,
        options: CreationOptions | None = None,
        *,
        append: Sequence[Image] = (),
        backing: Image | None = None,
        snapshot: str | None = None,
        compress: bool = False,
        bitmaps: bool = False,
        skip_broken_bitmaps: bool = False,
        sparse_size: int | str | None = None,
        rate: int | str | None = None,
        parallel: int | None = None,
        out_of_order: bool = False,
        copy_range: bool = False,
        salvage: bool = False,
        source_cache: CacheMode | None = None,
        target_cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
        replace: bool = False,
        in_place: bool = False,
        target_is_zero: bool = False,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy the content into a new image (``qemu-img convert``).

        The content is the image's with that of its backing files, or an internal
        ``snapshot``'s; then that of the images to ``append``. With a ``backing`` file for the
        new image, only what differs from it is copied. Runs of zeros become holes from
        ``sparse_size`` bytes on (4096; 0: all is allocated). ``rate`` is in bytes a second,
        ``parallel`` the number of coroutines (8). ``salvage`` takes what cannot be read for
        zeros. ``replace`` allows an image of the target's name to be replaced.

        ``untrusted`` sources are read one by one, and nothing but the target is written: it has to
        be a file or a block device without a ``backing`` file (UsageError).

        ``in_place`` writes into the target that is there (``-n``), where ``target_is_zero``
        saves writing zeros: cancelled, it leaves that half-written. Raises UsageError for
        ``options`` of it.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.convert(
                target._async,
                options,
                append=[item._async for item in append],
                backing=None if backing is None else backing._async,
                snapshot=snapshot,
                compress=compress,
                bitmaps=bitmaps,
                skip_broken_bitmaps=skip_broken_bitmaps,
                sparse_size=sparse_size,
                rate=rate,
                parallel=parallel,
                out_of_order=out_of_order,
                copy_range=copy_range,
                salvage=salvage,
                source_cache=source_cache,
                target_cache=target_cache,
                untrusted=untrusted,
                force_share=force_share,
                replace=replace,
                in_place=in_place,
                target_is_zero=target_is_zero,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_convert(
        self,
        target: Image,
        options: CreationOptions | None = None,
        *,
        append: Sequence[Image] = (),
        backing: Image | None = None,
        snapshot: str | None = None,
        compress: bool = False,
        bitmaps: bool = False,
        skip_broken_bitmaps: bool = False,
        sparse_size: int | str | None = None,
        rate: int | str | None = None,
        parallel: int | None = None,
        out_of_order: bool = False,
        copy_range: bool = False,
        salvage: bool = False,
        source_cache: CacheMode | None = None,
        target_cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
        replace: bool = False,
        in_place: bool = False,
        target_is_zero: bool = False,
    ) -> Operation[None]:
        """Start :meth:`convert`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        work = self._async.start_convert(
            target._async,
            options,
            append=[item._async for item in append],
            backing=None if backing is None else backing._async,
            snapshot=snapshot,
            compress=compress,
            bitmaps=bitmaps,
            skip_broken_bitmaps=skip_broken_bitmaps,
            sparse_size=sparse_size,
            rate=rate,
            parallel=parallel,
            out_of_order=out_of_order,
            copy_range=copy_range,
            salvage=salvage,
            source_cache=source_cache,
            target_cache=target_cache,
            untrusted=untrusted,
            force_share=force_share,
            replace=replace,
            in_place=in_place,
            target_is_zero=target_is_zero,
        )
        return cast("Operation[None]", Operation._of(background_loop.run(work)))

    def dd(
        self,
        target: Image,
        *,
        block_size: int | str = 512,
        count: int | None = None,
        skip: int = 0,
        untrusted: bool = False,
        force_share: bool = False,
        replace: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Copy ``count`` blocks from block ``skip`` on into a new image (``qemu-img dd``).

        Raises UsageError for a target with a secret: ``qemu-img dd`` cannot encrypt.
        """
        work = self._async.dd(
            target._async,
            block_size=block_size,
            count=count,
            skip=skip,
            untrusted=untrusted,
            force_share=force_share,
            replace=replace,
            timeout=timeout,
        )
        return background_loop.run(work)

    def resize(
        self,
        size: int | str,
        *,
        shrink: bool = False,
        preallocation: Preallocation | None = None,
        timeout: float | None = None,
    ) -> None:
        """Change the virtual size, in place (``qemu-img resize``).

        In bytes; a string with ``+`` or ``-`` in front is relative. A smaller size needs
        ``shrink`` and loses what lies beyond.
        """
        work = self._async.resize(size, shrink=shrink, preallocation=preallocation, timeout=timeout)
        return background_loop.run(work)

    def repair(
        self,
        what: Literal['leaks', 'all'] = "leaks",
        *,
        cache: CacheMode | None = None,
        timeout: float | None = None,
    ) -> ImageCheck:
        """Check, and repair what is found, in place (``qemu-img check -r``).

        ``all`` repairs corruptions as well as leaks, and may choose the wrong one of two
        remedies. Returns what was found and fixed.
        """
        return background_loop.run(self._async.repair(what, cache=cache, timeout=timeout))

    def amend(
        self,
        options: Amendment[Format_co],
        *,
        force: bool = False,
        cache: CacheMode | None = None,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Change options of the format, in place (``qemu-img amend``).

        ``force`` allows what may lose data for good (the last key slot). Raises UsageError
        for options of another format.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.amend(
                options,
                force=force,
                cache=cache,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_amend(
        self,
        options: Amendment[Format_co],
        *,
        force: bool = False,
        cache: CacheMode | None = None,
    ) -> Operation[None]:
        """Start :meth:`amend`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        work = self._async.start_amend(options, force=force, cache=cache)
        return cast("Operation[None]", Operation._of(background_loop.run(work)))

    def commit(
        self,
        *,
        base: Image | None = None,
        drop: bool = False,
        rate: int | str | None = None,
        cache: CacheMode | None = None,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write the content into the backing file, in place (``qemu-img commit``).

        Or into ``base``, further down the chain: what lies between is then no longer valid.
        The image is emptied afterwards, unless told to ``drop`` that or a base is given.
        ``rate`` is in bytes a second.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.commit(
                base=None if base is None else base._async,
                drop=drop,
                rate=rate,
                cache=cache,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_commit(
        self,
        *,
        base: Image | None = None,
        drop: bool = False,
        rate: int | str | None = None,
        cache: CacheMode | None = None,
    ) -> Operation[None]:
        """Start :meth:`commit`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        work = self._async.start_commit(
            base=None if base is None else base._async,
            drop=drop,
            rate=rate,
            cache=cache,
        )
        return cast("Operation[None]", Operation._of(background_loop.run(work)))

    def rebase(
        self,
        backing: Image | None,
        *,
        unsafe: bool = False,
        compress: bool = False,
        cache: CacheMode | None = None,
        backing_cache: CacheMode | None = None,
        force_share: bool = False,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Put the image on another backing file, or on none, in place.

        ``qemu-img rebase``: what differs between the old backing file and the new one is
        copied into the image. ``unsafe`` changes the name and format in the header only. To
        ``compress`` what is copied takes QEMU 8.2. ``force_share`` is for a new backing file
        that a running QEMU has locked.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.rebase(
                None if backing is None else backing._async,
                unsafe=unsafe,
                compress=compress,
                cache=cache,
                backing_cache=backing_cache,
                force_share=force_share,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_rebase(
        self,
        backing: Image | None,
        *,
        unsafe: bool = False,
        compress: bool = False,
        cache: CacheMode | None = None,
        backing_cache: CacheMode | None = None,
        force_share: bool = False,
    ) -> Operation[None]:
        """Start :meth:`rebase`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        work = self._async.start_rebase(
            None if backing is None else backing._async,
            unsafe=unsafe,
            compress=compress,
            cache=cache,
            backing_cache=backing_cache,
            force_share=force_share,
        )
        return cast("Operation[None]", Operation._of(background_loop.run(work)))

    def write_bench(
        self,
        *,
        pattern: int = 0,
        count: int = 75000,
        buffer_size: int | str = 4096,
        depth: int = 64,
        offset: int | str = 0,
        step_size: int | str | None = None,
        flush_interval: int | None = None,
        drain: bool = True,
        aio: AioMode | None = None,
        native: bool = False,
        cache: CacheMode | None = None,
        timeout: float | None = None,
    ) -> BenchResult:
        """Time write requests, in place, over what is there (``qemu-img bench -w``).

        Bytes of ``pattern``, a flush after each ``flush_interval`` requests, which waits for
        those before it (``drain``). The rest as :meth:`bench`.
        """
        work = self._async.write_bench(
            pattern=pattern,
            count=count,
            buffer_size=buffer_size,
            depth=depth,
            offset=offset,
            step_size=step_size,
            flush_interval=flush_interval,
            drain=drain,
            aio=aio,
            native=native,
            cache=cache,
            timeout=timeout,
        )
        return background_loop.run(work)

    def create_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Keep the content as it is now as an internal snapshot (``qemu-img snapshot -c``)."""
        return background_loop.run(self._async.create_snapshot(name, timeout=timeout))

    def apply_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Take the content back to that of an internal snapshot, by name or id (``-a``)."""
        return background_loop.run(self._async.apply_snapshot(name, timeout=timeout))

    def delete_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Delete an internal snapshot, by name or id (``-d``)."""
        return background_loop.run(self._async.delete_snapshot(name, timeout=timeout))

    def add_bitmap(
        self,
        name: str,
        *,
        granularity: int | str | None = None,
        disabled: bool = False,
    ) -> None:
        """Add a persistent dirty bitmap that records from now on, unless ``disabled``.

        ``qemu-img bitmap --add``; ``granularity`` is in bytes.
        """
        work = self._async.add_bitmap(name, granularity=granularity, disabled=disabled)
        return background_loop.run(work)

    def remove_bitmap(self, name: str) -> None:
        """Remove a bitmap (``--remove``)."""
        return background_loop.run(self._async.remove_bitmap(name))

    def clear_bitmap(self, name: str) -> None:
        """Make a bitmap mark nothing (``--clear``)."""
        return background_loop.run(self._async.clear_bitmap(name))

    def enable_bitmap(self, name: str) -> None:
        """Let a bitmap record (``--enable``)."""
        return background_loop.run(self._async.enable_bitmap(name))

    def disable_bitmap(self, name: str) -> None:
        """Let a bitmap stay as it is (``--disable``)."""
        return background_loop.run(self._async.disable_bitmap(name))

    def merge_bitmap(self, name: str, source: str, *, source_image: Image | None = None) -> None:
        """Mark in a bitmap what ``source`` marks, a bitmap here or of another image (``--merge``).

        Raises UsageError for an encrypted other image, whose key qemu-img cannot be told.
        """
        work = self._async.merge_bitmap(
            name,
            source,
            source_image=None if source_image is None else source_image._async,
        )
        return background_loop.run(work)

    @classmethod
    def create_marked(
        cls,
        path: str | os.PathLike[str],
        size: int | str,
        *,
        replace: bool = False,
        programs: Programs | None = None,
    ) -> Self:
        """Create a raw image in which each sector of 512 bytes holds its own number.

        At its start and in its last four bytes, as a signed big-endian integer; all is
        allocated. ``replace`` allows a file that is there to be replaced.
        :mod:`qemu_blocksdk.tools.testdata` reads and verifies such images. Raises UsageError
        for more than 1 TiB; OSError.
        """
        work = AsyncImage.create_marked(path, size, replace=replace, programs=programs)
        return cls._of(background_loop.run(work))

    @classmethod
    def unpack_sample(
        cls,
        archive: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        format: ImageFormat | ReadOnlyFormat,
        replace: bool = False,
        programs: Programs | None = None,
    ) -> Self:
        """Unpack a sample image (``.bz2``), with holes for zeros.

        ``replace`` allows a file that is there to be replaced.
        Raises UsageError for an archive that is damaged or cut off; OSError.
        """
        work = AsyncImage.unpack_sample(
            archive,
            path,
            format=format,
            replace=replace,
            programs=programs,
        )
        return cls._of(background_loop.run(work))
