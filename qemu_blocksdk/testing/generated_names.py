"""Names that the package generates, made comparable from run to run. No I/O.

``qmp/owner.py`` makes them: a kind, eight hexadecimal digits of the connection, and a number, as
in ``blocksdk-1f0c93ab-3`` or ``disk-1f0c93ab-4``.
"""

from __future__ import annotations

import re
from typing import Final

_GENERATED: Final = re.compile(
    r"(?<![\w-])(?:(blocksdk)-[0-9a-f]{8}-[0-9]+(?![0-9a-z])"
    # As the kind may be any word, this one must not be the beginning of a UUID.
    r"|([a-z]+)-[0-9a-f]{8}-[0-9]+(?![\w-]))"
)


class NumberedNames:
    """Replaces generated names by ``KIND-ID1``, ``KIND-ID2``, ... in the order of appearance.

    One name has one number in all texts that the same object replaces in.
    """

    def __init__(self) -> None:
        self._numbers = dict[str, int]()

    def __call__(self, text: str) -> str:
        """Return the text with its generated names replaced."""
        return _GENERATED.sub(self._numbered, text)

    def _numbered(self, found: re.Match[str]) -> str:
        number = self._numbers.setdefault(found[0], len(self._numbers) + 1)
        return f"{found[1] or found[2]}-ID{number}"


def numbered_names(text: str) -> str:
    """Replace generated names by ``KIND-ID1``, ``KIND-ID2``, ...: the filter of golden files."""
    return NumberedNames()(text)
