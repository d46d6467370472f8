"""What clients that were killed have left in a QEMU that is not theirs, and its removal.

Temporary things are known by their names (:mod:`qemu_blocksdk.qmp.owner`). A thing is removed
only when its owner is proven dead, or when a person takes the responsibility (``force``). What
is in the way of something else goes first; a job is cancelled and never completed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import BlockSdkError, CommandError
from qemu_blocksdk.graph import GraphNode
from qemu_blocksdk.qmp.owner import forget_owner, owner_of, owner_state
from qemu_blocksdk.tools.private_directory import NAME, clear_dead, is_private, undo
from qemu_blocksdk.wire import (
    NbdServerStop,
    ObjectAdd,
    ObjectDel,
    ObjectOptionsAuthzSimple,
    ObjectPropertyInfo,
    QomGet,
    QomList,
    QomSet,
    QueryBlockExports,
    QueryJobs,
    QueryNamedBlockNodes,
)

from ._base import Live
from .export import AsyncExport
from .graph_query import query_graph
from .job import AsyncJob
from .names import temporary_name
from .node import AsyncNode

if TYPE_CHECKING:
    from qemu_blocksdk.graph import BlockGraph

LeftoverKind = Literal["job", "export", "nbd-server", "node", "bitmap", "object"]

_SERVER: Final = "nbd-server "
_CLAIMS: Final = "-claims-"
_SOCKET: Final = re.compile(r"blocksdk-[0-9a-z_]{8}/blocksdk-[0-9a-f]{8}-[0-9]+\.sock")
"""A socket in a temporary directory."""


class Leftover(Value):
    """A temporary thing in a QEMU whose owner is dead, or may be.

    ``is_proven``: the owner is dead. Otherwise it cannot be checked, because it was on
    another host, in another container or another user's, or did not disconnect before its end.
    ``node`` is that of a bitmap.
    """

    kind: LeftoverKind
    name: str
    owner: str
    is_proven: bool
    node: str | None = None

    def __str__(self) -> str:
        where = "" if self.node is None else f" of {self.node!r}"
        proof = "is dead" if self.is_proven else "cannot be checked"
        return f"{self.kind} {self.name!r}{where}, whose owner {proof}"


def claim_name(claimed: str, name: str) -> str:
    """Return the name of the bitmap that records the owner of the bitmap ``claimed``."""
    return f"{name}{_CLAIMS}{claimed}"


async def sign_server(qemu: Live, address: str) -> str:
    """Leave a note in a QEMU that its NBD server is of this client; return the object's id."""
    id = temporary_name(qemu._connection())
    options = ObjectOptionsAuthzSimple(id=id, identity=f"{_SERVER}{address}")
    await qemu._execute(ObjectAdd(options=options))
    return id


async def query_leftovers(qemu: Live) -> list[Leftover]:
    """Return what there is of owners that are not alive, and not this connection."""
    states: dict[str, str] = {}
    found: list[Leftover] = []

    def note(kind: LeftoverKind, name: str, node: str | None = None) -> None:
        owner = owner_of(name)
        if owner is None:
            return
        if owner not in states:
            states[owner] = owner_state(owner)
        if states[owner] != "alive":
            is_proven = states[owner] == "dead"
            found.append(
                Leftover(kind=kind, name=name, owner=owner, is_proven=is_proven, node=node)
            )

    for job in await qemu._execute(QueryJobs()):
        note("job", job.id)
    for export in await qemu._execute(QueryBlockExports()):
        note("export", export.id)
    for info in await qemu._execute(QueryNamedBlockNodes(flat=True)):
        name = info.node_name or ""
        note("node", name)
        for bitmap in info.dirty_bitmaps or ():
            note("bitmap", bitmap.name or "", name)
    for member in await _objects(qemu):
        if member.type == "child<authz-simple>" and owner_of(member.name) is not None:
            note("nbd-server", member.name)
        elif member.type.startswith("child<") and "monitor" not in member.type:
            # QEMU 11.1: its monitors are objects, ours among them.
            note("object", member.name)
    return found


async def _objects(qemu: Live) -> Sequence[ObjectPropertyInfo]:
    try:
        return await qemu._execute(QomList(path="/objects"))
    except CommandError as error:
        # A storage daemon has no such place before there is an object.
        if error.error_class != "DeviceNotFound":
            raise
        return ()


async def remove_leftovers(qemu: Live, *, force: bool) -> list[Leftover]:
    """Remove what dead clients left; with ``force`` also what nobody can be sure of."""
    found = [each for each in await query_leftovers(qemu) if each.is_proven or force]
    if not found:
        return []
    removal = _Removal(qemu, found)
    await removal.run()
    left = await query_leftovers(qemu)
    if removal.errors and any(each in left for each in found):
        raise removal.errors[0]
    for owner in {each.owner for each in found if each.is_proven}:
        if owner not in {each.owner for each in left}:
            forget_owner(owner)
    return [each for each in found if each not in left]


