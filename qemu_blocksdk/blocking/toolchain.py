# Generated from objects/toolchain.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.toolchain.AsyncToolchain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.toolchain import AsyncToolchain
from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qemu_blocksdk.objects.emulator import Emulator
    from qemu_blocksdk.objects.toolchain import DriverProgram, ServerProgram
    from qemu_blocksdk.schema import Schema
    from qemu_blocksdk.tools import Programs
    from qemu_blocksdk.tools.drivers import DriverSupport
    from qemu_blocksdk.tools.luks import LuksSupport
    from qemu_blocksdk.tools.programs import ProgramName
    from qemu_blocksdk.tools.version import Version


class Toolchain(SyncProxy):
    """The QEMU programs of one place, and what they say of themselves.

    An answer is kept until the binary is another. A program that is missing keeps none of
    the others from answering. Each question raises LaunchError where its program cannot be
    started, DeadlineExceeded where it does not answer, ToolError for an answer that makes
    no sense.
    """

    @property
    def _async(self) -> AsyncToolchain:
        return cast("AsyncToolchain", self._reach())

    def __init__(self, programs: Programs | None = None, *, timeout: float = 10.0) -> None:
        """Name the programs, by default those in PATH; nothing is started yet.

        ``timeout`` is the time limit of each answer in seconds.
        """
        self._hold(background_loop.call(lambda: AsyncToolchain(programs, timeout=timeout)))

    @property
    def programs(self) -> Programs:
        """Where the programs are; its ``find()`` and ``require()`` tell which there are."""
        return self._async.programs

    def query_version(self, program: ProgramName) -> Version:
        """Ask a program for its version (``--version``)."""
        return background_loop.run(self._async.query_version(program))

    def query_versions(self) -> dict[ProgramName, Version]:
        """Ask each program that there is for its version, all at once.

        ``len(set(versions.values())) > 1`` shows that they are not of one QEMU.
        """
        return background_loop.run(self._async.query_versions())

    def query_drivers(self, program: DriverProgram = "qemu_img") -> Mapping[str, DriverSupport]:
        """Ask a program which formats, protocols and filters it can use, by their names.

        For the storage daemon these are all that are compiled in; for the system emulator
        those that its whitelists leave. qemu-img is also asked of each whether it can
        create images, which takes a launch for each, and drivers are left out whose module
        is not installed.
        """
        return background_loop.run(self._async.query_drivers(program))

    def query_quorum(self, program: DriverProgram = "qemu_img") -> bool:
        """Tell whether a program has the ``quorum`` driver."""
        return background_loop.run(self._async.query_quorum(program))

    def query_luks(self) -> LuksSupport:
        """Tell whether LUKS works: whether qemu-img opens an image that needs its ciphers."""
        return background_loop.run(self._async.query_luks())

    def query_emulator(self) -> Emulator:
        """Ask the system emulator: target, default machine, accelerators, drivers."""
        return background_loop.run(self._async.query_emulator())

    def query_schema(self, program: ServerProgram = "qemu") -> Schema:
        """Ask a program which commands it has, with their arguments (``query-qmp-schema``)."""
        return background_loop.run(self._async.query_schema(program))
