"""A secret as a value: handed on, never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn, Self, final

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import sealed_class


@sealed_class
@final
class Secret:
    """A passphrase or key. It shows as ``Secret(***)``, wherever it is shown.

    Tools get it through a descriptor, a running QEMU through its monitor's socket; it
    is never part of a command line, a log, an error or a file.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        """Keep a secret; text is taken as UTF-8, as QEMU does. Raises UsageError for other text."""
        try:
            self._value = value.encode() if isinstance(value, str) else bytes(value)
        except UnicodeEncodeError as error:
            raise UsageError("a secret that is text has characters that UTF-8 lacks") from error

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read the secret from a file, all of it: a line break at the end counts.

        Raises OSError.
        """
        return cls(Path(path).read_bytes())

    def reveal(self) -> bytes:
        """Return the secret itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: that would show it")
