"""Amend options against the tool: none is missing, and each does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from qemu_blocksdk.tools.amendment import AmendLuks, AmendOptions, AmendQcow2, amendment_words
from qemu_blocksdk.tools.creation import CreateLuks, CreateQcow2, EncryptLuks
from tests.live.creation_samples import NEW, OLD, create, info, listed, objects, said
from tests.live.helpers import run

AMENDMENTS: list[AmendOptions] = [
    AmendQcow2(
        compat="v3",
        refcount_bits=64,
        lazy_refcounts=True,
        data_file="data",
        data_file_raw=False,
        encrypt=AmendLuks(
            state="active", keyslot=3, new_secret=NEW, old_secret=OLD, iter_time=0.01
        ),
    ),
    AmendLuks(state="active", keyslot=3, new_secret=NEW, old_secret=OLD, iter_time=0.01),
]


ARGUMENTS = {"size", "backing_file", "backing_fmt"}
"""Options for which there are ``resize`` and ``rebase``."""


def amend(image: str, options: AmendOptions, folder: Path) -> None:
    """Amend an image, described in the words of ``--image-opts``."""
    ids = {NEW: "new", OLD: "old"}
    changes = amendment_words(options, secret_id=ids.__getitem__)
    run("qemu-img", "amend", *objects(folder), *changes, "--image-opts", image)


@pytest.mark.parametrize("options", AMENDMENTS, ids=lambda options: options.format)
def test_every_change_that_the_tool_lists_is_ours_or_has_its_reason(
    options: AmendOptions, tmp_path: Path
) -> None:
    ids = {NEW: "new", OLD: "old"}
    known = said(amendment_words(options, secret_id=ids.__getitem__))
    offered = listed("amend", options.format, tmp_path)
    assert known <= offered
    assert offered - known <= ARGUMENTS
    assert None not in vars(options).values()


def test_amending_qcow2_changes_what_the_options_say(tmp_path: Path) -> None:
    image = create(CreateQcow2(compat="v2"), tmp_path)
    changes = AmendQcow2(compat="v3", refcount_bits=64, lazy_refcounts=True)
    amend(f"driver=qcow2,file.filename={image}", changes, tmp_path)
    told = info(image, "qcow2")
    assert (told["compat"], told["refcount-bits"], told["lazy-refcounts"]) == ("1.1", 64, True)


def test_amending_qcow2_tells_where_its_data_file_has_gone(tmp_path: Path) -> None:
    data, moved = tmp_path / "data", tmp_path / "moved,here"
    image = create(CreateQcow2(data_file=data, data_file_raw=True), tmp_path)
    moved.hardlink_to(data)
    changes = AmendQcow2(data_file=moved, data_file_raw=False)
    amend(f"driver=qcow2,file.filename={image}", changes, tmp_path)
    told = info(image, "qcow2")
    assert (told["data-file"], told["data-file-raw"]) == (str(moved), False)


@pytest.mark.parametrize("format", ["luks", "qcow2"])
def test_amending_fills_and_erases_key_slots(format: str, tmp_path: Path) -> None:
    options = CreateLuks(hash_alg="sha512", iter_time=0.01)
    in_qcow2 = CreateQcow2(encrypt=EncryptLuks(hash_alg="sha512", iter_time=0.01))
    image = create(options if format == "luks" else in_qcow2, tmp_path)

    def change(changes: AmendLuks, *, key: str) -> list[int]:
        member = "key-secret" if format == "luks" else "encrypt.key-secret"
        amend(
            f"driver={format},{member}={key},file.filename={image}",
            changes if format == "luks" else AmendQcow2(encrypt=changes),
            tmp_path,
        )
        told = info(image, format)
        slots = cast("dict[str, list[dict[str, object]]]", told.get("encrypt", told))["slots"]
        return [number for number, slot in enumerate(slots) if slot["active"]]

    add = AmendLuks(state="active", keyslot=3, new_secret=NEW, iter_time=0.01)
    assert change(add, key="old") == [0, 3]
    assert change(AmendLuks(state="inactive", old_secret=OLD), key="new") == [3]
