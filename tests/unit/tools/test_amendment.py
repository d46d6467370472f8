"""Amend options: from typed values to the words of a command line."""

from __future__ import annotations

import pytest

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.amendment import AmendLuks, AmendOptions, AmendQcow2, amendment_words

NEW, OLD = Secret("new-passphrase"), Secret("old-passphrase")
IDS = {NEW: "id-of-new", OLD: "id-of-old"}


def words(options: AmendOptions) -> list[str]:
    return amendment_words(options, secret_id=IDS.__getitem__)


def test_a_key_slot_is_told_with_its_secrets_by_their_ids() -> None:
    options = AmendLuks(state="active", keyslot=0, new_secret=NEW, old_secret=OLD, iter_time=0.5)
    assert words(options) == [
        *("-o", "state=active"),
        *("-o", "keyslot=0"),
        *("-o", "new-secret=id-of-new"),
        *("-o", "old-secret=id-of-old"),
        *("-o", "iter-time=500"),
    ]


def test_the_key_slots_of_qcow2_are_told_with_the_prefix_of_its_encryption() -> None:
    options = AmendQcow2(compat="v3", encrypt=AmendLuks(state="inactive", old_secret=OLD))
    assert words(options) == [
        *("-o", "compat=v3"),
        *("-o", "encrypt.state=inactive"),
        *("-o", "encrypt.old-secret=id-of-old"),
    ]


def test_nothing_to_change_is_no_word() -> None:
    assert words(AmendQcow2()) == []


def test_a_passphrase_as_text_is_refused_and_not_shown() -> None:
    options = AmendLuks(state="active", new_secret="hunter2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose
    with pytest.raises(UsageError, match=r"^AmendLuks\.new_secret: str ") as caught:
        words(options)
    assert "hunter2" not in str(caught.value)


def test_a_secret_shows_nowhere() -> None:
    options = AmendQcow2(encrypt=AmendLuks(state="active", new_secret=NEW))
    assert "passphrase" not in repr(options)
    assert "new_secret=Secret(***)" in repr(options)
