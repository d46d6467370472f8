"""The QEMUs of one test: started with its environment, reported if it fails, ended after it.

The pytest fixtures and the unittest classes both use :class:`Machines`, which knows neither.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from qemu_blocksdk import VM, Image, NbdServer, StorageDaemon
from qemu_blocksdk.aio import AsyncImage, AsyncNbdServer, AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.blocking import Qemu
from qemu_blocksdk.filters import sock_dir, test_dir
from qemu_blocksdk.objects import AsyncQemu, QemuOptions
from qemu_blocksdk.qmp import shielded
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import NbdServerOptions

from .env import TestEnv
from .qmp_log import QmpLog
from .report import Recorder, Section, describe, describe_async

if TYPE_CHECKING:
    from qemu_blocksdk import Console, Drive, InheritedFd
    from qemu_blocksdk.objects import Accelerator
    from qemu_blocksdk.tools.nbd import NbdAddress
    from qemu_blocksdk.wire import BlockExportOptions, DeviceAdd, NbdServerStart

P = TypeVar("P", bound=Qemu | NbdServer)
A = TypeVar("A", bound=AsyncQemu | AsyncNbdServer)


class VmOptions(QemuOptions, total=False):
    """Options of a test's VM; the environment gives the program and the machine."""

    machine: str | None
    accelerator: Accelerator | None
    console: Console | None
    fds: Sequence[InheritedFd]
    drives: Sequence[Drive]
    devices: Sequence[DeviceAdd]
    incoming: str | None


class StorageDaemonOptions(QemuOptions, total=False):
    """Options of a test's storage daemon; the environment gives the program."""

    nbd_server: NbdServerStart | None
    exports: Sequence[BlockExportOptions]


class ServerOptions(NbdServerOptions, total=False):
    """Options of a test's ``qemu-nbd``; by default its address is in ``sock_dir``."""

    address: NbdAddress


@sealed_class
class Machines:
    """Starts QEMUs for one test; the end of the block ends those that still run, the last first.

    The methods raise as the constructors of the objects and ``launch``.
    """

    def __init__(self, env: TestEnv) -> None:
        self._env = env
        self._log: QmpLog | None = None
        self._held = contextlib.ExitStack()
        self._numbers = itertools.count()
        self._started = list[tuple[Qemu | NbdServer, Recorder]]()
        self._awaitable = list[tuple[AsyncQemu | AsyncNbdServer, Recorder]]()
        self._sections_of_ended = list[Section]()

    @property
    def log(self) -> QmpLog:
        """The QMP messages of the QEMUs, from the first use of this on, after each is ready."""
        if self._log is None:
            self._log = QmpLog(self._env)
            for _, recorder in self._started:
                recorder.add_listener(self._log.add)
        return self._log

    def vm(self, **options: Unpack[VmOptions]) -> VM:
        """Start a VM; return it when it is ready."""
        recorder = self._prepare_vm(options)
        return self._launched(VM(program=self._env.programs.words("qemu"), **options), recorder)

    def storage_daemon(self, **options: Unpack[StorageDaemonOptions]) -> StorageDaemon:
        """Start a storage daemon; return it when it is ready."""
        recorder = self._prepare(options)
        program = self._env.programs.words("storage_daemon")
        return self._launched(StorageDaemon(program=program, **options), recorder)

    def async_vm(self, **options: Unpack[VmOptions]) -> AbstractAsyncContextManager[AsyncVM]:
        """Return a VM that runs during an ``async with`` block."""
        recorder = self._prepare_vm(options)
        return self._during(AsyncVM(program=self._env.programs.words("qemu"), **options), recorder)

    def async_storage_daemon(
        self, **options: Unpack[StorageDaemonOptions]
    ) -> AbstractAsyncContextManager[AsyncStorageDaemon]:
        """Return a storage daemon that runs during an ``async with`` block."""
        recorder = self._prepare(options)
        program = self._env.programs.words("storage_daemon")
        return self._during(AsyncStorageDaemon(program=program, **options), recorder)

    def nbd_server(self, image: Image, **options: Unpack[ServerOptions]) -> NbdServer:
        """Start a ``qemu-nbd`` that serves an image; return it when it is ready."""
        options.setdefault("address", self._socket())
        return self._launched(NbdServer(image, **options), Recorder())

    def async_nbd_server(
        self, image: Image | AsyncImage, **options: Unpack[ServerOptions]
    ) -> AbstractAsyncContextManager[AsyncNbdServer]:
        """Return a ``qemu-nbd`` that serves an image during an ``async with`` block."""
        options.setdefault("address", self._socket())
        aio = image if isinstance(image, AsyncImage) else image._async
        return self._during(AsyncNbdServer(aio, **options), Recorder())

    def describe(self) -> Sequence[Section]:
        """Return the state of each QEMU; those that run are queried for 2 s each at most.

        The test's directories are shown as ``TEST_DIR`` and ``SOCK_DIR``.
        """
        sections = [*self._sections_of_ended, *(describe(*each) for each in self._started)]
        return [self._shortened(each) for each in sections]

    async def describe_async(self) -> Sequence[Section]:
        """Like :meth:`describe`, including QEMUs that belong to the running event loop."""
        here = [await describe_async(*each) for each in self._awaitable]
        return [*self.describe(), *map(self._shortened, here)]

    def _shortened(self, section: Section) -> Section:
        short = test_dir(self._env.test_dir) | sock_dir(self._env.sock_dir)
        return section.evolve(text=short(section.text))

    def _prepare_vm(self, options: VmOptions) -> Recorder:
        options.setdefault("machine", self._env.default_machine)
        return self._prepare(options)

    def _prepare(self, options: QemuOptions) -> Recorder:
        recorder = Recorder()
        if (also := options.get("on_message")) is not None:
            recorder.add_listener(also)
        options["on_message"] = recorder
        return recorder

    def _socket(self) -> Path:
        # Not one of its own, which would be left where this process is killed.
        return self._env.sock_dir / f"nbd{next(self._numbers)}.sock"

    def _launched(self, program: P, recorder: Recorder) -> P:
        program.launch()
        self._held.push(program)
        self._started.append((program, recorder))
        self._log_from_now(recorder)
        return program

    @asynccontextmanager
    async def _during(self, program: A, recorder: Recorder) -> AsyncGenerator[A]:
        async with contextlib.AsyncExitStack() as held:
            await held.enter_async_context(program)
            self._awaitable.append((program, recorder))
            held.callback(self._awaitable.remove, (program, recorder))
            self._log_from_now(recorder)
            try:
                yield program
            except BaseException:
                # Whoever reports the failure comes when it is gone.
                self._sections_of_ended.append(await shielded(describe_async(program, recorder)))
                raise

    def _log_from_now(self, recorder: Recorder) -> None:
        if self._log is not None:
            recorder.add_listener(self._log.add)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<{len(self._started) + len(self._awaitable)} QEMUs of a test>"