class _Removal:
    def __init__(self, qemu: Live, found: Sequence[Leftover]) -> None:
        self._qemu = qemu
        self._found = found
        self.errors: list[BlockSdkError] = []

    def _of(self, kind: LeftoverKind) -> list[Leftover]:
        return [each for each in self._found if each.kind == kind]

    async def run(self) -> None:
        graph = await query_graph(self._qemu)
        names = {each.name for each in self._of("node")}
        files = [_own_file(node) for node in graph.nodes if node.name in names]
        for job in self._of("job"):
            await self._try(self._remove_job(job, graph))
        for export in self._of("export"):
            await self._try(self._remove_export(export))
        for server in self._of("nbd-server"):
            await self._try(self._stop_server(server))
        await self._remove_nodes()
        for bitmap in self._of("bitmap"):
            await self._try(self._remove_bitmap(bitmap))
        await self._until_stuck(self._of("object"), self._remove_object)
        for file in files:
            if file is not None:
                _remove_private(file)

    async def _try(self, work: Awaitable[None]) -> None:
        try:
            await work
        except BlockSdkError as error:
            self.errors.append(error)

    async def _until_stuck(
        self, things: Sequence[Leftover], remove: Callable[[Leftover], Awaitable[None]]
    ) -> list[Leftover]:
        """Remove one after the other: what is in use goes once its users have gone."""
        while things:
            left: list[Leftover] = []
            errors: list[BlockSdkError] = []
            for each in things:
                try:
                    await remove(each)
                except BlockSdkError as error:
                    left.append(each)
                    errors.append(error)
            if len(left) == len(things):
                self.errors += errors
                return left
            things = left
        return []

    # -- one of each kind -----------------------------------------------------------------

    async def _remove_job(self, left: Leftover, graph: BlockGraph) -> None:
        qmp = self._qemu._connection()
        job = await AsyncJob.attach(qmp, left.name)
        await job.cancel()
        if job.status == "concluded":
            await job.dismiss()
        if job.result is None or job.result.outcome == "completed":
            return
        # A disk that was being moved: its new node has a lasting name, because it was to stay.
        new_disk = re.compile(rf"disk-{left.owner}-[0-9]+")
        for node in graph.nodes:
            if left.name in node.names and node.kind == "job":
                for edge in node.children:
                    if new_disk.fullmatch(edge.child.name):
                        await self._remove_moved(edge.child)

    async def _remove_moved(self, node: GraphNode) -> None:
        await AsyncNode(self._qemu._connection(), node.name).delete()
        with contextlib.suppress(CommandError):  # it has a secret only when it is encrypted
            await self._qemu._execute(ObjectDel(id=node.name))
        file = _own_file(node)
        if file is not None:
            clear_dead(file.parent)

    async def _remove_export(self, left: Leftover) -> None:
        qmp = self._qemu._connection()
        for info in await self._qemu._execute(QueryBlockExports()):
            if info.id == left.name:
                node = AsyncNode(qmp, info.node_name)
                await AsyncExport(qmp, info.id, info.type, node).delete(mode="hard")

    async def _stop_server(self, left: Leftover) -> None:
        exports = await self._qemu._execute(QueryBlockExports())
        if any(export.type == "nbd" for export in exports):
            return  # somebody else uses it by now
        path = f"/objects/{left.name}"
        identity = str(await self._qemu._execute(QomGet(path=path, property="identity")))
        with contextlib.suppress(CommandError):  # somebody else has stopped it
            await self._qemu._execute(NbdServerStop(), timeout=10.0)
        await self._remove_object(left)
        _remove_private(Path(identity.removeprefix(_SERVER)))

    async def _remove_nodes(self) -> None:
        left = self._of("node")
        while left:
            errors = len(self.errors)
            stuck = await self._until_stuck(left, self._remove_node)
            if not stuck or not await self._put_devices_back({each.name for each in stuck}):
                return
            del self.errors[errors:]
            left = stuck

    async def _remove_node(self, left: Leftover) -> None:
        await AsyncNode(self._qemu._connection(), left.name).delete()

    async def _put_devices_back(self, names: set[str]) -> bool:
        """Put the nodes below these filters back under the devices; return whether any were."""
        graph = await query_graph(self._qemu)
        moved = False
        for node in graph.nodes:
            below = node.filtered
            if node.kind != "node" or node.name not in names or below is None:
                continue
            for edge in node.parents:
                if edge.parent.kind != "device":
                    continue
                qdev = edge.parent._qdev
                path = qdev if qdev.startswith("/") else f"/machine/peripheral/{qdev}"
                with contextlib.suppress(CommandError):
                    await self._qemu._execute(QomSet(path=path, property="drive", value=below.name))
                    moved = True
        return moved

    async def _remove_bitmap(self, left: Leftover) -> None:
        qmp = self._qemu._connection()
        node = AsyncNode(qmp, left.node or "")
        # That first, because nobody would know whose it is without this one.
        claimed = left.name.partition(_CLAIMS)[2]
        if claimed:
            with contextlib.suppress(CommandError):
                await node.bitmap(claimed).remove()
        await node.bitmap(left.name).remove()

    async def _remove_object(self, left: Leftover) -> None:
        await self._qemu._execute(ObjectDel(id=left.name))


# -- files ----------------------------------------------------------------------------------


def _own_file(node: GraphNode) -> Path | None:
    """The file of an image that was opened with the node; of a filter there is none."""
    for edge in node.children:
        file = edge.child
        is_inside = edge.name == "file" and file.name.startswith("#")
        if is_inside and file.driver == "file" and file.filename:
            return Path(file.filename)
    return None


def _remove_private(file: Path) -> None:
    """Remove a file with its directory, if that is one of those that we make for a while."""
    folder = file.parent
    with contextlib.suppress(OSError):
        if not is_private(folder):
            return
        if NAME.fullmatch(folder.name) is not None:
            undo(folder)
        elif _SOCKET.fullmatch(f"{folder.name}/{file.name}") is not None:
            file.unlink(missing_ok=True)
            folder.rmdir()
