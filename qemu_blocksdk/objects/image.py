"""Disk images: everything that qemu-img does with one, and the options that open it in a QEMU.

An image is identified by its path and format, by options, or by an NBD URI. Every verb checks what
it would open before it starts a tool (backing chains that loop, formats that would be guessed), and
writes new images beside their final names: what fails or is cancelled leaves what was there.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar, cast

from qemu_blocksdk.codec import JsonValue, Secret, decode, doubled, masked
from qemu_blocksdk.errors import SandboxUnavailable, ToolError, UsageError
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.threads import run_in_thread
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.amendment import Amendment, AmendOptions, amendment_words
from qemu_blocksdk.tools.atomic_write import (
    Published,
    assert_device_can_be_written,
    atomic_write,
    undo_on_failure,
)
from qemu_blocksdk.tools.chain import (
    FileId,
    assert_can_be_an_image,
    assert_openable,
    identity,
)
from qemu_blocksdk.tools.creation import (
    CreateQcow2,
    Creation,
    CreationOptions,
    EncryptLuks,
    Format_co,
    ImageFormat,
    ReadOnlyFormat,
    creation_words,
    is_encrypted,
    options_for,
    options_of,
)
from qemu_blocksdk.tools.image_options import (
    chain_options,
    file_options,
    image_options,
    is_block_device,
)
from qemu_blocksdk.tools.luks_timing import luks_at_last
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.tools.probe import ImageProbe, probe
from qemu_blocksdk.tools.progress import ProgressReader, ToolProgress
from qemu_blocksdk.tools.results import (
    BenchResult,
    BlockGraphInfo,
    BlockMeasureInfo,
    Comparison,
    ImageCheck,
    MapEntry,
)
from qemu_blocksdk.tools.run import (
    Completed,
    Confinement,
    Limits,
    as_file,
    as_path,
    ask,
    renamed,
    run,
)
from qemu_blocksdk.tools.run import Path as StrPath
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.tools.target import NEW_KEY, Target, secrets_of
from qemu_blocksdk.tools.testdata import unpack_sample, write_sector_markers
from qemu_blocksdk.tools.tls import TlsCredentials
from qemu_blocksdk.tools.untrusted import TO_ASK, TO_COPY, TO_READ, alone, joined
from qemu_blocksdk.tools.words import AioMode, CacheMode, Preallocation, flags
from qemu_blocksdk.wire import BlockdevOptions, SnapshotInfo

from ._base import subject
from .operation import AsyncOperation
from .thread import in_thread

FormatT = TypeVar("FormatT", bound=ImageFormat | ReadOnlyFormat)
_MEASURED = Secret("the size does not depend on it")


@sealed_class
class AsyncImage(Generic[Format_co]):
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

    def __init__(
        self: AsyncImage[FormatT],
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        format: FormatT,
        secret: Secret | None = None,
        programs: Programs | None = None,
    ) -> None:
        """Name an image; whether it is there shows when it is used.

        ``secret`` opens an encrypted one.
        """
        make_target = functools.partial(Target.of_file, path, format, secret)
        self._set_up(make_target, format, programs, path=as_file(path), secret=secret)

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
        make_target = functools.partial(Target.of_options, options, secrets or {})
        return cls._of_target(make_target, options.driver, programs)

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
        parsed = NbdUri.parse(uri) if isinstance(uri, str) else uri
        make_target = functools.partial(Target.of_nbd, parsed, format, tls)
        return cls._of_target(make_target, format, programs)

    @classmethod
    def _of_target(
        cls, make_target: Callable[..., Target], format: str, programs: Programs | None
    ) -> Self:
        self = cls.__new__(cls)
        self._set_up(make_target, format, programs)
        return self

    @classmethod
    def _of_file(
        cls, path: StrPath, format: str, secret: Secret | None, programs: Programs | None
    ) -> Self:
        make_target = functools.partial(Target.of_file, path, format, secret)
        self = cls.__new__(cls)
        self._set_up(make_target, format, programs, path=as_file(path), secret=secret)
        return self

    def _set_up(
        self,
        make_target: Callable[..., Target],
        format: str,
        programs: Programs | None,
        *,
        path: str = "",
        secret: Secret | None = None,
    ) -> None:
        self._make_target, self._target = make_target, make_target()
        self._path, self._format = path, format
        self._secret, self._programs = secret, programs or Programs()

    @property
    def path(self) -> Path:
        """Where the image is, absolute. Raises UsageError for one that was named by options."""
        if not self._path:
            raise UsageError(f"{self!r} has no path of its own")
        return Path(self._path)

    @property
    def format(self) -> str:
        """The image's format."""
        return self._format

    def options(self, node_name: str, *, key_secret: str | None = None) -> BlockdevOptions:
        """Return the options that open the image as the node ``node_name`` in a running QEMU.

        ``key_secret`` is the id of the secret in that QEMU that opens an encrypted image
        (:meth:`AsyncBlockLayer.add_secret`). Raises UsageError for an image named by options.
        """
        file = file_options(str(self.path))
        options = image_options(file, format=self._format, key_secret=key_secret)
        return options.named(node_name)

    async def chain_options(
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
        self._assert_openable(may_guess=False)
        top, *below = await self.backing_chain(force_share=force_share, timeout=timeout)
        # By the name that we have: QEMU's may have the ids of qemu-img's own secrets in it.
        top = top.evolve(filename=self._path or self._target.filename)
        return chain_options([top, *below], node_name=node_name, key_secrets=key_secrets or {})

    def __repr__(self) -> str:
        name = self._path or masked(self._target.filename)
        return f"<{self._format} image {name!r}>"

    # -- questions -----------------------------------------------------------------------------

    @classmethod
    async def probe(cls, path: str | os.PathLike[str]) -> ImageProbe:
        """Tell the format of a file by its header, and what makes it dangerous.

        No QEMU is started and no other file looked at. Raises UsageError for what is no
        regular file or block device, cannot be read, is empty or contradicts itself.
        """
        return await run_in_thread(lambda: probe(path))

    async def info(
        self, *, untrusted: bool = False, force_share: bool = False, timeout: float = 60.0
    ) -> BlockGraphInfo:
        """Return the information in the header (``qemu-img info``); no backing file is opened.

        For an ``untrusted`` image, the result names a backing file and leaves out an external data
        file, and ten seconds of processor time are the limit. Where the kernel cannot keep QEMU
        from opening other files, this verb still runs, with options that make QEMU open none: it
        needs the header only. ``force_share`` reads an image that a running QEMU has locked.
        """
        words = _json(force_share)
        if not untrusted:
            self._assert_can_be_an_image()
            done = await self._ask("info", words, self._target.words(), timeout=timeout)
            return decode(BlockGraphInfo, done.json_object())
        with self._opened_alone(limits=TO_ASK, is_metadata=True) as (target, confinement):
            ask = functools.partial(self._ask, "info", words, target.words(), timeout=timeout)
            try:
                done = await ask(confinement=confinement)
            except SandboxUnavailable:
                done = await ask(confinement=confinement.evolve(is_unenforced=True))
            return decode(BlockGraphInfo, done.json_object())

    async def backing_chain(
        self, *, force_share: bool = False, timeout: float = 60.0
    ) -> Sequence[BlockGraphInfo]:
        """Return the info of the image, its backing file, and so on (``--backing-chain``)."""
        words = ["--backing-chain", *self._target.words()]
        self._assert_can_be_an_image()
        done = await self._ask("info", _json(force_share), words, timeout=timeout)
        return [decode(BlockGraphInfo, link) for link in _objects(done)]

    async def snapshots(
        self, *, untrusted: bool = False, force_share: bool = False, timeout: float = 60.0
    ) -> Sequence[SnapshotInfo]:
        """Return the internal snapshots."""
        info = await self.info(untrusted=untrusted, force_share=force_share, timeout=timeout)
        return info.snapshots or ()

    async def check(
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
        return await self._check(
            cache=cache, untrusted=untrusted, force_share=force_share, timeout=timeout
        )

    async def map(
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
        words = _json(force_share) + flags(
            start=("--start-offset", to_bytes(start)),
            length=("--max-length", None if length is None else to_bytes(length)),
        )
        with self._opened(untrusted=untrusted) as (target, confinement):
            done = await self._ask(
                *("map", words, target.words()), timeout=timeout, confinement=confinement
            )
        return [decode(MapEntry, entry) for entry in _objects(done)]

    async def measure(
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
        words = [*_json(force_share), *_snapshot_words(snapshot)]
        with self._opened(untrusted=untrusted) as (target, confinement):
            return await _measure(self._programs, options, words, target, timeout, confinement)

    @classmethod
    async def measure_size(
        cls,
        size: int | str,
        options: ImageFormat | CreationOptions,
        *,
        programs: Programs | None = None,
        timeout: float = 60.0,
    ) -> BlockMeasureInfo:
        """Tell how large an image of that virtual size would be (``qemu-img measure``)."""
        words = ["--output=json", "--size", str(to_bytes(size))]
        return await _measure(programs or Programs(), options, words, None, timeout)

    async def compare(
        self,
        other: AsyncImage,
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
        operation = await self.start_compare(
            other, strict=strict, cache=cache, untrusted=untrusted, force_share=force_share
        )
        return await operation.run(on_progress=on_progress, timeout=timeout)

    async def start_compare(
        self,
        other: AsyncImage,
        *,
        strict: bool = False,
        cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
    ) -> AsyncOperation[Comparison]:
        """Start :meth:`compare`; return it in flight."""
        if not untrusted:
            self._assert_openable()
            other._assert_openable()
        options = flags(strict=("-s", strict), cache=("-T", cache), force_share=("-U", force_share))

        async def work(tell: Callable[[float], None]) -> Comparison:
            printed = bytearray()
            read = ProgressReader(tell)

            def receive(data: bytes) -> None:
                printed.extend(data)
                read(data)

            with (
                self._opened(untrusted=untrusted) as (one, confinement),
                other._opened(untrusted=untrusted, nth=1) as (two, second),
            ):
                arguments = [*one.format_words("-f"), *two.format_words("-F")]
                done = await self._run(
                    "compare",
                    ["-p", *options, *arguments, one.filename, two.filename],
                    accept=(0, 1),
                    secrets=secrets_of((one, two)),
                    on_output=receive,
                    confinement=joined(confinement, second),
                )
            return Comparison.parse(
                done.exit_status, printed.decode(errors="replace") + done.stderr
            )

        return AsyncOperation(f"the comparison of {self!r} with {other!r}", work)

    async def bench(
        self,
        *,
        count: int = 75_000,
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
        words = _bench_words(count, buffer_size, depth, offset, step_size, aio, native, cache)
        words += ["-U"] if force_share else []
        return await self._bench(
            words, count, to_bytes(buffer_size), timeout=timeout, untrusted=untrusted
        )

    # -- new images ----------------------------------------------------------------------------

    async def create(
        self,
        size: int | str | None = None,
        options: Creation[Format_co] | None = None,
        *,
        backing: AsyncImage | None = None,
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
        async with within(timeout, f"the creation of {subject(self)}"):
            own = options_for(self._format, options, of=self)
            await self._create(size, own, backing=backing, unsafe=unsafe, replace=replace)

    async def convert(
        self,
        target: AsyncImage,
        options: CreationOptions | None = None,
        *,
        append: Sequence[AsyncImage] = (),
        backing: AsyncImage | None = None,
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
        operation = await self.start_convert(
            target,
            options,
            append=append,
            backing=backing,
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
        return await operation.run(on_progress=on_progress, timeout=timeout)

    async def start_convert(
        self,
        target: AsyncImage,
        options: CreationOptions | None = None,
        *,
        append: Sequence[AsyncImage] = (),
        backing: AsyncImage | None = None,
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
    ) -> AsyncOperation[None]:
        """Start :meth:`convert`; return it in flight."""
        if in_place and options is not None:
            raise UsageError(f"{target!r} is there, so it keeps the options that it has")
        sources: list[AsyncImage] = [self, *append]
        if untrusted and backing is not None:
            raise UsageError(f"an untrusted image is not compared with {backing!r}")
        target._assert_not_among_sources(
            [*sources, *([] if backing is None else [backing])], untrusted=untrusted
        )
        formats = {source.format for source in sources}
        if len(formats) > 1:
            raise UsageError(f"images of several formats cannot be joined: {sorted(formats)}")
        words = flags(
            backing=("-B", None if backing is None else backing._name_for_others()),
            backing_format=("-F", None if backing is None else backing.format),
            compress=("-c", compress),
            bitmaps=("--bitmaps", bitmaps),
            skip_broken_bitmaps=("--skip-broken-bitmaps", skip_broken_bitmaps),
            sparse_size=("-S", None if sparse_size is None else to_bytes(sparse_size)),
            rate=("-r", None if rate is None else to_bytes(rate)),
            parallel=("-m", parallel),
            out_of_order=("-W", out_of_order),
            copy_range=("-C", copy_range),
            salvage=("--salvage", salvage),
            source_cache=("-T", source_cache),
            target_cache=("-t", target_cache),
            force_share=("-U", force_share),
            in_place=("-n", in_place),
            target_is_zero=("--target-is-zero", target_is_zero),
        )
        words += [*_snapshot_words(snapshot), "-f", self._format, "-O", target.format]
        words += [] if in_place else target._creation_words(options)
        programs = self._programs_to_make(target)
        targets = [image._make_target(nth=nth) for nth, image in enumerate([*sources, target])]
        words += [word for each in targets for word in each.objects]
        secrets = {
            **secrets_of(targets if in_place else targets[:-1]),
            **({} if in_place else target._new_secrets()),
        }

        async def work(tell: Callable[[float], None]) -> None:
            async def copy(name: str, *written: StrPath) -> None:
                with contextlib.ExitStack() as stack:
                    opened = [
                        stack.enter_context(
                            source._opened(
                                untrusted=untrusted, limits=TO_COPY, may_guess=False, nth=nth
                            )
                        )
                        for nth, source in enumerate(sources)
                    ]
                    names = [found.filename for found, _ in opened]
                    confinement = joined(*(part for _, part in opened), written=written)
                    await luks_at_last(
                        lambda: self._run(
                            "convert",
                            ["-p", *words, *names, name],
                            secrets=secrets,
                            on_output=ProgressReader(tell),
                            confinement=confinement,
                            programs=programs,
                        )
                    )

            if in_place:
                await copy(targets[-1].filename, target._path)
            else:
                with target._draft(options, replace=replace) as draft:
                    await copy(draft, *_written(draft, options))

        return AsyncOperation(f"the copy of {self!r} to {target!r}", work)

    async def dd(
        self,
        target: AsyncImage,
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
        if target._secret is not None or target.format == "luks":
            raise UsageError(f"qemu-img dd cannot encrypt {target!r}: convert() to it")
        programs = self._programs_to_make(target)
        target._assert_not_among_sources([self], untrusted=untrusted)
        words = [*(["-U"] if force_share else []), "-O", target.format]
        words += [f"bs={to_bytes(block_size)}", f"skip={skip}"]
        # QEMU 7.2 and 10.0: the blocks that are skipped count as well.
        words += [] if count is None else [f"count={skip + count}"]
        with (
            self._opened(untrusted=untrusted, limits=TO_COPY, may_guess=False) as (source, part),
            target._draft(None, replace=replace) as draft,
        ):
            await self._run(
                "dd",
                [*words, *source.format_words("-f"), f"if={source.filename}", f"of={draft}"],
                timeout=timeout,
                confinement=joined(part, written=_written(draft, None)),
                programs=programs,
            )

    # -- changes in place ----------------------------------------------------------------------

    async def resize(
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
        sign, bare = "", size
        if isinstance(size, str) and size[:1] in ("+", "-"):
            sign, bare = size[0], size[1:]
        words = flags(shrink=("--shrink", shrink), preallocation=("--preallocation", preallocation))
        # qemu-img takes the last word for the size before it looks for options.
        await self._change(
            "resize", [*words, "-q"], after=[f"{sign}{to_bytes(bare)}"], timeout=timeout
        )

    async def repair(
        self,
        what: Literal["leaks", "all"] = "leaks",
        *,
        cache: CacheMode | None = None,
        timeout: float | None = None,
    ) -> ImageCheck:
        """Check, and repair what is found, in place (``qemu-img check -r``).

        ``all`` repairs corruptions as well as leaks, and may choose the wrong one of two
        remedies. Returns what was found and fixed.
        """
        return await self._check(repair=what, cache=cache, timeout=timeout)

    async def amend(
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
        operation = await self.start_amend(options, force=force, cache=cache)
        return await operation.run(on_progress=on_progress, timeout=timeout)

    async def start_amend(
        self, options: Amendment[Format_co], *, force: bool = False, cache: CacheMode | None = None
    ) -> AsyncOperation[None]:
        """Start :meth:`amend`; return it in flight."""
        if not isinstance(options, AmendOptions) or options.format != self._format:
            raise UsageError(f"{type(options).__name__} is not for {self!r}")
        secrets = dict(self._target.secrets)

        def secret_id(secret: Secret) -> str:
            secrets[f"blocksdk-{len(secrets)}"] = secret
            return list(secrets)[-1]

        words = amendment_words(options, secret_id=secret_id)
        words += flags(force=("--force", force), cache=("-t", cache))
        return self._long_change("amend", words, secrets)

    async def commit(
        self,
        *,
        base: AsyncImage | None = None,
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
        operation = await self.start_commit(base=base, drop=drop, rate=rate, cache=cache)
        return await operation.run(on_progress=on_progress, timeout=timeout)

    async def start_commit(
        self,
        *,
        base: AsyncImage | None = None,
        drop: bool = False,
        rate: int | str | None = None,
        cache: CacheMode | None = None,
    ) -> AsyncOperation[None]:
        """Start :meth:`commit`; return it in flight."""
        words = flags(
            base=("-b", None if base is None else base._name_for_others()),
            drop=("-d", drop),
            rate=("-r", None if rate is None else to_bytes(rate)),
            cache=("-t", cache),
        )
        return self._long_change("commit", words)

    async def rebase(
        self,
        backing: AsyncImage | None,
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
        operation = await self.start_rebase(
            backing,
            unsafe=unsafe,
            compress=compress,
            cache=cache,
            backing_cache=backing_cache,
            force_share=force_share,
        )
        return await operation.run(on_progress=on_progress, timeout=timeout)

    async def start_rebase(
        self,
        backing: AsyncImage | None,
        *,
        unsafe: bool = False,
        compress: bool = False,
        cache: CacheMode | None = None,
        backing_cache: CacheMode | None = None,
        force_share: bool = False,
    ) -> AsyncOperation[None]:
        """Start :meth:`rebase`; return it in flight."""
        words = flags(
            backing=("-b", "" if backing is None else backing._name_for_others()),
            backing_format=("-F", None if backing is None else backing.format),
            unsafe=("-u", unsafe),
            compress=("-c", compress),
            cache=("-t", cache),
            backing_cache=("-T", backing_cache),
            force_share=("-U", force_share),
        )
        if backing is not None:
            self._assert_not_among(backing._assert_openable(may_guess=False))
        return self._long_change("rebase", words, follow=not unsafe)

    async def write_bench(
        self,
        *,
        pattern: int = 0,
        count: int = 75_000,
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
        words = flags(
            write=("-w", True),
            pattern=("--pattern", pattern),
            flush_interval=("--flush-interval", flush_interval),
            no_drain=("--no-drain", not drain),
        )
        words += _bench_words(count, buffer_size, depth, offset, step_size, aio, native, cache)
        return await self._bench(
            words, count, to_bytes(buffer_size), timeout=timeout, may_guess=False
        )

    # -- internal snapshots --------------------------------------------------------------------

    async def create_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Keep the content as it is now as an internal snapshot (``qemu-img snapshot -c``)."""
        await self._snapshot("-c", name, timeout)

    async def apply_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Take the content back to that of an internal snapshot, by name or id (``-a``)."""
        await self._snapshot("-a", name, timeout)

    async def delete_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Delete an internal snapshot, by name or id (``-d``)."""
        await self._snapshot("-d", name, timeout)

    # -- persistent bitmaps --------------------------------------------------------------------

    async def add_bitmap(
        self, name: str, *, granularity: int | str | None = None, disabled: bool = False
    ) -> None:
        """Add a persistent dirty bitmap that records from now on, unless ``disabled``.

        ``qemu-img bitmap --add``; ``granularity`` is in bytes.
        """
        words = flags(
            granularity=("-g", None if granularity is None else to_bytes(granularity)),
            disabled=("--disable", disabled),
        )
        await self._bitmap(name, ["--add", *words])

    async def remove_bitmap(self, name: str) -> None:
        """Remove a bitmap (``--remove``)."""
        await self._bitmap(name, ["--remove"])

    async def clear_bitmap(self, name: str) -> None:
        """Make a bitmap mark nothing (``--clear``)."""
        await self._bitmap(name, ["--clear"])

    async def enable_bitmap(self, name: str) -> None:
        """Let a bitmap record (``--enable``)."""
        await self._bitmap(name, ["--enable"])

    async def disable_bitmap(self, name: str) -> None:
        """Let a bitmap stay as it is (``--disable``)."""
        await self._bitmap(name, ["--disable"])

    async def merge_bitmap(
        self, name: str, source: str, *, source_image: AsyncImage | None = None
    ) -> None:
        """Mark in a bitmap what ``source`` marks, a bitmap here or of another image (``--merge``).

        Raises UsageError for an encrypted other image, whose key qemu-img cannot be told.
        """
        words = ["--merge", source]
        if source_image is not None:
            if source_image._target.secrets:
                raise UsageError(
                    f"bitmaps are not merged from an encrypted image: {source_image!r}"
                )
            words += ["-b", source_image._target.filename, *source_image._target.format_words("-F")]
        await self._bitmap(name, words)

    # -- test data -----------------------------------------------------------------------------

    @classmethod
    async def create_marked(
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
        length = to_bytes(size)
        await in_thread(
            lambda check: write_sector_markers(path, length, replace=replace, each_piece=check)
        )
        return cls._of_file(path, "raw", None, programs)

    @classmethod
    async def unpack_sample(
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
        await in_thread(
            lambda check: unpack_sample(archive, path, replace=replace, each_piece=check)
        )
        return cls._of_file(path, format, None, programs)

    # -- checks before a tool starts -----------------------------------------------------------

    def _name_for_others(self) -> str:
        """The name by which another image refers to this one as its backing file."""
        return self._path or self._target.filename

    def _programs_to_make(self, target: AsyncImage) -> Programs:
        """The programs that copy the image to another one, which may have been given its own.

        Raises UsageError where the two were given different ones.
        """
        default = Programs().qemu_img
        given = {tuple(image._programs.qemu_img) for image in (self, target)} - {tuple(default)}
        if len(given) > 1:
            raise UsageError(f"{self!r} and {target!r} have different programs: {sorted(given)}")
        return self._programs if target._programs.qemu_img == default else target._programs

    def _assert_openable(self, *, may_guess: bool = True) -> Mapping[FileId, str]:
        """Return the files of the backing chain; raise UsageError for one not to be opened.

        One that loops or, unless QEMU ``may_guess``, does not tell its formats.
        """
        if self._path:
            return assert_openable(self._path, self._format, may_guess=may_guess)
        return assert_openable(self._target.filename, None, may_guess=may_guess)

    def _assert_can_be_an_image(self) -> None:
        if self._path:
            assert_can_be_an_image(self._path)

    def _assert_not_among(self, files: Mapping[FileId, str]) -> None:
        """Raise UsageError where the image, to be written, is one of the files that are read."""
        own = identity(self._path) if self._path else None
        if own is not None and own in files:
            raise UsageError(
                f"{self!r} cannot be written: it is the file {files[own]!r}, which is read here"
            )

    def _assert_not_among_sources(self, sources: Sequence[AsyncImage], *, untrusted: bool) -> None:
        """Raise UsageError where the image, which is to be written, is a source or behind one.

        Raises it as well for an untrusted source that is no file, and for a backing chain that
        loops or does not name its formats.
        """
        if untrusted:
            for image in sources:
                image._assert_is_a_file()
            self._assert_is_a_file()
            files = {file: image._path for image in sources if (file := identity(image._path))}
            self._assert_not_among(files)
        else:
            for image in sources:
                self._assert_not_among(image._assert_openable(may_guess=False))

    @contextlib.contextmanager
    def _opened(
        self,
        *,
        untrusted: bool,
        limits: Limits = TO_READ,
        is_metadata: bool = False,
        may_guess: bool = True,
        nth: int = 0,
    ) -> Generator[tuple[Target, Confinement | None]]:
        """Give how a tool is told of the image, and what it is confined to for an untrusted one.

        Raises UsageError for a backing chain that QEMU should not open, and for an untrusted
        image that is not one file.
        """
        if untrusted:
            with self._opened_alone(limits=limits, is_metadata=is_metadata, nth=nth) as found:
                yield found
        else:
            self._assert_openable(may_guess=may_guess)
            yield self._make_target(nth=nth), None

    def _opened_alone(
        self, *, limits: Limits, is_metadata: bool = False, nth: int = 0
    ) -> contextlib.AbstractContextManager[tuple[Target, Confinement]]:
        self._assert_is_a_file()
        return alone(
            *(self._path, self._format, self._secret),
            nth=nth,
            limits=limits,
            is_metadata=is_metadata,
        )

    def _assert_only_read(self, *, read_only: bool, snapshot: bool) -> None:
        """Raise UsageError where a program is to write the image, or to a copy of it.

        And for an image that is no file.
        """
        self._assert_is_a_file()
        if not read_only or snapshot:
            raise UsageError(f"{self!r} is untrusted: give read_only=True, and no snapshot")

    def _assert_is_a_file(self) -> None:
        if not self._path:
            raise UsageError(f"{self!r} has no path: an untrusted image is one file")

    # -- tools ---------------------------------------------------------------------------------

    async def _ask(
        self,
        command: str,
        *words: Sequence[str],
        accept: Sequence[int] = (0,),
        timeout: float | None,
        confinement: Confinement | None = None,
    ) -> Completed:
        return await ask(
            [*self._programs.qemu_img, command],
            [word for some in words for word in some],
            timeout=timeout,
            accept=accept,
            secrets=self._target.secrets,
            confinement=confinement,
        )

    async def _run(
        self,
        command: str,
        words: Sequence[str],
        *,
        timeout: float | None = None,
        accept: Sequence[int] = (0,),
        secrets: Mapping[str, Secret] | None = None,
        on_output: Callable[[bytes], None] | None = None,
        confinement: Confinement | None = None,
        programs: Programs | None = None,
    ) -> Completed:
        return await run(
            [*(programs or self._programs).qemu_img, command],
            words,
            timeout=timeout,
            accept=accept,
            secrets=self._target.secrets if secrets is None else secrets,
            on_output=on_output,
            confinement=confinement,
        )

    async def _check(
        self,
        *,
        repair: Literal["leaks", "all"] | None = None,
        cache: CacheMode | None,
        untrusted: bool = False,
        force_share: bool = False,
        timeout: float | None,
    ) -> ImageCheck:
        words = _json(force_share) + flags(repair=("-r", repair), cache=("-T", cache))
        with self._opened(untrusted=untrusted, is_metadata=True, may_guess=repair is None) as (
            target,
            confinement,
        ):
            # 1: the check could not finish, if it says how far it came; 2: corrupt; 3: leaks.
            done = await self._ask(
                *("check", words, target.words()),
                accept=(0, 1, 2, 3),
                timeout=timeout,
                confinement=confinement,
            )
        if done.exit_status == 1 and not done.stdout.strip():
            raise done.failure()
        return decode(ImageCheck, done.json_object())

    async def _bench(
        self,
        words: Sequence[str],
        count: int,
        buffer_size: int,
        *,
        timeout: float | None,
        untrusted: bool = False,
        may_guess: bool = True,
    ) -> BenchResult:
        with self._opened(untrusted=untrusted, may_guess=may_guess) as (target, confinement):
            done = await self._run(
                *("bench", [*words, *target.words()]), timeout=timeout, confinement=confinement
            )
        return BenchResult.parse(done, count, buffer_size)

    async def _snapshot(self, action: str, name: str, timeout: float | None) -> None:
        self._assert_openable(may_guess=False)
        # QEMU 7.2: `snapshot` has no -f and would guess, so the format is in the name.
        words = ["-q", action, name, *self._target.spelled_words()]
        await self._run("snapshot", words, timeout=timeout)

    async def _bitmap(self, name: str, words: Sequence[str]) -> None:
        await self._change("bitmap", words, after=[name])

    async def _change(
        self,
        command: str,
        words: Sequence[str],
        *,
        after: Sequence[str] = (),
        timeout: float | None = None,
    ) -> None:
        self._assert_openable(may_guess=False)
        format_words = self._target.format_words()
        words = [*words, *format_words, "--", self._target.filename, *after]
        await self._run(command, words, timeout=timeout)

    def _long_change(
        self,
        command: str,
        words: Sequence[str],
        secrets: Mapping[str, Secret] | None = None,
        *,
        follow: bool = True,
    ) -> AsyncOperation[None]:
        if follow:
            self._assert_openable(may_guess=False)
        words = ["-p", *words, *self._target.words()]

        async def work(tell: Callable[[float], None]) -> None:
            reader = ProgressReader(tell)
            await luks_at_last(lambda: self._run(command, words, secrets=secrets, on_output=reader))

        return AsyncOperation(f"qemu-img {command} of {self!r}", work)

    # -- drafts of new images ------------------------------------------------------------------

    async def _create(
        self,
        size: int | str | None = None,
        options: CreationOptions | None = None,
        *,
        backing: AsyncImage | None = None,
        unsafe: bool = False,
        replace: bool = False,
        published: Published | None = None,
    ) -> None:
        """Do as :meth:`create`; ``published`` can take the files back afterwards."""
        words = self._creation_words(options)
        if backing is not None:
            self._assert_not_among(backing._assert_openable(may_guess=unsafe))
            if backing._target.secrets and not unsafe:
                # QEMU would open it for its size, and there is no option to tell its key.
                size = (await backing.info()).virtual_size if size is None else size
                unsafe = True
            words += ["-b", backing._name_for_others(), "-F", backing.format]
        words += [*(["-u"] if unsafe else []), "-q", "-f", self._format]
        length = [] if size is None else [str(to_bytes(size))]
        with self._draft(options, replace=replace, published=published) as draft:
            await luks_at_last(
                lambda: self._run("create", [*words, draft, *length], secrets=self._new_secrets())
            )

    def _at(self, path: Path) -> Self:
        """The same image under another name, as that of a draft: all else that it says stays."""
        return self._of_file(path, self._format, self._secret, self._programs)

    def _creation_words(self, options: CreationOptions | None) -> list[str]:
        options = options_for(self._format, options, of=self)
        if options is None and self._format == "qcow2" and self._secret is not None:
            options = CreateQcow2(encrypt=EncryptLuks())
        elif options is None:
            options = options_of(cast("ImageFormat", self._format))
        return creation_words(options, key_secret=None if self._secret is None else NEW_KEY)

    def _new_secrets(self) -> Mapping[str, Secret]:
        return {} if self._secret is None else {NEW_KEY: self._secret}

    @contextlib.contextmanager
    def _draft(
        self,
        options: CreationOptions | None,
        *,
        replace: bool,
        published: Published | None = None,
    ) -> Generator[str]:
        """Give the name to write the image under until it is complete."""
        with contextlib.ExitStack() as stack:
            if isinstance(options, CreateQcow2) and options.data_file is not None:
                names = published or stack.enter_context(undo_on_failure())
                self._make_data_file(options.data_file, replace=replace, published=names)
            if is_block_device(self.path):
                assert_device_can_be_written(self.path, replace=replace)
                yield str(self.path)
                return
            draft = stack.enter_context(
                atomic_write(self.path, replace=replace, published=published)
            )
            try:
                yield str(draft)
            except ToolError as error:
                raise renamed(error, str(draft), to=str(self.path)) from error

    def _make_data_file(self, path: StrPath, *, replace: bool, published: Published) -> None:
        """Make the file that qemu-img is going to write an image's data into."""
        # qemu-img truncates what it finds, and the image refers to it by its final name.
        place = as_path(as_file(path))
        if is_block_device(place):
            assert_device_can_be_written(place, replace=replace)
            return
        if place.resolve() == self.path.resolve():
            raise UsageError(f"{str(place)!r} cannot be the data file of itself")
        with atomic_write(place, replace=replace, published=published) as draft:
            draft.touch()


def _json(force_share: bool) -> list[str]:
    return ["--output=json", *(["-U"] if force_share else [])]


def _objects(done: Completed) -> list[JsonValue]:
    value = done.json()
    if not isinstance(value, list):
        raise done.failure("printed JSON of another form")
    return value


def _bench_words(
    count: int,
    buffer_size: int | str,
    depth: int,
    offset: int | str,
    step_size: int | str | None,
    aio: AioMode | None,
    native: bool,
    cache: CacheMode | None,
) -> list[str]:
    """Return what every benchmark is told."""
    return flags(
        count=("-c", count),
        buffer_size=("-s", to_bytes(buffer_size)),
        depth=("-d", depth),
        offset=("-o", to_bytes(offset)),
        step_size=("-S", None if step_size is None else to_bytes(step_size)),
        aio=("-i", aio),
        native=("-n", native),
        cache=("-t", cache),
    )


def _snapshot_words(snapshot: str | None) -> list[str]:
    """Return the option that names an internal snapshot."""
    return [] if snapshot is None else ["-l", f"snapshot.name={doubled(snapshot)}"]


async def _measure(
    programs: Programs,
    format_or_options: ImageFormat | CreationOptions,
    words: Sequence[str],
    target: Target | None,
    timeout: float | None,
    confinement: Confinement | None = None,
) -> BlockMeasureInfo:
    wanted = options_of(format_or_options)
    created = creation_words(wanted, key_secret=NEW_KEY if is_encrypted(wanted) else None)
    secrets: Mapping[str, Secret] = {} if target is None else target.secrets
    async with within(timeout, f"the measure of an image of format {wanted.format}"):
        done = await luks_at_last(
            lambda: ask(
                [*programs.qemu_img, "measure"],
                ["-O", wanted.format, *created, *words, *(target.words() if target else [])],
                timeout=None,
                secrets={**secrets, NEW_KEY: _MEASURED},
                confinement=confinement,
            )
        )
    return decode(BlockMeasureInfo, done.json_object())


def _written(draft: str, options: CreationOptions | None) -> list[StrPath]:
    """What a tool writes that makes an image: a draft has a directory of its own."""
    place = as_path(draft)
    data_file = options.data_file if isinstance(options, CreateQcow2) else None
    return [
        place if is_block_device(place) else place.parent,
        *([] if data_file is None else [as_file(data_file)]),
    ]
