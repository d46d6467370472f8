"""The defaults that `explain` leaves out are the manual's, and QEMU's where it shows them."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import (
    NULL,
    BlockdevCacheOptions,
    BlockdevOptions,
    CopyBeforeWrite,
    File,
    NullAio,
    NullCo,
    Preallocate,
    Qcow2,
    Quorum,
    Raw,
    Vvfat,
    explain,
)
from qemu_blocksdk.blockdev import Blklogwrites as Log
from qemu_blocksdk.blockdev.defaults import COMMON, OF_DRIVER
from qemu_blocksdk.codec import JsonValue, decode, encode
from qemu_blocksdk.errors import CommandError
from qemu_blocksdk.schema.snapshots import available, load
from tests.live.helpers import MakeImage

pytestmark = pytest.mark.timeout(20)

SECTIONS = {
    "BlockdevOptions": ("", ""),
    "BlockdevCacheOptions": ("", "cache."),
    "BlkdebugInjectErrorOptions": ("blkdebug", "inject-error."),
    "BlkdebugSetStateOptions": ("blkdebug", "set-state."),
    "BlockdevOptionsBlkdebug": ("blkdebug", ""),
    "BlockdevOptionsBlklogwrites": ("blklogwrites", ""),
    "BlockdevOptionsCbw": ("copy-before-write", ""),
    "BlockdevOptionsCurlBase": ("http", ""),
    "BlockdevOptionsCurlFtps": ("ftps", ""),
    "BlockdevOptionsCurlHttp": ("http", ""),
    "BlockdevOptionsCurlHttps": ("https", ""),
    "BlockdevOptionsFile": ("file", ""),
    "BlockdevOptionsGluster": ("gluster", ""),
    "BlockdevOptionsIscsi": ("iscsi", ""),
    "BlockdevOptionsNbd": ("nbd", ""),
    "BlockdevOptionsNull": ("null-co", ""),
    "BlockdevOptionsPreallocate": ("preallocate", ""),
    "BlockdevOptionsQcow2": ("qcow2", ""),
    "Qcow2OverlapCheckFlags": ("qcow2", "overlap-check."),
    "BlockdevOptionsQuorum": ("quorum", ""),
    "BlockdevOptionsSsh": ("ssh", ""),
    "BlockdevOptionsVVFAT": ("vvfat", ""),
}
"""A section of the manual: its driver (none: all drivers), and what its members are below."""
NOT_FIXED = {
    # nothing at all, or anything
    *("pr-manager", "username", "password-secret", "proxy-username", "proxy-password-secret"),
    *("cookie", "inject-error.state", "inject-error.iotype", "inject-error.sector"),
    "set-state.state",
    # QEMU 7.2 and 10.0: an empty list of permissions is refused, so none is not a value.
    *("take-child-perms", "unshare-child-perms"),
    # of the image, the machine, another member or a library
    *("backing", "lazy-refcounts", "l2-cache-entry-size", "user", "group", "tcp-syn-count"),
    *("readahead-size", "page-cache-size", "debug"),
}
"""What the manual calls a default and a table cannot hold."""
NOT_TOLD = {
    *("size", "force-share", "pass-discard-other", "pass-discard-snapshot"),
    *("active", "min-cluster-size"),  # QEMU 7.2 has none
    *("inject-error.delay-ns", "force-range"),  # nor has 10.0
    *("debug", "logfile"),  # of gluster, which Debian's 11.1 has not
}
"""What is held against QEMU itself below, or against another page."""
IN_WORDS = {
    "True": "on|true",
    "False": "off|false",
    "0": "0|zero",
    "5": "5|EIO",
    str(256 << 10): "256 kB",
}


def manual(page: str) -> str:
    """The source of a manual page of this QEMU; skips where it is not installed."""
    program = shutil.which("qemu-img")
    assert program is not None
    root = Path(program).parents[1]
    for folder in (root / "share/man", root / "usr/share/man"):
        for found in folder.glob(f"man[17]/{page}.[17].gz"):
            text = gzip.decompress(found.read_bytes()).decode()
            text = re.sub(r"\\\(aq|\\\(dq", "'", text)
            return re.sub(r"\\f[BIRP]|\\[%&]", "", text).replace("\\-", "-")
    pytest.skip(f"the manual page {page} of this QEMU is not installed")


def members(page: str) -> dict[tuple[str, str], str]:
    """What a page says of each member of each object."""
    found: dict[tuple[str, str], str] = {}
    key, before = ("", ""), ""
    for line in page.splitlines():
        title = re.match(r"\.SS (\w+) \(\w+\)|\.B [A-Z]\w+ +([\w-]+) +\(Since", line)
        item = re.match(r"(?:\.B )?([a-z][\w-]*)(?:: | \()[^-]*?(?:$|-- )(.*)", line)
        if title:
            key = (title[1] or title[2], "")
        elif item and before.startswith((".TP", ".IP")):
            key = (key[0], item[1])
            found[key] = item[2]
        elif line.startswith((".SS", ".UNINDENT")):
            key = (key[0], "")
        elif key[1]:
            found[key] += f" {line}"
        before = line
    return found


def says(text: str, value: object) -> bool:
    """Whether a sentence has the value close to the word default."""
    words = IN_WORDS.get(str(value), re.escape(str(value)))
    some = r"\W+(?:[\w-]+\W+){0,6}?"
    return bool(re.search(rf"(?i)default\w*{some}(?:{words})\b|\b(?:{words}){some}default", text))


def test_the_tables_have_what_the_reference_says() -> None:
    said = {
        (section, member): text
        for (section, member), text in members(manual("qemu-qmp-ref")).items()
        if section.startswith(("Blkdebug", "BlockdevOptions", "BlockdevCache", "Qcow2Overlap"))
        and "default" in text.lower()
    }
    assert len(said) > 50
    snapshots = [load(name) for name in available()]
    wrong: list[str] = []
    told: set[str] = set()
    for (section, member), text in said.items():
        if section not in SECTIONS:
            wrong += [] if member in NOT_FIXED else [f"{section}.{member} is in no table: {text}"]
            continue
        driver, prefix = SECTIONS[section]
        table = OF_DRIVER[driver] if driver else COMMON
        path = ".".join(["blockdev-add", *([driver] if driver else []), prefix + member])
        if not any(snapshot.has(path) for snapshot in snapshots):
            continue  # of a later QEMU than those that the types know
        place = f"{prefix}{member}"
        place = f"{place}.mode" if member == "host-key-check" else place
        told.add(place)
        if place in table:
            if not says(text, table[place]):
                wrong.append(f"{section}.{place}: {table[place]!r}, not: {text}")
        elif place not in NOT_FIXED:
            wrong.append(f"{section}.{place} is in no table: {text}")
    assert "\n".join(wrong) == ""
    assert set(COMMON).union(*OF_DRIVER.values()) - told <= NOT_TOLD


def test_what_the_other_manual_says_of_discards_is_in_the_table() -> None:
    text = " ".join(manual("qemu-system").split())
    for member, word in (("snapshot", "on"), ("other", "off")):
        found = re.search(rf"\.B pass-discard-{member} .*?default: (\w+)", text)
        assert found is not None
        assert found[1] == word
        assert OF_DRIVER["qcow2"][f"pass-discard-{member}"] is (word == "on")


def nested(members: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The JSON of dotted names."""
    out: dict[str, JsonValue] = {}
    for place, value in members.items():
        outer, _, inner = place.partition(".")
        if inner:
            value = {**cast("Mapping[str, JsonValue]", out.get(outer, {})), inner: value}
        out[outer] = value
    return out


