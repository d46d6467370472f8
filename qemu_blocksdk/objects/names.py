"""Names that the SDK chooses for what it makes in a running QEMU."""

from __future__ import annotations

from qemu_blocksdk.qmp import AsyncQmp


def temporary_name(qmp: AsyncQmp) -> str:
    """Return a new name for a job, node, bitmap, ... that is gone with this client.

    :meth:`AsyncBlockLayer.clear_leftovers` finds by it what a killed client left.
    """
    return qmp._owner.temporary_name()


def lasting_name(qmp: AsyncQmp, kind: str) -> str:
    """Return a new name for what may outlast this client, as the node that a disk is moved to."""
    return qmp._owner.lasting_name(kind)
