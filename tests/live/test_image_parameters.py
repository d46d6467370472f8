"""Each parameter of an image's verbs arrives at qemu-img as the option that the page says."""

from __future__ import annotations

import inspect
import logging
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from qemu_blocksdk import Image, Operation
from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.tools import AmendQcow2, CreateQcow2
from tests.live.tool_options import Row, tables

MIB = 1 << 20
SMALL = CreateQcow2(cluster_size="4k")
AMENDED = AmendQcow2(lazy_refcounts=True)


class Images:
    """Images of 1 MiB: one with a snapshot, one on top of it and one apart, both with bitmaps."""

    def __init__(self, folder: Path) -> None:
        self.base, self.top, self.other, self.new = (
            Image(folder / name, format="qcow2") for name in ("base", "top", "other", "new")
        )
        self.base.create(MIB)
        self.other.create(MIB)
        self.base.create_snapshot("s")
        self.top.create(backing=self.base)
        self.top.add_bitmap("b")
        self.top.add_bitmap("c")
        self.other.add_bitmap("b")


Sample = Callable[[Images], object]
SAMPLES: Mapping[str, Sample] = {
    "add_bitmap()": lambda i: i.top.add_bitmap("x"),
    "add_bitmap(disabled=)": lambda i: i.top.add_bitmap("x", disabled=True),
    "add_bitmap(granularity=)": lambda i: i.top.add_bitmap("x", granularity="32k"),
    "amend(cache=)": lambda i: i.top.start_amend(AMENDED, cache="unsafe"),
    "amend(force=)": lambda i: i.top.start_amend(AMENDED, force=True),
    "amend(options=)": lambda i: i.top.start_amend(AMENDED),
    "apply_snapshot()": lambda i: i.base.apply_snapshot("s"),
    "backing_chain()": lambda i: i.top.backing_chain(),
    "backing_chain(force_share=)": lambda i: i.top.backing_chain(force_share=True),
    "chain_options(force_share=)": lambda i: i.top.chain_options("disk", force_share=True),
    "bench(aio=)": lambda i: i.top.bench(count=1, aio="threads"),
    "bench(buffer_size=)": lambda i: i.top.bench(count=1, buffer_size="8k"),
    "bench(cache=)": lambda i: i.top.bench(count=1, cache="none"),
    "bench(count=)": lambda i: i.top.bench(count=1),
    "bench(depth=)": lambda i: i.top.bench(count=1, depth=2),
    "bench(force_share=)": lambda i: i.top.bench(count=1, force_share=True),
    "bench(native=)": lambda i: i.top.bench(count=1, native=True, cache="none"),
    "bench(offset=)": lambda i: i.top.bench(count=1, offset="8k"),
    "bench(step_size=)": lambda i: i.top.bench(count=1, step_size="64k"),
    "check(cache=)": lambda i: i.top.check(cache="none"),
    "check(force_share=)": lambda i: i.top.check(force_share=True),
    "clear_bitmap()": lambda i: i.top.clear_bitmap("b"),
    "commit(base=)": lambda i: i.top.start_commit(base=i.base),
    "commit(cache=)": lambda i: i.top.start_commit(cache="unsafe"),
    "commit(drop=)": lambda i: i.top.start_commit(drop=True),
    "commit(rate=)": lambda i: i.top.start_commit(rate="100M"),
    "compare(cache=)": lambda i: i.top.start_compare(i.base, cache="none"),
    "compare(force_share=)": lambda i: i.top.start_compare(i.base, force_share=True),
    "compare(other=)": lambda i: i.top.start_compare(i.base),
    "compare(strict=)": lambda i: i.top.start_compare(i.base, strict=True),
    "convert(backing=)": lambda i: i.top.start_convert(i.new, backing=i.base),
    "convert(bitmaps=)": lambda i: i.top.start_convert(i.new, bitmaps=True),
    "convert(compress=)": lambda i: i.top.start_convert(i.new, compress=True),
    "convert(copy_range=)": lambda i: i.top.start_convert(i.new, copy_range=True),
    "convert(force_share=)": lambda i: i.top.start_convert(i.new, force_share=True),
    "convert(in_place=)": lambda i: i.top.start_convert(i.other, in_place=True),
    "convert(options=)": lambda i: i.top.start_convert(i.new, SMALL),
    "convert(out_of_order=)": lambda i: i.top.start_convert(i.new, out_of_order=True),
    "convert(parallel=)": lambda i: i.top.start_convert(i.new, parallel=2),
    "convert(rate=)": lambda i: i.top.start_convert(i.new, rate="100M"),
    "convert(salvage=)": lambda i: i.top.start_convert(i.new, salvage=True),
    "convert(skip_broken_bitmaps=)": lambda i: i.top.start_convert(
        i.new, bitmaps=True, skip_broken_bitmaps=True
    ),
    "convert(snapshot=)": lambda i: i.base.start_convert(i.new, snapshot="s"),
    "convert(source_cache=)": lambda i: i.top.start_convert(i.new, source_cache="none"),
    "convert(sparse_size=)": lambda i: i.top.start_convert(i.new, sparse_size=0),
    "convert(target=)": lambda i: i.top.start_convert(i.new),
    "convert(target_cache=)": lambda i: i.top.start_convert(i.new, target_cache="none"),
    "convert(target_is_zero=)": lambda i: i.top.start_convert(
        i.other, in_place=True, target_is_zero=True
    ),
    "create(backing=)": lambda i: i.new.create(backing=i.base),
    "create(options=)": lambda i: i.new.create(MIB, SMALL),
    "create(unsafe=)": lambda i: i.new.create(MIB, backing=i.base, unsafe=True),
    "create_snapshot()": lambda i: i.top.create_snapshot("x"),
    "dd(block_size=)": lambda i: i.top.dd(i.new, block_size="64k"),
    "dd(count=)": lambda i: i.top.dd(i.new, count=8),
    "dd(force_share=)": lambda i: i.top.dd(i.new, force_share=True),
    "dd(skip=)": lambda i: i.top.dd(i.new, skip=8),
    "dd(target=)": lambda i: i.top.dd(i.new),
    "delete_snapshot()": lambda i: i.base.delete_snapshot("s"),
    "disable_bitmap()": lambda i: i.top.disable_bitmap("b"),
    "enable_bitmap()": lambda i: i.top.enable_bitmap("b"),
    "info(force_share=)": lambda i: i.top.info(force_share=True),
    "map(force_share=)": lambda i: i.top.map(force_share=True),
    "map(length=)": lambda i: i.top.map(length="64k"),
    "map(start=)": lambda i: i.top.map(start="64k"),
    "measure(force_share=)": lambda i: i.top.measure("raw", force_share=True),
    "measure(options=)": lambda i: i.top.measure(SMALL),
    "measure(snapshot=)": lambda i: i.base.measure("raw", snapshot="s"),
    "measure_size(options=)": lambda _: Image.measure_size(MIB, SMALL),
    "measure_size(size=)": lambda _: Image.measure_size(MIB, "raw"),
    "merge_bitmap(source=)": lambda i: i.top.merge_bitmap("b", "c"),
    "merge_bitmap(source_image=)": lambda i: i.top.merge_bitmap("b", "b", source_image=i.other),
    "rebase(backing=)": lambda i: i.top.start_rebase(i.other),
    "rebase(backing_cache=)": lambda i: i.top.start_rebase(i.other, backing_cache="none"),
    "rebase(cache=)": lambda i: i.top.start_rebase(i.other, cache="none"),
    "rebase(compress=)": lambda i: i.top.start_rebase(i.other, compress=True),
    "rebase(force_share=)": lambda i: i.top.start_rebase(i.other, force_share=True),
    "rebase(unsafe=)": lambda i: i.top.start_rebase(i.other, unsafe=True),
    "remove_bitmap()": lambda i: i.top.remove_bitmap("b"),
    "repair(cache=)": lambda i: i.top.repair(cache="none"),
    "repair(what=)": lambda i: i.top.repair("all"),
    "resize(preallocation=)": lambda i: i.other.resize("2M", preallocation="metadata"),
    "resize(shrink=)": lambda i: i.other.resize("-64k", shrink=True),
    "snapshots(force_share=)": lambda i: i.top.snapshots(force_share=True),
    "write_bench()": lambda i: i.top.write_bench(count=1),
    "write_bench(aio=)": lambda i: i.top.write_bench(count=1, aio="threads"),
    "write_bench(buffer_size=)": lambda i: i.top.write_bench(count=1, buffer_size="8k"),
    "write_bench(cache=)": lambda i: i.top.write_bench(count=1, cache="none"),
    "write_bench(count=)": lambda i: i.top.write_bench(count=1),
    "write_bench(depth=)": lambda i: i.top.write_bench(count=1, depth=2),
    "write_bench(drain=)": lambda i: i.top.write_bench(
        count=8, depth=2, flush_interval=4, drain=False
    ),
    "write_bench(flush_interval=)": lambda i: i.top.write_bench(count=8, depth=2, flush_interval=4),
    "write_bench(native=)": lambda i: i.top.write_bench(count=1, native=True, cache="none"),
    "write_bench(offset=)": lambda i: i.top.write_bench(count=1, offset="8k"),
    "write_bench(pattern=)": lambda i: i.top.write_bench(count=1, pattern=7),
    "write_bench(step_size=)": lambda i: i.top.write_bench(count=1, step_size="64k"),
}

