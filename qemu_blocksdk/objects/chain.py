"""Chains of nodes: which layers are there, and who holds them until when.

The one mechanism: a chain holds its layers by name. A layer that no chain holds any more is
removed when nothing in QEMU uses it either, at the latest with the next node that is. What is
known goes with the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import ClassVar

from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.blockdev.layers import layers
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    DeadlineExceeded,
    StateError,
    UsageError,
)
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.qmp import AsyncQmp, run_with_cleanup, shielded
from qemu_blocksdk.wire import BlockdevAdd, BlockdevDel, BlockdevOptions

from ._base import Live, subject
from .graph_query import query_edges


class Chain:
    """The names of the layers that a chain holds, the lowest first."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @property
    def top(self) -> str:
        """The name of the layer that all others are under."""
        return self.names[-1]


class Chains:
    """The chains of one connection, and the layers that they have added."""

    _known: ClassVar[weakref.WeakKeyDictionary[AsyncQmp, Chains]] = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self._chains: list[Chain] = []
        self._layers: dict[str, BlockdevOptions] = {}
        self._turn = asyncio.Lock()

    @classmethod
    def of(cls, qmp: AsyncQmp) -> Chains:
        """Return those of a connection."""
        return cls._known.setdefault(qmp, cls())

    async def add(self, owner: Live, options: BlockdevOptions) -> Chain:
        """Add the layers that are not there yet; when one fails, remove those just added.

        Errors name the ``owner``, as do all. Raises UsageError for the name of a layer that
        has other options.
        """
        wanted = layers(options)
        for layer in wanted.values():
            sound_name(layer)
        return await run_with_cleanup(
            self._add(owner, wanted),
            owner=owner._connection(),
            undo=lambda chain: self.remove(owner, chain),
        )

    async def _add(self, owner: Live, wanted: dict[str, BlockdevOptions]) -> Chain:
        async with self._turn:
            if self._layers.keys() & wanted.keys():
                self._forget_gone(await query_edges(owner))
            for name, layer in wanted.items():
                if self._layers.get(name, layer) != layer:
                    raise UsageError(f"node {name!r} is there already, with other options")
            added: list[str] = []
            try:
                for name in [name for name in wanted if name not in self._layers]:
                    await shielded(_add_layer(owner, name, wanted[name], added))
            except BaseException:
                await shielded(_remove(owner, added))
                raise
            self._layers = wanted | self._layers
            chain = Chain(*wanted)
            self._chains.append(chain)
            return chain

    async def remove(self, owner: Live, chain: Chain) -> None:
        """Let go of a chain; unless another holds it, its top is removed.

        Raises StateError the second time.
        """
        async with self._turn:
            if chain not in self._chains:
                raise StateError(subject(owner), verb="delete")
            others = [each for each in self._chains if each is not chain]
            if not any(chain.top in each.names for each in others):
                try:
                    await owner._execute(BlockdevDel(node_name=chain.top))
                except CommandError:
                    self._forget_gone(await query_edges(owner))
                    if chain.top not in self._layers:
                        self._chains = others
                        await self._sweep(owner)
                    raise
                self._layers.pop(chain.top, None)
            self._chains = others
            await self._sweep(owner)

    async def forget(self, owner: Live, name: str) -> None:
        """Take note that a node is gone, or is somebody else's from now on."""
        async with self._turn:
            self._layers.pop(name, None)
            self._chains = [chain for chain in self._chains if chain.top != name]
            await self._sweep(owner)

    async def _sweep(self, owner: Live) -> None:
        """Remove the layers that nobody holds and nothing uses, from the top down."""
        kept = {name for chain in self._chains for name in chain.names}
        if self._layers.keys() <= kept:
            return
        graph = await query_edges(owner)
        self._forget_gone(graph)
        edges = set(graph.edges)
        while free := self._layers.keys() - kept - {edge.child.name for edge in edges}:
            name = free.pop()
            edges.difference_update(graph[name].children)
            kept.add(name)
            with contextlib.suppress(CommandError):  # somebody just began to use it
                await owner._execute(BlockdevDel(node_name=name))
                del self._layers[name]

    def _forget_gone(self, graph: BlockGraph) -> None:
        there = {node.name for node in graph.nodes if node.type == "block-driver"}
        self._layers = {name: each for name, each in self._layers.items() if name in there}


async def _add_layer(owner: Live, name: str, layer: BlockdevOptions, added: list[str]) -> None:
    try:
        await owner._execute(BlockdevAdd(options=layer))
    except DeadlineExceeded:
        added.append(name)  # it may be there
        raise
    added.append(name)


async def _remove(owner: Live, names: list[str]) -> None:
    for name in reversed(names):
        with contextlib.suppress(BlockSdkError):
            await owner._execute(BlockdevDel(node_name=name))
