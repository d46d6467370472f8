"""The base class of unittest for coroutines: a test's QEMUs are awaitable.

What is not in here and not in ``explained_case``, as waiting for a block job, the objects have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final, Unpack, cast
from unittest import IsolatedAsyncioTestCase

from qemu_blocksdk.aio import AsyncImage, AsyncNbdServer, AsyncStorageDaemon, AsyncVM

from .explained_case import ExplainedCase
from .images import AsyncImages
from .machines import ServerOptions, StorageDaemonOptions, VmOptions
from .report import Section

__unittest: Final = True


class AsyncQMPTestCase(ExplainedCase, IsolatedAsyncioTestCase):
    """A test of coroutines, with QEMUs of its own, which are gone after it::

    class TestCommit(AsyncQMPTestCase):
        async def asyncSetUp(self) -> None:
            self.vm = await self.launch_vm()

        async def test_without_a_job(self) -> None:
            assert await self.vm.query_jobs() == []

    A ``subTest`` that fails says nothing of the QEMUs: they cannot be asked from within the loop.
    """

    @cached_property
    def images(self) -> AsyncImages:
        """Makes the images of the test, and opens them in its QEMUs."""
        return AsyncImages(self.env)

    async def launch_vm(self, **options: Unpack[VmOptions]) -> AsyncVM:
        """Launch a VM for the rest of the test. Raises as :class:`AsyncVM` and its ``launch``."""
        return await self.enterAsyncContext(self.machines.async_vm(**options))

    async def launch_storage_daemon(
        self, **options: Unpack[StorageDaemonOptions]
    ) -> AsyncStorageDaemon:
        """Launch a storage daemon for the rest of the test. Raises as :meth:`launch_vm`."""
        return await self.enterAsyncContext(self.machines.async_storage_daemon(**options))

    async def launch_nbd_server(
        self, image: AsyncImage, **options: Unpack[ServerOptions]
    ) -> AsyncNbdServer:
        """Launch a ``qemu-nbd`` for the rest of the test. Raises as :meth:`launch_vm`."""
        return await self.enterAsyncContext(self.machines.async_nbd_server(image, **options))

    def _described(self) -> Sequence[Section]:
        # In the loop that the test ran in; not in typeshed.
        known = self._callAsync(self.machines.describe_async)  # type: ignore[attr-defined]
        return cast("Sequence[Section]", known)
