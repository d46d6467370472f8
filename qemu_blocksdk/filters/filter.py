"""What a filter is, and how filters become one.

A filter is a value that is called. A pipeline knows its parts and asks each whether it can run
together with the one before it; what that means is the parts' own business.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Generic, TypeVar, dataclass_transform, final

from qemu_blocksdk.codec import Value

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Filter(Value, Generic[T]):
    """Base of filters: a pure function from ``T`` to a new ``T``, as a value.

    ``f | g`` is a filter that runs ``f``, then ``g``. A filter of one's own is a final class
    with a ``__call__``.
    """

    _is_base: ClassVar[bool] = True

    def __call__(self, value: T) -> T:
        """Return the filtered value; what was given stays as it is."""
        raise NotImplementedError

    def __or__(self, other: Filter[T]) -> Pipeline[T]:
        # A wrong operand comes from untyped code; Python then says so.
        if not isinstance(other, Filter):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        return Pipeline(parts=(*_parts(self), *_parts(other)))

    def _fused(self, _following: Filter[T]) -> Filter[T] | None:
        """Return what does both in one go, with the same result; None where nothing does."""
        return None


@final
class Pipeline(Filter[T]):
    """Filters one after the other, compiled at the first call.

    ``parts`` are as they were composed; a pipeline without parts changes nothing.
    """

    parts: tuple[Filter[T], ...]

    def __call__(self, value: T) -> T:
        for step in self._steps:
            value = step(value)
        return value

    @cached_property
    def _steps(self) -> tuple[Filter[T], ...]:
        steps: list[Filter[T]] = []
        for part in self.parts:
            fused = steps[-1]._fused(part) if steps else None
            if fused is None:
                steps.append(part)
            else:
                steps[-1] = fused
        return tuple(steps)


def _parts(of: Filter[T]) -> tuple[Filter[T], ...]:
    return of.parts if isinstance(of, Pipeline) else (of,)
