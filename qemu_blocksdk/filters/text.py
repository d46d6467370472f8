"""Filters of text, as data: what is replaced, by what; which lines are left out.

What cannot match across the end of a line can be run on some lines at a time. So all such
filters that follow each other run as one pass: over blocks of whole lines that stay in
the processor's cache, each filter only where a character that it needs occurs. The result is that
of one filter after the other, because a line's result depends on that line alone. What can match
across lines runs on the whole text, in its turn.
"""

# Measured on qemu-io's output: one expression with an alternative for each filter takes ten
# times as long as all of their searches do, because it tries the alternatives at every letter.

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import ClassVar, final

from qemu_blocksdk.errors import UsageError

from .filter import Filter, Pipeline

_Lines = Callable[[str], str | None]
_BLOCK = 8192
_COMMON = "0123456789 aestodrfnicpKMGB/.,()w\nlmu:_-"
"""Characters of tools' output, the frequent ones; what is not here is rare."""
_DIGITS = "0123456789"
_LINEWISE = re.compile(r"(?:\\[dw]|\\[!-/:-@[-`{-~]|\(\?:|\((?!\?)|[^\\(^$\x00-\x1f\x7f-\x9f])*")
"""Expressions whose match holds no line end and does not depend on what is around it."""
_HEAD = re.compile(r"(?:[\w #:;,/=-](?![*+?{]))*")
_HEAD_OF_CHOICE = re.compile(r"[\w #:;,/=-]*\((?:\?:)?[\w|]+\)")
_TIMING = re.compile(
    r" ops; (?:[0-9/:.sec]*+ )++\([0-9/.inf]*+ [EPTGMKiBbytes]*+/sec and [0-9/.inf]*+ ops/sec\)"
)


class TextFilter(Filter[str]):
    """Base of the filters of text.

    ``_needle`` is in every text that the filter changes, ``_is_linewise`` says that a line's
    result depends on that line alone, ``_keeps_lines`` that it is a line.
    """

    _is_base: ClassVar[bool] = True

    def __call__(self, value: str) -> str:
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"a filter of text was given {type(value).__name__}, not str")
        return self._lines(value) or ""

    @property
    def _needle(self) -> str:
        return ""

    @property
    def _is_linewise(self) -> bool:
        return True

    @property
    def _keeps_lines(self) -> bool:
        return self._is_linewise

    def _lines(self, text: str) -> str | None:
        """Return what becomes of some lines; None where none is left, which is not an empty one."""
        raise NotImplementedError

    def _fused(self, following: Filter[str]) -> Filter[str] | None:
        if isinstance(following, TextFilter) and self._is_linewise and following._is_linewise:
            return _Pass(parts=(*_parts(self), *_parts(following)))
        return None


@final
class _Pass(TextFilter):
    parts: tuple[TextFilter, ...]

    def _lines(self, text: str) -> str | None:
        if len(text) <= _BLOCK:
            return self._block(text)
        kept = [block for piece in _pieces(text) if (block := self._block(piece)) is not None]
        return "\n".join(kept) if kept else None

    def _block(self, text: str) -> str | None:
        for rare, needle, lines in self._guarded:
            if rare in text and needle in text:
                left = lines(text)
                if left is None:
                    return None
                text = left
        return text

    @cached_property
    def _guarded(self) -> list[tuple[str, str, _Lines]]:
        """Each part behind its guards: to look for one character costs next to nothing."""
        needles = [(part._needle, part._lines) for part in self.parts]
        return [(min(needle, key=_frequency, default=""), needle, do) for needle, do in needles]


@final
class _Replace(TextFilter):
    text: str
    by: str

    @property
    def _needle(self) -> str:
        return self.text

    @property
    def _is_linewise(self) -> bool:
        return "\n" not in self.text

    @property
    def _keeps_lines(self) -> bool:
        return self._is_linewise and "\n" not in self.by

    def _lines(self, text: str) -> str:
        return text.replace(self.text, self.by)


@final
class _Substitute(TextFilter):
    pattern: str
    by: str

    @property
    def _needle(self) -> str:
        has_head = "|" not in self.pattern or _HEAD_OF_CHOICE.fullmatch(self.pattern)
        head = _HEAD.match(self.pattern) if has_head and self._is_linewise else None
        return head[0] if head else ""

    @property
    def _is_linewise(self) -> bool:
        return _LINEWISE.fullmatch(self.pattern) is not None

    @property
    def _keeps_lines(self) -> bool:
        # An escape in the template may be a line end.
        return self._is_linewise and "\n" not in self.by and "\\" not in self.by

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def _lines(self, text: str) -> str:
        return self._compiled.sub(self.by, text)


