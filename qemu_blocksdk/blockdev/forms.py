"""Options as texts, and back: JSON, ``-blockdev``, a ``json:`` file name, ``--image-opts``.

Writing says what the options say and judges nothing but whether the form can say it. Reading is
strict (``reading``): each error is a UsageError that begins with the place inside the options
(``disk.backing.file``), and shows no value. ``-drive``, which is about more than a node, is in
``drive``.

==================  ======  =======================================================
what                JSON    dotted names
==================  ======  =======================================================
null                yes     ``backing=``, with a warning of QEMU's
``backing=""``      yes     no, that is null
an empty object     yes     no
an empty list       yes     no
not UTF-8           no      yes
==================  ======  =======================================================
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from qemu_blocksdk.codec import JsonObject, JsonValue, Struct, encode
from qemu_blocksdk.codec import flatten as flatten
from qemu_blocksdk.codec.dotted import keyval, leaves, nested, pairs, text
from qemu_blocksdk.codec.json_text import assert_texts, from_text, place, to_text
from qemu_blocksdk.codec.typed import typed
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.wire import BlockdevOptions

from .reading import problem_of, read

_SCHEME = "json:"
_BLOCKDEV_SIZES = frozenset(("min-cluster-size",))
"""The integers that may have a suffix. QEMU 10.0: there is one, found by asking for each."""
IMAGE_OPTS_SIZES = _BLOCKDEV_SIZES | {
    *("align", "cache-size", "l2-cache-entry-size", "l2-cache-size", "log-sector-size"),
    *("max-discard", "max-transfer", "max-write-zero", "offset", "opt-discard"),
    *("opt-write-zero", "prealloc-align", "prealloc-size", "readahead"),
    *("refcount-cache-size", "size"),
}
"""The same where the options do not pass QAPI, in QEMU 7.2 and 10.0 alike."""


@sealed
def to_json(options: BlockdevOptions) -> str:
    """Return options as the JSON that ``blockdev-add`` takes.

    Raises UsageError for a text with a NUL, or that is not UTF-8.
    """
    return to_text(members_of(options))


@sealed
def from_json(given: str | JsonObject) -> BlockdevOptions:
    """Return the options that JSON describes, be it text or parsed.

    Raises UsageError for what ``blockdev-add`` takes in no QEMU that there is a snapshot of.
    """
    return read(from_text(given if isinstance(given, str) else to_text(given)))


@sealed
def to_blockdev(options: BlockdevOptions, *, dotted: bool = False) -> str:
    """Return options as the word after ``-blockdev``: JSON, or under dotted names.

    Raises UsageError as :func:`to_json`, or where dotted names cannot say it.
    """
    return keyval(leaf_texts(members_of(options))) if dotted else to_json(options)


@sealed
def from_blockdev(word: str) -> BlockdevOptions:
    """Return the options that the word after ``-blockdev`` describes.

    Raises UsageError as :func:`from_json`, for what is neither JSON nor ``name=text,...``, for a
    name that is there twice (QEMU takes the last), and for a list with a gap.
    """
    if word.startswith("{"):
        return from_json(word)
    return from_pairs(pairs(word, implied="driver"), sizes=_BLOCKDEV_SIZES)


@sealed
def to_filename(options: BlockdevOptions) -> str:
    """Return options as a file name, ``json:{...}``. Raises UsageError as :func:`to_json`."""
    return f"{_SCHEME}{to_json(options)}"


@sealed
def from_filename(name: str) -> BlockdevOptions:
    """Return the options that a file name ``json:{...}`` holds.

    As QEMU does, it takes dotted names in there as well, and texts for numbers and booleans:
    its own names of images that were opened by texts have them. Raises UsageError as
    :func:`from_json`, and for any other name.
    """
    if not name.startswith(_SCHEME):
        raise UsageError(f"options: expected a file name that begins with {_SCHEME}")
    json = from_text(name.removeprefix(_SCHEME))
    if not isinstance(json, dict) or problem_of(json) is None:
        return read(json)
    return from_pairs(list(leaves(json)), sizes=IMAGE_OPTS_SIZES)


@sealed
def to_image_opts(options: BlockdevOptions) -> str:
    """Return options as the tools take them with ``--image-opts``.

    Raises UsageError where dotted names cannot say it.
    """
    return keyval(leaf_texts(members_of(options)))


@sealed
def from_image_opts(word: str) -> BlockdevOptions:
    """Return the options that a tool would take with ``--image-opts``.

    Unlike in ``-blockdev`` every part has a name, and most sizes may have a suffix (``1.5M``).
    Raises UsageError as :func:`from_blockdev`, and for a name alone (QEMU takes that for ``on``,
    and warns).
    """
    return from_pairs(pairs(word), sizes=IMAGE_OPTS_SIZES)


@sealed
def to_opts(json: JsonValue) -> str:
    """Return JSON as one word, ``name=text,...``, as iotests' ``qmp_to_opts`` does.

    Unlike there, commas are doubled, numbers and booleans have texts as well, and null is a
    UsageError. What is empty vanishes, as in :func:`flatten`.
    """
    return keyval(flatten(json))


def members_of(options: BlockdevOptions) -> dict[str, JsonValue]:
    """Return options as JSON. Raises UsageError for what is no options at all."""
    if not isinstance(cast("object", options), Struct):
        raise UsageError(f"a {type(options).__name__} is none of the classes of blockdev")
    return encode(options)


def leaf_texts(members: JsonObject) -> dict[str, str]:
    """Return the texts of members under dotted names. Raises UsageError for what has none."""
    assert_texts(members, errors="surrogateescape")
    texts: dict[str, str] = {}
    for name, leaf in leaves(members) if members else ():
        at = place(members, name)
        is_backing = name.rpartition(".")[2] == "backing"
        if is_backing and leaf == "":
            raise UsageError(f"{at}: an empty name has no form on a command line but JSON")
        texts[name] = "" if is_backing and leaf is None else text(leaf, at=at)
    return texts


def from_pairs(
    given: Sequence[tuple[str, JsonValue]], *, sizes: Collection[str]
) -> BlockdevOptions:
    """Return the options that texts under dotted names describe. Raises UsageError."""
    names = [value for name, value in given if name == "node-name"]
    root = place({"node-name": names[0]} if names else {})
    tree = nested(given, root=root)
    try:
        json = typed(BlockdevOptions, tree, sizes=sizes)
    except RecursionError as error:
        raise UsageError(f"{root}: nested too deeply") from error
    assert_texts(json, errors="surrogateescape")
    return read(json)
