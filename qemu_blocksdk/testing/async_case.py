"""The unittest base class for coroutines, whose QEMUs are awaitable.

The parts that are common with the blocking class are in ``explained_case``. There are no methods to
wait for a block job, because the awaitable objects have them.
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
    """A test case of coroutines with QEMUs of its own, which end with the test::

        class TestCommit(AsyncQMPTestCase):
            async def asyncSetUp(self) -> None:
                self.vm = await self.launch_vm()

            async def test_without_a_job(self) -> None:
                assert await self.vm.query_jobs() == []

    The report of a ``subTest`` that fails has no state of the QEMUs: they cannot be queried from
    inside the running event loop.
    """

    @cached_property
    def images(self) -> AsyncImages:
        """Creates the images of the test and opens them in its QEMUs."""
        return AsyncImages(self.env)

    async def launch_vm(self, **options: Unpack[VmOptions]) -> AsyncVM:
        """Launch a VM that ends with the test. Raises as :class:`AsyncVM` and its ``launch``."""
        return await self.enterAsyncContext(self.machines.async_vm(**options))

    async def launch_storage_daemon(
        self, **options: Unpack[StorageDaemonOptions]
    ) -> AsyncStorageDaemon:
        """Launch a storage daemon that ends with the test. Raises as :meth:`launch_vm`."""
        return await self.enterAsyncContext(self.machines.async_storage_daemon(**options))

    async def launch_nbd_server(
        self, image: AsyncImage, **options: Unpack[ServerOptions]
    ) -> AsyncNbdServer:
        """Launch a ``qemu-nbd`` that ends with the test. Raises as :meth:`launch_vm`."""
        return await self.enterAsyncContext(self.machines.async_nbd_server(image, **options))

    def _described(self) -> Sequence[Section]:
        # In the loop that the test ran in; not in typeshed.
        known = self._callAsync(self.machines.describe_async)  # type: ignore[attr-defined]
        return cast("Sequence[Section]", known)