NOT_AN_OPTION = {"from_options()", "snapshots()"}
"""Told in JSON, and a part of what ``info`` answers."""
NOT_QEMU_IMGS = {"at_uri", "create_marked", "from_options", "options", "probe", "unpack_sample"}
"""Methods that run no tool."""
NO_OPTIONS = {
    *(
        "self",
        "timeout",
        "on_progress",
        "replace",
        "untrusted",
        "programs",
        "size",
        "name",
        "append",
    ),
    *("node_name", "key_secrets"),
}
"""Parameters that are ours, or stand on the command line without an option."""


def rows_about_images() -> dict[str, list[tuple[str, Row]]]:
    """For each place in ``Image``, the commands and options that the page has for it."""
    found: dict[str, list[tuple[str, Row]]] = {}
    for command, rows in tables().items():
        for row in rows if command.startswith("qemu-img ") else ():
            for reference in row.references:
                owner, _, place = reference.partition(".")
                if owner == "Image":
                    found.setdefault(place, []).append((command, row))
    return found


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Fresh images."""
    return Images(tmp_path)


def done(started: object) -> None:
    """Wait for the end of an operation; other verbs have ended."""
    if isinstance(started, Operation):
        started.run(timeout=30)


@pytest.mark.parametrize("place", SAMPLES)
def test_a_parameter_arrives_as_its_option(
    place: str, images: Images, qemu_version: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_about_images()[place]
    caplog.set_level(logging.DEBUG, logger="qemu_blocksdk.tools")
    if not any(each.is_in(qemu_version) for _, row in rows for each in row.spellings):
        with pytest.raises(Unsupported):
            done(SAMPLES[place](images))
        return
    done(SAMPLES[place](images))
    lines = [shlex.split(message) for message in caplog.messages]
    for command, row in rows:
        (words,) = [line[2:] for line in lines if line[:2] == command.split()]
        arrived = set(words) | {word[: word.find("=") + 1] for word in words}
        assert arrived & {spelling.text for spelling in row.spellings}


@pytest.mark.parametrize("verb", [Image.bench, Image.write_bench])
def test_a_benchmark_is_told_the_numbers_in_place_of_its_defaults(
    verb: Callable[..., object], images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="qemu_blocksdk.tools")
    verb(images.top, count=3, buffer_size="8k", depth=2, offset="64k", step_size="16k")
    assert " -c 3 -s 8192 -d 2 -o 65536 -S 16384 " in caplog.messages[0]


def test_what_the_page_has_of_images_is_tried() -> None:
    assert rows_about_images().keys() == SAMPLES.keys() | NOT_AN_OPTION


def test_the_page_has_every_parameter_that_is_an_option() -> None:
    members = inspect.getmembers(Image, callable)
    verbs = {name for name, _ in members if not name.startswith(("_", "start_"))}
    missing = [
        f"{verb}({parameter}=)"
        for verb in verbs - NOT_QEMU_IMGS
        for parameter in inspect.signature(getattr(Image, verb)).parameters.keys() - NO_OPTIONS
        if f"{verb}({parameter}=)" not in rows_about_images()
    ]
    assert missing == []
