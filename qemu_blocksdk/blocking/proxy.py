"""Base class of the blocking classes: a proxy of one async object on the background loop."""

from __future__ import annotations

from typing import Self

from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.sealed import sealed_class


class SyncProxy:
    """Hold an async object. Two proxies of the same object are equal.

    The async object belongs to the background loop, which a child of ``os.fork()`` does not have.
    """

    _async_object: object
    _guard: background_loop.ProcessGuard

    def __init_subclass__(cls) -> None:
        """Seal the public methods: an error that leaves one shows none of its arguments."""
        super().__init_subclass__()
        sealed_class(cls)

    @classmethod
    def _of(cls, async_object: object) -> Self:
        proxy = cls.__new__(cls)
        proxy._hold(async_object)
        return proxy

    def _hold(self, async_object: object) -> None:
        self._async_object = async_object
        self._guard = background_loop.process_guard

    def _reach(self) -> object:
        if not self._guard.is_here:
            self._guard.assert_here(repr(self))
        return self._async_object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SyncProxy) and other._async_object is self._async_object

    def __hash__(self) -> int:
        return hash(id(self._async_object))

    def __repr__(self) -> str:
        return repr(self._async_object).replace("<Async", "<", 1)
