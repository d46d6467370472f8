"""Files of a script by their old names, and the time that a block may take."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from qemu_blocksdk.errors import DeadlineExceeded
from qemu_blocksdk.testing import paths
from qemu_blocksdk.testing import timeout as typed

from .environ import ENV, imgproto, test_dir


class Timeout(typed.Timeout):
    """Raises an exception with the message ``errmsg`` where its block takes too long."""

    def __init__(self, seconds: float, errmsg: str = "Timeout") -> None:
        super().__init__(seconds, errmsg)
        self.errmsg: str = errmsg

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(exc_type, value, traceback)
        except DeadlineExceeded as error:
            raise Exception(self.errmsg) from error


class FilePath:
    """Paths for the files of a block, which removes them: one, or a list of several."""

    def __init__(self, *names: str, base_dir: str = test_dir) -> None:
        self.paths: list[str] = [str(Path(base_dir, paths.file_pattern(name))) for name in names]

    def __enter__(self) -> Any:
        return self.paths[0] if len(self.paths) == 1 else self.paths

    def __exit__(self, *_: object) -> None:
        for path in self.paths:
            try_remove(path)


_named: list[str] = []


def file_path(*names: str, base_dir: str = test_dir) -> Any:
    """Return a path, or a list of several, for files that are removed when the script ends."""
    found = [str(paths.file_path(name, env=ENV, base_dir=base_dir)) for name in names]
    _named.extend(found)
    return found[0] if len(found) == 1 else found


def file_path_remover() -> None:
    """Remove what :func:`file_path` has named so far, the last first; at the end again."""
    for path in reversed(_named):
        try_remove(path)


def try_remove(img: str) -> None:
    """Remove a file, if it can be removed."""
    with suppress(OSError):
        os.remove(img)  # noqa: PTH107 - a name of any kind


def remote_filename(path: str) -> str:
    """Return what stands for a file in the image protocol."""
    if imgproto == "file":
        return path
    if imgproto == "ssh":
        return f"ssh://{os.environ.get('USER')}@127.0.0.1:22{path}"
    raise Exception(f"Protocol {imgproto} not supported")