INSIDE = NullCo(node_name="inside")
SAMPLES: list[BlockdevOptions] = [
    INSIDE,
    NullAio(),
    Preallocate(file="inside"),
    Quorum(vote_threshold=1, children=["inside"]),
    Log(file="inside", log="log"),
    Raw(file="inside").blkdebug(),
    File(filename="disk.raw"),
    Qcow2(file=File(filename="disk.qcow2"), backing=NULL),
    CopyBeforeWrite(file="inside", target="log"),
    Vvfat(dir=".", read_only=True),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: cast("str", sample.driver))
def test_a_node_that_is_told_the_defaults_is_the_one_that_is_not(
    make_image: MakeImage,
    monkeypatch: pytest.MonkeyPatch,
    qemu_version: tuple[int, int],
    sample: BlockdevOptions,
) -> None:
    """QEMU takes each value, and whatever it tells of a node is the same."""
    usual = {**COMMON, **OF_DRIVER.get(sample.driver, {})}
    inside = [place for place in usual if place.startswith(("inject-error.", "overlap-check."))]
    newer = ["active", "min-cluster-size"] if qemu_version < (9, 2) else []
    wanted = {place: value for place, value in usual.items() if place not in (*inside, *newer)}
    plain = sample.named("node")
    told = decode(type(sample), {**nested(wanted), **encode(plain)})
    assert len(encode(told)) >= len(encode(plain)) + 6
    assert explain(told) == explain(plain)

    monkeypatch.chdir(make_image("disk.qcow2").parent)
    make_image("disk.raw", fmt="raw")
    infos: list[object] = []
    with StorageDaemon() as daemon:
        for each in (INSIDE, INSIDE.named("log")):
            daemon.add_node(each)
        for options in (plain, told):
            node = daemon.add_node(options)
            info = node.query_info()
            # A file name may tell the options, so it is not compared.
            image = info.image.evolve(filename="")
            # Nor are the children, whose names QEMU makes up.
            infos.append(info.evolve(file="", image=image, children=None))
            node.delete()
    assert infos[0] == infos[1]


