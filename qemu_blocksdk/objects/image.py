"""Disk images on disk: made and copied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Self, cast

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import ToolError, UsageError
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.atomic_write import (
    Published,
    assert_device_can_be_written,
    atomic_write,
    undo_on_failure,
)
from qemu_blocksdk.tools.chain import identity
from qemu_blocksdk.tools.creation import (
    CreateQcow2,
    CreationOptions,
    EncryptLuks,
    ImageFormat,
    creation_words,
    options_of,
)
from qemu_blocksdk.tools.luks_timing import luks_at_last
from qemu_blocksdk.tools.progress import ProgressReader
from qemu_blocksdk.tools.run import Path as StrPath
from qemu_blocksdk.tools.run import as_file, as_path, renamed
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.tools.target import NEW_KEY, secrets_of
from qemu_blocksdk.tools.testdata import unpack_sample, write_sector_markers
from qemu_blocksdk.tools.untrusted import TO_COPY, joined
from qemu_blocksdk.tools.words import CacheMode, flags

from .editable_image import EditableImage
from .image_options import is_block_device
from .live import subject
from .named_image import ReadOnlyFormat
from .operation import AsyncOperation
from .readable_image import snapshot_words
from .thread import in_thread


# The verbs that ask are in `ReadableImage`, those that change in place in `EditableImage`; here are
# those that make new images.
@sealed_class
class AsyncImage(EditableImage):
    """An image file.

    New images are made beside their final names and then renamed: what fails or is cancelled
    leaves what was there. A verb raises UsageError where a layer of a backing chain does not name
    the format of the next.
    """

    async def create(
        self,
        size: int | str | None = None,
        options: CreationOptions | None = None,
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
            await self._create(size, options, backing=backing, unsafe=unsafe, replace=replace)

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
    ) -> AsyncOperation[None]:
        """Start to copy the content into a new image (``qemu-img convert``).

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
        if in_place and options is not None:
            raise UsageError(f"{target!r} is there, so it keeps the options that it has")
        sources = [self, *append]
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
        words += [*snapshot_words(snapshot), "-f", self._format, "-O", target.format]
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

    # -- test data ----------------------------------------------------------------------

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
        return cls(path, format="raw", programs=programs)

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
        return cls(path, format=format, programs=programs)

    # -- what the verbs share -----------------------------------------------------------

    def _creation_words(self, options: CreationOptions | None) -> list[str]:
        if options is None and self._format == "qcow2" and self._secret is not None:
            options = CreateQcow2(encrypt=EncryptLuks())
        elif options is None:
            options = options_of(cast("ImageFormat", self._format))
        if options.format != self._format:
            raise UsageError(f"{type(options).__name__} is not for {self!r}")
        return creation_words(options, key_secret=None if self._secret is None else NEW_KEY)

    def _assert_not_among_sources(self, sources: Sequence[AsyncImage], *, untrusted: bool) -> None:
        """Raise UsageError where the image, which is to be written, is a source or behind one.

        Raises it as well for an untrusted source that is no file, and for a backing chain that
        loops or does not name its formats.
        """
        if untrusted:
            for image in (*sources, self):
                image._assert_is_a_file()
            files = {file: image._path for image in sources if (file := identity(image._path))}
            self._assert_not_among(files)
        else:
            for image in sources:
                self._assert_not_among(image._assert_openable(may_guess=False))

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


def _written(draft: str, options: CreationOptions | None) -> list[StrPath]:
    """What a tool writes that makes an image: a draft has a directory of its own."""
    place = as_path(draft)
    data_file = options.data_file if isinstance(options, CreateQcow2) else None
    return [
        place if is_block_device(place) else place.parent,
        *([] if data_file is None else [as_file(data_file)]),
    ]
