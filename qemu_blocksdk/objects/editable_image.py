"""Disk images on disk: changed in place, while no QEMU has them open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.amendment import AmendOptions, amendment_words
from qemu_blocksdk.tools.luks_timing import luks_at_last
from qemu_blocksdk.tools.progress import ProgressReader
from qemu_blocksdk.tools.results import BenchResult, ImageCheck
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.tools.words import AioMode, CacheMode, Preallocation, flags

from .chained_image import ChainedImage
from .operation import AsyncOperation
from .readable_image import bench_words

if TYPE_CHECKING:
    from .image import AsyncImage


class EditableImage(ChainedImage):
    """What changes an image in place.

    An operation that is cancelled or fails may leave the change half made: of a format with
    metadata, :meth:`check` tells. Formats are told all along a backing chain, or the verb is
    refused (UsageError).
    """

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
        self, options: AmendOptions, *, force: bool = False, cache: CacheMode | None = None
    ) -> AsyncOperation[None]:
        """Start to change options of the format, in place (``qemu-img amend``).

        ``force`` allows what may lose data for good (the last key slot). Raises UsageError
        for options of another format.
        """
        if options.format != self._format:
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
    ) -> AsyncOperation[None]:
        """Start to write the content into the backing file, in place (``qemu-img commit``).

        Or into ``base``, further down the chain: what lies between is then no longer valid.
        The image is emptied afterwards, unless told to ``drop`` that or a base is given.
        ``rate`` is in bytes a second.
        """
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
    ) -> AsyncOperation[None]:
        """Start to put the image on another backing file, or on none, in place.

        ``qemu-img rebase``: what differs between the old backing file and the new one is
        copied into the image. ``unsafe`` changes the name and format in the header only. To
        ``compress`` what is copied takes QEMU 8.2. ``force_share`` is for a new backing file
        that a running QEMU has locked.
        """
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
        words += bench_words(count, buffer_size, depth, offset, step_size, aio, native, cache)
        return await self._bench(
            words, count, to_bytes(buffer_size), timeout=timeout, may_guess=False
        )

    # -- internal snapshots -------------------------------------------------------------

    async def create_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Keep the content as it is now as an internal snapshot (``qemu-img snapshot -c``)."""
        await self._snapshot("-c", name, timeout)

    async def apply_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Take the content back to that of an internal snapshot, by name or id (``-a``)."""
        await self._snapshot("-a", name, timeout)

    async def delete_snapshot(self, name: str, *, timeout: float | None = None) -> None:
        """Delete an internal snapshot, by name or id (``-d``)."""
        await self._snapshot("-d", name, timeout)

    async def _snapshot(self, action: str, name: str, timeout: float | None) -> None:
        self._assert_openable(may_guess=False)
        # QEMU 7.2: `snapshot` has no -f and would guess, so the format is in the name.
        words = ["-q", action, name, *self._target.spelled_words()]
        await self._run("snapshot", words, timeout=timeout)

    # -- persistent bitmaps -------------------------------------------------------------

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

    async def _bitmap(self, name: str, words: Sequence[str]) -> None:
        await self._change("bitmap", words, after=[name])

    # -- what the verbs share -----------------------------------------------------------

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
