"""Requests to a node of a VM, which QEMU carries out for its monitor: human command ``qemu-io``.

The one mechanism: QEMU prints the answer to its own stdout, line by line, before the command
returns; it is what is printed meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.qemu_io import checked
from qemu_blocksdk.tools.qemu_io_answers import is_complaint
from qemu_blocksdk.tools.qemu_io_dialog import IoDialog
from qemu_blocksdk.tools.qemu_io_session import Answer
from qemu_blocksdk.wire import HumanMonitorCommand

from ._base import naming, subject
from .io_requests import IoRequests

if TYPE_CHECKING:
    from .node import AsyncNode


@sealed_class
class AsyncNodeIo(IoRequests):
    """Requests to a node through the monitor, without a guest or an export.

    They go past what uses the node, under the same permissions. Offsets and lengths are in
    bytes. Raises ToolError with qemu-io's words, UsageError for what cannot be right,
    Unsupported for a storage daemon and for a VM that somebody else started.
    """

    def __init__(self, node: AsyncNode) -> None:
        self._node = node

    @property
    def _running(self) -> IoDialog:
        limit = self._node._qmp._command_timeout
        return IoDialog(_Monitor(self._node), timeout=limit, subject=subject(self._node))

    async def _raw(self, command: str, timeout: float | None) -> str:
        answer = await _Monitor(self._node).ask(checked(command), timeout=timeout)
        text = answer.complaints + answer.text
        # Of the format, `info` tells the monitor, to which others complain.
        told_well = not answer.complaints or command.split()[0] == "info"
        if is_complaint(text) or not told_well:
            raise self._running.failure(command, text)
        return text

    def __repr__(self) -> str:
        return f"<qemu-io of {subject(self._node)}>"


class _Monitor:
    """A QEMU that is told what qemu-io would be."""

    def __init__(self, node: AsyncNode) -> None:
        self._node = node

    @property
    def argv(self) -> tuple[str, ...]:
        return "qemu-io", self._node.name

    async def ask(self, line: str, *, timeout: float | None) -> Answer:
        words = f"qemu-io {quoted(self._node.name)} {quoted(line)}"
        command = HumanMonitorCommand(command_line=words)
        with naming(self._node, command):
            said, printed = await self._node._qmp._execute_and_read(command, timeout=timeout)
        return Answer(printed, said)


def quoted(text: str) -> str:
    """Return a text as the human monitor takes it for one word."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
