"""What every blocking class is: a face of one async object on the background loop."""

from __future__ import annotations

from typing import Self


class Face:
    """Holds the async twin. Two faces of one twin are equal."""

    _twin: object

    @classmethod
    def _of(cls, twin: object) -> Self:
        face = cls.__new__(cls)
        face._twin = twin
        return face

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Face) and other._twin is self._twin

    def __hash__(self) -> int:
        return hash(id(self._twin))

    def __repr__(self) -> str:
        return repr(self._twin)
