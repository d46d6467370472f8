"""Creation options against the tool: none is missing, and each does what it says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast, get_args, get_origin, get_type_hints

import attrs
import pytest

from qemu_blocksdk.tools.creation import CreateLuks, CreateQcow2, CreationOptions, ImageFormat
from tests.live.creation_samples import (
    SAMPLES,
    SIZE,
    Info,
    create,
    info,
    listed,
    objects,
    said,
    words,
)
from tests.live.helpers import run

FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
PREALLOCATED = {"qcow2", "raw", "luks"}
LEFT_OUT = {
    "size": "an argument of the call",
    "backing_file": "an argument of the call",
    "backing_fmt": "an argument of the call",
    "encryption": "deprecated: encrypt does that",
    "keep_data_file": "it adopts a data file that is there, and a new image has a new one",
    "detached-header": "QEMU 10.0 lists it, and refuses it up to some 10.0.x",
}


def is_contained(part: Info, whole: Info) -> bool:
    """Whether a report has all that it should; one in it counts as long as it has that."""
    return all(
        is_contained(cast("Info", value), cast("Info", whole[name]))
        if isinstance(value, dict)
        else whole[name] == value
        for name, value in part.items()
    )


@pytest.mark.parametrize("format", FORMATS)
def test_the_samples_have_every_option_of_a_format(format: ImageFormat) -> None:
    samples = [options for options, _ in SAMPLES if options.format == format]
    given = {name for sample in samples for name, v in vars(sample).items() if v is not None}
    assert given == {field.name for field in attrs.fields(type(samples[0]))}


@pytest.mark.parametrize("format", FORMATS)
def test_every_option_that_the_tool_lists_is_ours_or_has_its_reason(
    format: ImageFormat, tmp_path: Path
) -> None:
    known = {
        name for options, _ in SAMPLES if options.format == format for name in said(words(options))
    }
    offered = listed("create", format, tmp_path)
    assert known <= offered
    ineffective: set[str] = set() if format in PREALLOCATED else {"preallocation"}
    assert offered - known <= LEFT_OUT.keys() | ineffective


def test_the_formats_are_those_that_the_tool_creates(tmp_path: Path) -> None:
    found = re.search(r"Supported (?:image )?formats:(.*?)\n\n\S", run("qemu-img", "--help"), re.S)
    assert found is not None
    protocols = {"file", "host_cdrom", "host_device", "gluster", "iscsi", "iser", "nbd", "nfs"}
    protocols |= {"nvme", "rbd", "ssh"}
    creatable: set[str] = set()
    for name in set(found[1].split()) - protocols:
        argv = ["qemu-img", "create", "-f", name, "-o", "help", str(tmp_path / "none")]
        if subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0:
            creatable.add(name)
    assert creatable == set(FORMATS)


@pytest.mark.parametrize(("options", "expected"), SAMPLES, ids=lambda value: type(value).__name__)
def test_an_image_is_created_as_the_options_say(
    options: CreationOptions, expected: Info, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = info(create(options, tmp_path), options.format)
    assert told["format"] == options.format
    assert told["virtual-size"] == SIZE
    assert is_contained(expected, told), told


CHOICES: list[tuple[type, str, object]] = [
    (cls, option, choice)
    for cls in get_args(CreationOptions)
    if cls is not CreateLuks  # the choices of cryptography are those of the build
    for option, hint in get_type_hints(cls).items()
    if option != "format"
    for kind in get_args(hint)
    if get_origin(kind) is Literal
    for choice in get_args(kind)
]


@pytest.mark.parametrize(("cls", "option", "choice"), CHOICES)
def test_every_choice_that_we_offer_is_one_to_the_tool(
    cls: Callable[..., CreationOptions], option: str, choice: object, tmp_path: Path
) -> None:
    create(cls(**{option: choice}), tmp_path)


@pytest.mark.parametrize("format", sorted({*FORMATS} - PREALLOCATED))
def test_preallocation_has_no_effect_where_we_do_not_have_it(format: str, tmp_path: Path) -> None:
    sizes: set[int] = set()
    for mode in ("off", "falloc", "full"):
        image = tmp_path / mode
        words = ["-q", "-f", format, "-o", f"preallocation={mode}"]
        run("qemu-img", "create", *words, image, str(SIZE))
        sizes.add(image.stat().st_blocks)
    assert len(sizes) == 1


def test_a_detached_header_is_refused_or_stands_alone(tmp_path: Path) -> None:
    image = tmp_path / "image"
    options = "key-secret=old,iter-time=10,hash-alg=sha512,detached-header=on"
    argv = ["qemu-img", "create", "-q", "-f", "luks", *objects(tmp_path), "-o", options]
    done = subprocess.run(
        [*argv, str(image), str(SIZE)], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        assert "'detached-header'" in done.stderr
    else:
        assert image.stat().st_size < SIZE


@pytest.mark.parametrize(
    "name", [b"a,b=c", b"nbd:x", b"-o", b"new\nline", b"x,", b"q,help", b"\xff"]
)
def test_a_data_file_is_where_its_name_says(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create(CreateQcow2(data_file=name, data_file_raw=True), tmp_path)
    assert (tmp_path / os.fsdecode(name)).stat().st_size == SIZE
