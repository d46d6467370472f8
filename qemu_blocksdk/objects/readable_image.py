"""Disk images on disk, as far as they are only read."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from qemu_blocksdk.codec import JsonValue, Secret, decode, doubled, evolved
from qemu_blocksdk.errors import SandboxUnavailable
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.threads import in_own_thread
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.creation import (
    CreationOptions,
    ImageFormat,
    creation_words,
    is_encrypted,
    options_of,
)
from qemu_blocksdk.tools.luks_timing import luks_at_last
from qemu_blocksdk.tools.probe import ImageProbe, probe
from qemu_blocksdk.tools.progress import ProgressReader
from qemu_blocksdk.tools.results import (
    BenchResult,
    BlockGraphInfo,
    BlockMeasureInfo,
    Comparison,
    ImageCheck,
    MapEntry,
)
from qemu_blocksdk.tools.run import Completed, Confinement, ask
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.tools.target import NEW_KEY, Target, secrets_of
from qemu_blocksdk.tools.untrusted import TO_ASK, joined
from qemu_blocksdk.tools.words import AioMode, CacheMode, flags
from qemu_blocksdk.wire import (
    SnapshotInfo,
)

from .named_image import NamedImage
from .operation import AsyncOperation

if TYPE_CHECKING:
    from .image import AsyncImage

_MEASURED = Secret("the size does not depend on it")


class ReadableImage(NamedImage):
    """What can be asked of an image.

    A verb that asks has a time limit, ``timeout`` in seconds; as many run at once as there
    are processors.

    All raise ToolError with the tool's words (no such file, no permission, locked by a
    running QEMU, not that format), LaunchError without the tool, DeadlineExceeded, and
    UsageError for a backing chain that loops.

    An ``untrusted`` image comes from a stranger. It is read as the format that was given, and
    what reads it can open no other file, connect to nothing, and has limits on memory, threads,
    output and processor time; the kernel enforces that (Landlock, seccomp, rlimits). An image with
    its data in other files, or behind a URI, is refused (UsageError). Where the kernel cannot
    enforce it, SandboxUnavailable is raised and nothing is read. The processor time is two minutes,
    and ten for each GiB that the file takes on the disk; give a ``timeout`` for less.
    """

    # -- questions ----------------------------------------------------------------------

    @classmethod
    async def probe(cls, path: str | os.PathLike[str]) -> ImageProbe:
        """Tell the format of a file by its header, and what makes it dangerous.

        No QEMU is started and no other file looked at. Raises UsageError for what is no
        regular file or block device, cannot be read, is empty or contradicts itself.
        """
        return await in_own_thread(lambda: probe(path))

    async def info(
        self, *, untrusted: bool = False, force_share: bool = False, timeout: float = 60.0
    ) -> BlockGraphInfo:
        """Return what the image says of itself (``qemu-img info``); no backing file is opened.

        Of an ``untrusted`` image, a backing file is named and an external data file left out, and
        ten seconds of processor time are the limit. It takes no more than the header, so where the
        kernel cannot enforce that no other file is opened, this verb relies on what it told QEMU.
        ``force_share`` reads one that a running QEMU has locked.
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
                done = await ask(confinement=evolved(confinement, is_unenforced=True))
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
        """Return which parts have data, are zero, are here or in which backing file.

        ``qemu-img map`` from ``start`` on, ``length`` bytes (None: to the end).
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
        words = [*_json(force_share), *snapshot_words(snapshot)]
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
        words = bench_words(count, buffer_size, depth, offset, step_size, aio, native, cache)
        words += ["-U"] if force_share else []
        return await self._bench(
            words, count, to_bytes(buffer_size), timeout=timeout, untrusted=untrusted
        )

    async def compare(
        self,
        other: AsyncImage,
        *,
        strict: bool = False,
        cache: CacheMode | None = None,
        untrusted: bool = False,
        force_share: bool = False,
    ) -> AsyncOperation[Comparison]:
        """Start to compare the content with another image's (``qemu-img compare``).

        ``strict`` counts a different size or allocation as a difference. With ``untrusted``
        neither image is trusted.
        """
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

    # -- what the verbs share -----------------------------------------------------------

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


def _json(force_share: bool) -> list[str]:
    return ["--output=json", *(["-U"] if force_share else [])]


def _objects(done: Completed) -> list[JsonValue]:
    value = done.json()
    if not isinstance(value, list):
        raise done.failure("printed JSON of another form")
    return value


def bench_words(
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


def snapshot_words(snapshot: str | None) -> list[str]:
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
