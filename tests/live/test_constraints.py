"""What ``check`` refuses of a driver, QEMU refuses as well; what is just within, QEMU takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import (
    Blkdebug,
    Blklogwrites,
    BlockdevCacheOptions,
    BlockdevOptions,
    CopyBeforeWrite,
    File,
    Http,
    Nbd,
    NullAio,
    NullCo,
    Preallocate,
    Qcow2,
    Quorum,
    Raw,
    Replication,
    Vvfat,
    check,
)
from qemu_blocksdk.errors import BlockSdkError, CommandError, Unsupported, UsageError
from qemu_blocksdk.wire import BlockdevAdd, SocketAddressInet, SocketAddressUnix
from tests.live.helpers import MakeImage

MIB = 1 << 20
NULL = NullCo(size=MIB)
RAW = File(filename="raw")
DISK = File(filename="disk.qcow2")
NOWHERE = SocketAddressUnix(path="nowhere")
NOBODY = SocketAddressInet(host="127.0.0.1", port="1")
URL = "http://127.0.0.1:1/disk"

WRONG: list[tuple[str, BlockdevOptions]] = [
    ("size", NullCo(size=-1)),
    ("size", NullAio(size=-512)),
    ("latency-ns", NullCo(latency_ns=-1)),
    ("size", Raw(file=RAW, size=1000)),
    ("size", Raw(file=RAW, size=-512)),
    ("offset", Raw(file=RAW, offset=-1)),
    ("align", Blkdebug(image=NULL, align=3)),
    ("align", Blkdebug(image=NULL, align=1 << 31)),
    ("max-transfer", Blkdebug(image=NULL, align=512, max_transfer=1000)),
    ("opt-write-zero", Blkdebug(image=NULL, align=512, opt_write_zero=1000)),
    ("max-write-zero", Blkdebug(image=NULL, opt_write_zero=1024, max_write_zero=1536)),
    ("opt-discard", Blkdebug(image=NULL, align=512, opt_discard=1000)),
    ("opt-discard", Blkdebug(image=NULL, opt_discard=(1 << 31) - 1)),
    ("max-transfer", Blkdebug(image=NULL, max_transfer=(1 << 31) - 1)),
    ("max-discard", Blkdebug(image=NULL, opt_discard=1024, max_discard=1536)),
    ("max-discard", Blkdebug(image=NULL, max_discard=(1 << 31) - 1)),
    ("l2-cache-entry-size", Qcow2(file=DISK, l2_cache_entry_size=256)),
    ("l2-cache-entry-size", Qcow2(file=DISK, l2_cache_entry_size=1000)),
    ("l2-cache-size", Qcow2(file=DISK, cache_size=MIB, l2_cache_size=2 * MIB)),
    ("refcount-cache-size", Qcow2(file=DISK, cache_size=MIB, refcount_cache_size=2 * MIB)),
    ("cache-size", Qcow2(file=DISK, cache_size=-1)),
    (
        "cache-size",
        Qcow2(file=DISK, cache_size=MIB, l2_cache_size=MIB // 2, refcount_cache_size=MIB // 2),
    ),
    ("cache-clean-interval", Qcow2(file=DISK, cache_clean_interval=1 << 33)),
    ("prealloc-align", Preallocate(file=RAW, prealloc_align=1000)),
    ("log-sector-size", Blklogwrites(file=NULL, log=RAW, log_sector_size=1000)),
    ("log-sector-size", Blklogwrites(file=NULL, log=RAW, log_sector_size=0)),
    ("log-sector-size", Blklogwrites(file=NULL, log=RAW, log_sector_size=1 << 24)),
    ("cbw-timeout", CopyBeforeWrite(file=NULL, target=NULL, cbw_timeout=1 << 32)),
    ("min-cluster-size", CopyBeforeWrite(file=NULL, target=NULL, min_cluster_size=1000)),
    ("min-cluster-size", CopyBeforeWrite(file=NULL, target=NULL, min_cluster_size=1 << 32)),
    ("vote-threshold", Quorum(children=[NULL, NULL], vote_threshold=0)),
    ("vote-threshold", Quorum(children=[NULL, NULL], vote_threshold=3)),
    ("children", Quorum(children=[], vote_threshold=1)),
    ("blkverify", Quorum(children=[NULL, NULL], vote_threshold=1, blkverify=True)),
    ("blkverify", Quorum(children=[NULL] * 3, vote_threshold=2, blkverify=True)),
    ("fat-type", Vvfat(dir=".", fat_type=8, read_only=True)),
    ("label", Vvfat(dir=".", label="more than eleven", read_only=True)),
    ("readahead", Http(url=URL, readahead=1000, read_only=True)),
    ("timeout", Http(url=URL, timeout=-1, read_only=True)),
    ("export", Nbd(server=NOWHERE, export="x" * 4097)),
    ("reconnect-delay", Nbd(server=NOWHERE, reconnect_delay=1 << 32)),
    ("open-timeout", Nbd(server=NOWHERE, open_timeout=-1)),
    ("top-id", Replication(mode="primary", file=NULL, top_id="x")),
    ("top-id", Replication(mode="secondary", file=NULL)),
    ("detect-zeroes", NullCo(detect_zeroes="unmap")),
    ("aio", RAW.evolve(aio="native")),
    ("node-name", NullCo(node_name="1a")),
    ("node-name", NullCo(node_name="a" * 32)),
    ("node-name", NullCo(node_name="a/b")),
]
RIGHT: list[BlockdevOptions] = [
    NullCo(size=1000, latency_ns=(1 << 63) - 1),
    Raw(file=RAW, offset=1000, size=512),
    Blkdebug(image=NULL, align=1 << 30),
    Blkdebug(image=NULL, max_transfer=1000, opt_write_zero=1000, max_discard=(1 << 31) - 2),
    Blkdebug(image=NULL, align=512, opt_discard=1024, max_discard=2048),
    Qcow2(file=DISK, l2_cache_entry_size=512, cache_clean_interval=0),
    Qcow2(file=DISK, cache_size=1000),
    Qcow2(file=DISK, cache_size=MIB, l2_cache_size=MIB // 2),
    Preallocate(file=RAW, prealloc_align=1536, prealloc_size=1000),
    Blklogwrites(file=NULL, log=RAW, log_sector_size=1 << 23),
    CopyBeforeWrite(file=NULL, target=NULL, cbw_timeout=(1 << 32) - 1),
    CopyBeforeWrite(file=NULL, target=NULL, min_cluster_size=1 << 31),
    Quorum(children=[NULL, NULL], vote_threshold=2, blkverify=True),
    Quorum(children=[NULL], vote_threshold=1),
    Vvfat(dir=".", fat_type=32, label="just eleven", read_only=True),
    NullCo(detect_zeroes="unmap", discard="unmap"),
    RAW.evolve(aio="native", cache=BlockdevCacheOptions(direct=True)),
    RAW.evolve(aio_max_batch=-1),
    NullCo(node_name="a" * 31),
    NullCo(node_name="a.b-c_9"),
]


def _named(options: BlockdevOptions) -> BlockdevOptions:
    return options if options.node_name else options.named("top")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the files that the options name into the current folder."""
    make_image("disk.qcow2", size="1M")
    (tmp_path / "raw").write_bytes(bytes(MIB))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("member", "options"), WRONG, ids=[f"{o.driver}-{m}-{n}" for n, (m, o) in enumerate(WRONG)]
)
def test_qemu_refuses_what_check_refuses(member: str, options: BlockdevOptions) -> None:
    options = _named(options)
    with pytest.raises(UsageError, match=rf"^{options.node_name}\.{member}: "):
        check(options)
    # QEMU dies of some, so each has a QEMU of its own; what it lacks it refuses as well.
    with StorageDaemon() as daemon:
        with pytest.raises(UsageError, match=rf"^{options.node_name}\.{member}: "):
            daemon.add_node(options)
        with pytest.raises(BlockSdkError):
            daemon.qmp.execute(BlockdevAdd(options=options))
        with pytest.raises(BlockSdkError):
            daemon.node(options.node_name or "").delete()


def test_qemu_takes_what_check_takes(daemon: StorageDaemon, qemu_version: tuple[int, int]) -> None:
    refused: list[str] = []
    for options in map(_named, RIGHT):
        check(options)
        try:
            daemon.add_node(options).delete()
        except (CommandError, Unsupported) as error:
            refused.append(str(error))
    if qemu_version < (10, 0):
        refused = [each for each in refused if "has no member 'min-cluster-size'" not in each]
    assert refused == []
