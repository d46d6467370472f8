"""What the tests of nodes share: every kind of QEMU, chains of images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from qemu_blocksdk import Node
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.blocking import Qemu
from qemu_blocksdk.codec import Command
from qemu_blocksdk.wire import XDbgBlockGraph
from tests.live.helpers import MakeImage


class NoUnstableGraph(Command[XDbgBlockGraph]):
    """What a QEMU without the unstable command makes of it."""

    _name: ClassVar[str] = "x-debug-gone"


def chain_of(make_image: MakeImage) -> list[Path]:
    """Three images, each upon the one before, with data of its own: base, mid, top."""
    base = make_image("base.qcow2", write="-P 1 0 4M")
    mid = make_image("mid.qcow2", backing=base, write="-P 2 1M 1M")
    return [base, mid, make_image("top.qcow2", backing=mid, write="-P 3 2M 1M")]


def chain_options(paths: list[Path]) -> Qcow2:
    """The options of a chain, every layer and file with a name; the last is on top."""
    options: Qcow2 | None = None
    for path in paths:
        file = File(node_name=f"{path.stem}-file", filename=str(path))
        options = Qcow2(node_name=path.stem, file=file, backing=options)
    assert options is not None
    return options


def opened(qemu: Qemu, path: Path, name: str | None = None) -> Node:
    """Open an image; its file has no name of its own."""
    return qemu.add_node(Qcow2(node_name=name or path.stem, file=File(filename=str(path))))


def names(qemu: Qemu) -> set[str]:
    """The names of all nodes that are there."""
    return {node.name for node in qemu.graph().nodes if node.type == "block-driver"}
