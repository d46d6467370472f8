"""The QEMU programs of one place: which there are, their versions, what they can.

Every answer comes from the program itself, without the options it is otherwise given; it is
asked for when somebody wants to know, and once a binary, whichever object asks.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Literal, TypeVar

from qemu_blocksdk.qmp import gather
from qemu_blocksdk.schema import Schema
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.drivers import (
    DriverSupport,
    creatable,
    listed,
    openable,
    supports,
    told_creatable,
)
from qemu_blocksdk.tools.luks import LuksSupport, query_luks
from qemu_blocksdk.tools.programs import ProgramName
from qemu_blocksdk.tools.run import Completed, ask
from qemu_blocksdk.tools.version import Version

from .binary_cache import BinaryCache
from .emulator import BareVM, Emulator, query_emulator, query_version, schemas, versions
from .storage_daemon import AsyncStorageDaemon

T = TypeVar("T")
K = TypeVar("K")

DriverProgram = Literal["qemu", "qemu_img", "storage_daemon"]
"""A program that says which block drivers it has."""

ServerProgram = Literal["qemu", "storage_daemon"]
"""A program that speaks QMP."""

_drivers = BinaryCache[Mapping[str, DriverSupport]]()
_luks = BinaryCache[LuksSupport]()


@sealed_class
class AsyncToolchain:
    """The QEMU programs of one place, and what they say of themselves.

    An answer is kept until the binary is another. A program that is missing keeps none of
    the others from answering. Each question raises LaunchError where its program cannot be
    started, DeadlineExceeded where it does not answer, ToolError for an answer that makes
    no sense.
    """

    def __init__(self, programs: Programs | None = None, *, timeout: float = 10.0) -> None:
        """Name the programs, by default those in PATH; nothing is started yet.

        ``timeout`` is the time limit of each answer in seconds.
        """
        self._programs = Programs() if programs is None else programs
        self._timeout = timeout

    @property
    def programs(self) -> Programs:
        """Where the programs are; its ``find()`` and ``require()`` tell which there are."""
        return self._programs

    async def query_version(self, program: ProgramName) -> Version:
        """Ask a program for its version (``--version``)."""
        path = self._path(program)

        async def ask() -> Version:
            return Version.of(await self._ask(path, "--version"))

        return await versions.of(path, ask)

    async def query_versions(self) -> dict[ProgramName, Version]:
        """Ask each program that there is for its version, all at once.

        ``len(set(versions.values())) > 1`` shows that they are not of one QEMU.
        """
        found = self._programs.find()
        return await _together({program: self.query_version(program) for program in found})

    async def query_drivers(
        self, program: DriverProgram = "qemu_img"
    ) -> Mapping[str, DriverSupport]:
        """Ask a program which formats, protocols and filters it can use, by their names.

        For the storage daemon these are all that are compiled in; for the system emulator
        those that its whitelists leave. qemu-img is also asked of each whether it can
        create images, which takes a launch for each, and drivers are left out whose module
        is not installed.
        """
        match program:
            case "qemu":
                return (await self.query_emulator()).drivers
            case "storage_daemon":
                return await _drivers.of(self._path(program), self._ask_daemon)
            case "qemu_img":
                return await _drivers.of(self._path(program), self._ask_qemu_img)

    async def query_quorum(self, program: DriverProgram = "qemu_img") -> bool:
        """Tell whether a program has the ``quorum`` driver."""
        return "quorum" in await self.query_drivers(program)

    async def query_luks(self) -> LuksSupport:
        """Tell whether LUKS works: whether qemu-img opens an image that needs its ciphers."""
        path = self._path("qemu_img")
        return await _luks.of(path, lambda: query_luks([path], timeout=self._timeout))

    async def query_emulator(self) -> Emulator:
        """Ask the system emulator: target, default machine, accelerators, drivers."""
        return await query_emulator(self._path("qemu"), timeout=self._timeout)

    async def query_schema(self, program: ServerProgram = "qemu") -> Schema:
        """Ask a program which commands it has, with their arguments (``query-qmp-schema``)."""
        path = self._path(program)

        async def ask() -> Schema:
            kind = BareVM if program == "qemu" else AsyncStorageDaemon
            async with kind(
                program=path, launch_timeout=self._timeout, command_timeout=self._timeout
            ) as server:
                return await server.qmp.schema()

        return await schemas.of(path, ask)

    async def _ask_daemon(self) -> Mapping[str, DriverSupport]:
        path = self._path("storage_daemon")
        async with AsyncStorageDaemon(
            program=path, launch_timeout=self._timeout, command_timeout=self._timeout
        ) as daemon:
            versions.store(path, await query_version(daemon.qmp))
            schema = await daemon.qmp.schema()
            schemas.store(path, schema)
        names = openable(schema)
        return supports(names, writable=names, creatable=creatable(schema))

    async def _ask_qemu_img(self) -> Mapping[str, DriverSupport]:
        path = self._path("qemu_img")
        help = await self._ask(path, "--help")
        names = listed(help.stdout)
        if not names:
            raise help.failure("listed no formats")
        versions.store(path, Version.of(help))
        create = {name: self._ask(path, "create", "-f", name, "-o", "help") for name in names}
        told = {name: told_creatable(done) for name, done in (await _together(create)).items()}
        there = [name for name in names if told[name] is not None]
        return supports(there, writable=there, creatable=[name for name in there if told[name]])

    async def _ask(self, *words: str) -> Completed:
        return await ask(words, timeout=self._timeout, accept=(0, 1))

    def _path(self, program: ProgramName) -> str:
        return self._programs.words(program)[0]

    def __repr__(self) -> str:
        return f"<AsyncToolchain {self._programs!r}>"


async def _together(work: Mapping[K, Coroutine[object, None, T]]) -> dict[K, T]:
    return dict(zip(work, await gather(work.values()), strict=True))