def test_a_node_is_large_and_not_shared_by_itself(daemon: StorageDaemon) -> None:
    info = daemon.add_node(NullCo(node_name="n")).query_info()
    assert info.image.virtual_size == OF_DRIVER["null-co"]["size"]
    # It needs read-only, so it is refused where it is on.
    daemon.add_node(NullCo(node_name="not-forced", force_share=False))
    with pytest.raises(CommandError, match="force-share"):
        daemon.add_node(NullCo(node_name="forced", force_share=True))


def test_a_child_has_what_the_picture_says(daemon: StorageDaemon, make_image: MakeImage) -> None:
    """What does not show is inherited, what shows is not."""
    base, top = make_image("base.qcow2"), make_image("top.qcow2")
    cache = BlockdevCacheOptions(no_flush=True)
    backing = Qcow2(
        node_name="base",
        file=File(node_name="base-file", filename=str(base), read_only=True),
        cache=BlockdevCacheOptions(no_flush=False),
        backing=NULL,
    )
    file = File(node_name="top-file", filename=str(top), cache=BlockdevCacheOptions(direct=False))
    daemon.add_node(Qcow2(node_name="top", file=file, cache=cache, backing=backing))
    seen: dict[str, set[str]] = {}
    for name in ("top", "top-file", "base", "base-file"):
        info = daemon.node(name).query_info()
        told = {"read-only": info.ro, "cache.no-flush": info.cache.no_flush}
        seen[name] = {member for member, is_on in told.items() if is_on}
    assert seen == {
        "top": {"cache.no-flush"},
        "top-file": {"cache.no-flush"},
        "base": {"read-only"},
        "base-file": {"read-only"},
    }
    assert explain(Qcow2(node_name="top", file=file, cache=cache, backing=backing)) == (
        f"""\
top [qcow2] cache.no-flush=on
├─ file: top-file [file] filename={top}
└─ backing: base [qcow2] cache.no-flush=off backing=null
   └─ file: base-file [file] filename={base}"""
    )
