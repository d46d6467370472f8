"""``-drive``: the node, and what is beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.blockdev import (
    Blkdebug,
    BlockdevCacheOptions,
    Drive,
    File,
    NullCo,
    Qcow2,
    Raw,
    Rbd,
    from_drive,
    from_image_opts,
    to_drive,
    to_image_opts,
)
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import ThrottleLimits
from tests.unit.blockdev.any_options import DRIVERS, NEWEST, TEXTS, any_of

LIMITS = ThrottleLimits(iops_total=5, bps_read_max_length=7)
DEBUGGED = Qcow2(node_name="disk", file=Blkdebug(image=File(filename="a,b")), read_only=True)


@pytest.mark.parametrize(
    ("drive", "word"),
    [
        (Drive(file="a,b", format="qcow2", id="d"), "file=a,,b,format=qcow2,if=virtio,id=d"),
        (Drive(interface=None, options=NullCo(size=5)), "driver=null-co,size=5"),
        (
            Drive(interface="none", cache="none", aio="native", options=DEBUGGED),
            "if=none,cache=none,aio=native,driver=qcow2,file.driver=blkdebug,"
            "file.image.driver=file,file.image.filename=a,,b,node-name=disk,read-only=on",
        ),
        (
            Drive(
                throttling=LIMITS, throttling_group="g", options=File(filename="f", aio="native")
            ),
            "if=virtio,throttling.iops-total=5,throttling.bps-read-max-length=7,"
            "throttling.group=g,driver=file,filename=f,aio=native",
        ),
        (
            Drive(file="f", index=1, bus=0, unit=2, copy_on_read=True, snapshot=False),
            "file=f,if=virtio,index=1,bus=0,unit=2,snapshot=off,copy-on-read=on",
        ),
        (
            Drive(cache="none", options=NullCo(cache=BlockdevCacheOptions(direct=False))),
            "if=virtio,cache=none,driver=null-co,cache.direct=off",
        ),
        (
            Drive(file="f", options={"file.locking": "off", "cache.direct": "on"}),
            "file=f,if=virtio,file.locking=off,cache.direct=on",
        ),
        (Drive(interface=None), ""),
    ],
)
def test_a_drive_is_written_and_read(drive: Drive, word: str) -> None:
    assert sorted(to_drive(drive).split(",")) == sorted(word.split(","))
    if word:
        assert from_drive(word) == drive


def test_a_path_is_written_as_its_name() -> None:
    assert to_drive(Drive(file=Path("d,isk"), interface=None)) == "file=d,,isk"


def test_the_driver_may_be_called_format_and_the_format_driver() -> None:
    assert from_drive("format=null-co,size=1k") == Drive(interface=None, options=NullCo(size=1024))
    assert from_drive("driver=qcow2,file=f") == Drive(interface=None, file="f", format="qcow2")


def test_a_word_of_old_is_read_as_todays() -> None:
    assert from_drive("file=f,readonly=on") == Drive(interface=None, file="f", read_only=True)


@st.composite
def drives(draw: st.DrawFn) -> Drive:
    options = draw(any_of(draw(st.sampled_from(DRIVERS)), NEWEST, 1))
    return Drive(
        id=draw(st.none() | TEXTS),
        interface=draw(st.none() | st.sampled_from(("none", "ide"))),
        unit=draw(st.none() | st.integers(0, 9)),
        snapshot=draw(st.none() | st.booleans()),
        rerror=draw(st.none() | st.sampled_from(("stop", "ignore"))),
        options=options,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    )


@given(drives())
def test_a_drive_of_any_driver_is_read_as_it_was_written_or_refused(drive: Drive) -> None:
    options = drive.options
    assert options is not None
    try:
        word = to_drive(drive)
    except UsageError as error:
        said = str(error)
        if "form on a command line" in said:
            with pytest.raises(UsageError):
                to_image_opts(options)  # type: ignore[arg-type] # pyright: ignore
        else:
            assert "file: means something" in said or isinstance(options, Rbd)
    else:
        assert from_drive(word) == drive


@pytest.mark.parametrize(
    ("drive", "sentence"),
    [
        (Drive(options=Raw(node_name="r", file="n")), "r.file: means something else in -drive"),
        (
            Drive(options=Rbd(pool="p", image="i", snapshot="s")),
            "options.snapshot: means something else in -drive",
        ),
        (
            Drive(read_only=True, options=NullCo(read_only=True)),
            "options.read-only: is given twice",
        ),
        (Drive(file="f", options={"file": "x"}), "options.file: is given twice"),
        (Drive(file="f", options=NullCo(node_name="n")), "n: the file and the format"),
        (Drive(format="raw", options=NullCo()), "options: the file and the format"),
        (Drive(id="a\0b"), "options.id: QEMU has no text with a NUL"),
    ],
)
def test_what_a_drive_cannot_say_is_refused(drive: Drive, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        to_drive(drive)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("if=nvme", "options.if: not a value that -drive has"),
        ("index=one", "options.index: not a value that -drive has"),
        ("file=f,snapshot=1", "options.snapshot: not a value that -drive has"),
        ("throttling.iops-total=5k", "options.throttling.iops-total: not a value"),
        ("if=none,if=ide", "options.if: is given twice"),
        ("file=f,file=g", "options.file: is given twice"),
        ("file=f,driver=raw,format=raw", "options.format: is given twice"),
        ("driver=null-co,format=null-co", "options.driver: is given twice"),
        ("read-only=on,readonly=on,file=f", "options.read-only: is given twice"),
        ("file=f,file.locking=on,file.locking=off", "options.file.locking: is given twice"),
        ("file=f,snapshot", "options: part 2 is not name=value"),
        ("disk.qcow2", "options: part 1 is not name=value"),
        ("file=f,", "options: part 2 is not name=value"),
        ("", "options: part 1 is not name=value"),
        ("driver=null-co,bps=5", "options.bps: no such member"),
        ("driver=null-co,throttling.x=5", "options.throttling: no such member"),
        ("driver=raw,node-name=r,file.driver=null-co,file.x=5", "r.file.x: no such member"),
        ("file.filename=f", "options.driver: mandatory member is missing"),
        ("driver=imaginary,aio=native", "options.driver: 'imaginary' is none of"),
    ],
)
def test_a_word_that_is_no_drive_is_named_by_its_place(word: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_drive(word)
    assert str(caught.value).startswith(sentence)


def test_options_alone_are_the_same_in_image_opts() -> None:
    assert to_drive(Drive(interface=None, options=DEBUGGED)) == to_image_opts(DEBUGGED)
    assert from_image_opts(to_drive(Drive(interface=None, options=DEBUGGED))) == DEBUGGED
