"""What every blocking class is: a face of one async object on the background loop."""

from __future__ import annotations

from typing import Self

from qemu_blocksdk.qmp import portal
from qemu_blocksdk.sealed import sealed_class


class Face:
    """Holds the async twin. Two faces of one twin are equal.

    The twin lives on the background loop, which a child of ``os.fork()`` does not have.
    """

    _twin: object
    _home: portal.Home

    def __init_subclass__(cls) -> None:
        """Seal what a class offers: an error that leaves it shows none of its arguments."""
        super().__init_subclass__()
        sealed_class(cls)

    @classmethod
    def _of(cls, twin: object) -> Self:
        face = cls.__new__(cls)
        face._hold(twin)
        return face

    def _hold(self, twin: object) -> None:
        self._twin = twin
        self._home = portal.home

    def _reach(self) -> object:
        if not self._home.is_here:
            self._home.assert_here(repr(self))
        return self._twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Face) and other._twin is self._twin

    def __hash__(self) -> int:
        return hash(id(self._twin))

    def __repr__(self) -> str:
        return repr(self._twin).replace("<Async", "<", 1)
