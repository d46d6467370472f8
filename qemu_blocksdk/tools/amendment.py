"""What `qemu-img amend` can change of an image: its options and its key slots.

The size is changed by ``resize``, the backing file by ``rebase``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Generic, Literal

from qemu_blocksdk.codec import Secret, Value
from qemu_blocksdk.wire import QCryptoBlockLUKSKeyslotState

from .creation import Format_co, Qcow2Compat, RefcountBits
from .option_words import named, words
from .run import Path


class Amendment(Value, Generic[Format_co]):
    """Base of the changes of images, each class for one format."""

    _is_base: ClassVar[bool] = True


class AmendLuks(Amendment[Literal["luks"]]):
    """A change of the eight key slots of LUKS, for an image that its own secret opens.

    ``active`` puts ``new_secret`` into ``keyslot`` (0 to 7), which must be free, by default
    the first that is; ``iter_time`` as in `EncryptLuks`. ``inactive`` erases ``keyslot``, or
    each one that ``old_secret`` opens, and the last one only by force.
    """

    format: ClassVar[Literal["luks"]] = "luks"
    state: QCryptoBlockLUKSKeyslotState
    keyslot: int | None = None
    new_secret: Secret | None = None
    old_secret: Secret | None = None
    iter_time: float | None = None


class AmendQcow2(Amendment[Literal["qcow2"]]):
    """A change of a qcow2 image.

    ``data_file`` names another file for an image that has one; QEMU does not copy to it.
    ``data_file_raw`` can be cleared only. QEMU changes ``encrypt`` first, and keeps that
    when it refuses another option.
    """

    format: ClassVar[Literal["qcow2"]] = "qcow2"
    compat: Qcow2Compat | None = None
    refcount_bits: RefcountBits | None = None
    lazy_refcounts: bool | None = None
    data_file: Path | None = None
    data_file_raw: bool | None = None
    encrypt: AmendLuks | None = None


AmendOptions = AmendQcow2 | AmendLuks
"""The options of one format or the other."""


def amendment_words(options: AmendOptions, *, secret_id: Callable[[Secret], str]) -> list[str]:
    """Return the ``-o name=value`` words; ``secret_id`` tells by which id a secret is known.

    Raises UsageError for a value of a wrong type.
    """
    return words(dict(named(options, secret_id)))