@final
class _DropLines(TextFilter):
    containing: str

    @property
    def _needle(self) -> str:
        return self.containing

    @property
    def _keeps_lines(self) -> bool:
        return False

    def _lines(self, text: str) -> str | None:
        kept = [line for line in text.split("\n") if self.containing not in line]
        return "\n".join(kept) if kept else None


@final
class Timing(TextFilter):
    """What qemu-io tells of a request: how many operations, how long, how fast."""

    @property
    def _needle(self) -> str:
        return " ops; "

    def _lines(self, text: str) -> str:
        # An expression that begins with the digits is tried at each digit of the text, and takes
        # the square of the length of a long number.
        *heads, rest = _TIMING.split(text)
        done = [head.rstrip(_DIGITS) for head in heads]
        return "X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)".join([*done, rest])


def replace(text: str, *, by: str) -> Filter[str]:
    """Return a filter that replaces a text, taken literally. Raises UsageError for an empty one."""
    if not text:
        raise UsageError("what is to be replaced is empty")
    return _Replace(text=text, by=by)


def substitute(pattern: str, *, by: str) -> Filter[str]:
    """Return a filter that replaces what a regular expression of :mod:`re` matches.

    ``by`` is a template as for :func:`re.sub`. Raises UsageError for an expression that is wrong
    or matches an empty text.
    """
    try:
        is_empty = re.compile(pattern).fullmatch("") is not None
        re.sub(pattern, by, "")
    except (re.error, IndexError) as error:
        raise UsageError(f"{pattern!r} by {by!r}: {error}") from error
    if is_empty:
        raise UsageError(f"the expression {pattern!r} matches an empty text")
    return _Substitute(pattern=pattern, by=by)


def drop_lines(containing: str) -> Filter[str]:
    """Return a filter that leaves out the lines with a text in them.

    Raises UsageError for a text that is empty or longer than a line.
    """
    if not containing or "\n" in containing:
        raise UsageError(f"{containing!r} is not part of a line")
    return _DropLines(containing=containing)


def stream(lines: Iterable[str], using: Filter[str]) -> Iterator[str]:
    """Filter a stream; join what comes in and what goes out, and it is as for a string.

    Lines (or any parts of the text) go in, with their ends; lines come out. It reads some 8 KiB
    ahead and holds no more than that or the longest line. Raises UsageError, at once, for a filter
    that may match across lines: those need the whole text.
    """
    run = _Pass(parts=tuple(_linewise(using)))
    return _stream(lines, run)


def of_each(texts: list[str], using: Filter[str]) -> list[str]:
    """Return what a filter makes of each text: in one pass, where it makes a line of each line."""
    parts = using.parts if isinstance(using, Pipeline) else (using,)
    if not all(isinstance(part, TextFilter) and part._keeps_lines for part in parts):
        return [using(text) for text in texts]
    lines = iter(using("\n".join(texts)).split("\n"))
    return ["\n".join(islice(lines, text.count("\n") + 1)) for text in texts]


def _stream(lines: Iterable[str], run: _Pass) -> Iterator[str]:
    # A line is given out when the next one is there: a last one that is left out takes the line
    # end before it away.
    held: str | None = None
    for piece in _gathered(lines):
        block = run._block(piece)
        if block is not None:
            if held is not None:
                yield held + "\n"
            *whole, held = block.split("\n")
            for line in whole:
                yield line + "\n"
    if held:
        yield held


def _gathered(lines: Iterable[str]) -> Iterator[str]:
    """Blocks of lines, joined by a line end."""
    parts: list[str] = []
    size = 0
    for line in lines:
        if not isinstance(line, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"a stream of text had {type(line).__name__} in it, not str")
        parts.append(line)
        size += len(line)
        if size > _BLOCK and "\n" in line:
            block, _, rest = "".join(parts).rpartition("\n")
            yield block
            parts, size = [rest], len(rest)
    yield "".join(parts)


def _linewise(using: Filter[str]) -> Iterator[TextFilter]:
    if isinstance(using, Pipeline):
        for part in using.parts:
            yield from _linewise(part)
    elif isinstance(using, TextFilter) and using._is_linewise:
        yield using
    else:
        raise UsageError(f"{using!r} may match across lines: it cannot filter a stream")


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while (end := text.find("\n", start + _BLOCK)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _parts(of: TextFilter) -> tuple[TextFilter, ...]:
    return of.parts if isinstance(of, _Pass) else (of,)


def _frequency(character: str) -> int:
    """The smaller, the rarer."""
    place = _COMMON.find(character)
    return -place if place >= 0 else -len(_COMMON)
