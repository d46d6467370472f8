"""Golden files: the expected output of a test, in a file beside it.

:class:`Golden` compares a text with the file, and writes the file if ``UPDATE_GOLDEN`` is set and
``CI`` is not. The test framework names the test: :class:`WithGolden` for unittest, the fixture
``blocksdk_golden`` for pytest.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import unittest
from pathlib import Path
from typing import cast

from qemu_blocksdk.errors import UsageError

from .difference import difference
from .generated_names import numbered_names
from .switches import UPDATE_GOLDEN, is_set

_HOW = f"{UPDATE_GOLDEN}=1, or pytest --blocksdk-update-golden,"
_LONGEST = 120
_SUFFIX = re.compile(r"[\w-]{1,50}", re.ASCII)


class Golden:
    """The golden files of one test, in the folder of ``module``, the test's file.

    ``test`` is the test's name, after the names of its classes; ``fmt`` is its image format.
    ``generated_names=True`` keeps the names that this package generates; by default they are
    filtered (:func:`numbered_names`), because they differ in each run.
    """

    def __init__(
        self, module: Path, *, test: str, fmt: str | None = None, generated_names: bool = False
    ) -> None:
        self._module, self._test, self._fmt = module, test, fmt
        self._keeps_names = generated_names
        self._is_updating = is_set(UPDATE_GOLDEN)
        self._checked = set[Path]()

    def check(self, text: str, *, name: str | None = None, fmt: str | None = None) -> None:
        """Compare a text with its golden file, or write the file if an update is requested.

        The file is ``MODULE.TEST.out``. A test that checks several texts gives each further one a
        ``name`` (``MODULE.TEST+NAME.out``). If ``MODULE.TEST.FMT.out`` exists, it is used for
        that image format, by default the test's; to get one, create an empty file and update.

        Raises AssertionError, with a unified diff, if they differ or there is no file; UsageError
        for text that is not UTF-8, a second check of one file, a file that cannot be read or
        written, a link to write, and an update while ``CI`` is set.
        """
        text = _checked_text(text)
        if not self._keeps_names:
            text = numbered_names(text)
        data = _utf8(text)
        path = self._path(name, fmt)
        if path in self._checked:
            raise UsageError(f"{path.name} is checked twice in one test: the second needs a name")
        self._checked.add(path)
        if self._is_updating and is_set("CI"):
            raise UsageError(f"golden files are not updated where CI is set: unset {UPDATE_GOLDEN}")
        try:
            found = path.read_bytes() if path.exists() else None
        except OSError as error:
            raise UsageError(f"cannot read the golden file {path.name}: {error}") from error
        if found == data:
            return
        if self._is_updating:
            _write(path, data)
        elif found is None:
            raise AssertionError(f"no golden file {path}: {_HOW} makes it")
        else:
            raise AssertionError(
                f"differs from {path} ({_HOW} writes it anew):\n{difference(_text(found), text)}"
            )

    def assert_file(self) -> None:
        """Raise UsageError where a directory has the name of the test's golden file."""
        path = self._path(None, None)
        if path.is_dir():
            raise UsageError(f"the golden file {path} is a directory")

    def _path(self, name: str | None, fmt: str | None) -> Path:
        fmt = self._fmt if fmt is None else fmt
        for suffix in (name, fmt):
            if suffix is not None and not _SUFFIX.fullmatch(suffix):
                raise UsageError(f"{suffix!r} cannot be part of a file's name")
        folder = self._module.parent
        stem = safe_name(self._module.stem, self._test) + (f"+{name}" if name else "")
        path = folder / f"{stem}.{fmt}.out"
        if fmt is None or not path.exists():
            path = folder / f"{stem}.out"
        return path

    def __repr__(self) -> str:
        return f"<golden files of {self._test} in {self._module.name}>"


class WithGolden:
    """Mixin that gives a ``unittest.TestCase`` its golden files; ``UPDATE_GOLDEN=1`` writes them::

    class TestCommit(WithGolden, unittest.TestCase):
        def test_commit(self) -> None:
            self.golden.check(text)
    """

    @functools.cached_property
    def golden(self) -> Golden:
        """The golden files of the running test. Raises UsageError if this is no TestCase."""
        test = cast("object", self)
        if not isinstance(test, unittest.TestCase):
            raise UsageError(f"{type(self).__name__} is no unittest.TestCase")
        try:
            module = inspect.getfile(type(test))
        except (OSError, TypeError) as error:
            raise UsageError(f"{test.id()} is in no file") from error
        name = test.id().removeprefix(f"{type(test).__module__}.")
        return Golden(Path(module).absolute(), test=name)


def safe_name(module: str, test: str) -> str:
    """Return a file name for a test that resembles its name and is unique to it.

    Parameters go behind a hyphen (``test_commit[qcow2]``: ``test_commit-qcow2``).
    """
    plain = re.sub(r"\[([\w-]+)\]$", r"-\1", test, flags=re.ASCII)
    if (
        re.fullmatch(r"\w+", module, re.ASCII)
        and re.fullmatch(r"[\w.]+(-[\w-]+)?", plain, re.ASCII)
        and len(module + plain) <= _LONGEST
    ):
        return f"{module}.{plain}"
    digest = hashlib.sha256(f"{module}.{test}".encode(errors="surrogatepass")).hexdigest()[:12]
    readable = re.sub(r"[^\w.-]+", "_", f"{module}.{test}", flags=re.ASCII)
    # No other name has a tilde.
    return f"{readable[:_LONGEST]}~{digest}"


def _checked_text(text: str) -> str:
    if not isinstance(cast("object", text), str):
        raise UsageError(f"a golden file holds text, not {type(text).__name__}")
    return text


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        what = f"character {error.start} is {text[error.start]!a}, which UTF-8 does not have"
        raise UsageError(f"this text cannot be in a golden file: {what}") from error


def _text(data: bytes) -> str:
    # What is not UTF-8 in it is a difference like others.
    return data.decode(errors="backslashreplace")


def _write(path: Path, data: bytes) -> None:
    # Not needed, and not loaded, where nothing is written.
    from qemu_blocksdk.tools.atomic_write import atomic_write

    if path.is_symlink():
        raise UsageError(f"{path.name} is a link: what it points to is not written")
    try:
        with atomic_write(path, replace=True) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write the golden file {path.name}: {error}") from error
