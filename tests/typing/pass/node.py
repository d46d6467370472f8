"""Nodes: what their verbs return, and the options that all jobs share."""

from __future__ import annotations

from typing import assert_type

from qemu_blocksdk import EventStream, Job, Node, NodeIo, StorageDaemon
from qemu_blocksdk.aio import AsyncJob, AsyncNode
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.graph import Edge
from qemu_blocksdk.objects import JobOptions, NodeEvent
from qemu_blocksdk.tools.qemu_io import IoResult
from qemu_blocksdk.wire import BlockdevCreateOptionsFile, BlockWriteThreshold, SnapshotInfo


def blocking(daemon: StorageDaemon, node: Node) -> None:
    assert_type(daemon.add_chain(Qcow2(node_name="n", file=File(filename="f"))), Node)
    assert_type(daemon.start_create(BlockdevCreateOptionsFile(filename="f", size=1)), Job)
    assert_type(node.start_backup(node, speed=0, auto_finalize=False, job_id="b"), Job)
    assert_type(node.start_commit(base=node, filter_node_name="f"), Job)
    assert_type(node.query_children(), list[Edge])
    assert_type(node.query_child("file"), Node)
    assert_type(node.delete_internal_snapshot("s"), SnapshotInfo)
    assert_type(node.events(), EventStream[NodeEvent])
    assert_type(node.set_write_threshold("64M"), EventStream[BlockWriteThreshold])
    assert_type(node.io, NodeIo)
    assert_type(node.io.read(0, 512), IoResult)
    options: JobOptions = {"auto_dismiss": False}
    assert_type(node.start_stream(**options), Job)


async def awaitable(node: AsyncNode) -> None:
    assert_type(await node.start_mirror(node, sync="top", speed=1), AsyncJob)
