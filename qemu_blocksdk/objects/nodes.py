"""Several nodes of a QEMU at once: chains, changes together; and images that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qemu_blocksdk import wire  # whose domains load when they are used, thus not at import
from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.tools.atomic_write import assert_absent

from .chain import Chains
from .job import AsyncJob
from .live import Live
from .names import temporary_name
from .node import AsyncNode

if TYPE_CHECKING:
    from qemu_blocksdk.wire import BlockdevCreateOptions, BlockdevOptions


class Nodes(Live):
    """What a QEMU does with more than one node, or before there is one."""

    async def add_chain(self, options: BlockdevOptions) -> AsyncNode:
        """Add a node, and its children that have a ``node_name`` as nodes of their own, first.

        A child that an earlier chain added under that name is used again; those without a name
        are inside their parent. Deleting the node that is returned removes them all, except
        what another chain or node uses: that goes with its last user. Raises UsageError for a
        name that stands for something else, CommandError when QEMU refuses a node: the others
        are removed again then.
        """
        chain = await Chains.of(self._connection()).add(self, options)
        return AsyncNode(self._connection(), chain.top, chain)

    async def reopen(self, options: Sequence[BlockdevOptions]) -> None:
        """Open nodes with other options, all or none; see :meth:`AsyncNode.reopen`."""
        for each in options:
            sound_name(each)
        await self._execute(wire.BlockdevReopen(options=options))

    async def create(
        self,
        options: BlockdevCreateOptions,
        *,
        replace: bool = False,
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start to create a file, or the format in a node (``blockdev-create``).

        A format's ``file`` is the name of a node that is large enough or grows. QEMU would
        truncate a file that is there: that takes ``replace``, else it is a UsageError. What
        else goes wrong is in the job's error.
        """
        if isinstance(options, wire.BlockdevCreateOptionsFile):
            assert_absent(Path(options.filename), replace=replace)
        job_id = job_id or temporary_name(self._connection())
        command = wire.BlockdevCreate(job_id=job_id, options=options)
        return await AsyncJob._start(self, command, job_id=job_id, kind="create")
