"""Several nodes as one: a chain of layers, and what they are called; a quorum.

Nothing is read from images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from qemu_blocksdk.codec import NULL
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.wire.blockdev import BackedOptions, BlockdevOptions, BlockdevRef, Quorum

from .constraints import LONGEST_NAME
from .layers import assert_options


@sealed
def chain(layers: Sequence[BlockdevOptions], *, node_name: str | None = None) -> BlockdevOptions:
    """Return the options of layers that each are over the next, the top first.

    The lowest is over nothing (``NULL``), unless it says what it is over. With ``node_name``
    the layers are called so: ``disk``, ``disk-1``, ...; else they keep their names. Raises
    UsageError for no layer at all, and for one over another whose format has no backing.
    """
    if not layers:
        raise UsageError("a chain needs a layer")
    below: BlockdevOptions | None = None
    for number, each in reversed(list(enumerate(layers))):
        assert_options(each)
        layer = each
        if isinstance(layer, BackedOptions):
            layer = layer.with_backing(below or layer.backing or NULL)
        elif below is not None:
            raise UsageError(f"layer {number} is {layer.driver}, which has no backing")
        below = layer if node_name is None else layer.named(layer_name(node_name, number))
    return cast("BlockdevOptions", below)


@sealed
def quorum(*children: BlockdevRef, vote_threshold: int | None = None) -> Quorum:
    """Return the options of several nodes that vote on what is read, and are all written.

    So many as ``vote_threshold`` have to agree: without it, more than half. Raises UsageError for
    no children.
    """
    if not children:
        raise UsageError("a quorum needs children")
    majority = len(children) // 2 + 1
    return Quorum(children=children, vote_threshold=vote_threshold or majority)


def layer_name(node_name: str, number: int) -> str:
    """Return what a layer of a chain is called: cut short where a name would be too long."""
    if not number:
        return node_name
    suffix = f"-{number}"
    return node_name[: LONGEST_NAME - len(suffix)] + suffix
