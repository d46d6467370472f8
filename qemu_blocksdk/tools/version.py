"""The version of a program, as it prints it."""

from __future__ import annotations

import functools
import re

from qemu_blocksdk.codec import Value

from .run import Completed

# qemu-nbd prints its own path, and no "version".
_LONGEST = 500
_VERSION = re.compile(r".*qemu.* (\d+)\.(\d+)\.(\d+)(?: *\((.*)\))?", re.IGNORECASE)


@functools.total_ordering
class Version(Value):
    """A version of QEMU. ``package`` is the distributor's word on it, which decides last."""

    major: int
    minor: int
    micro: int
    package: str = ""

    @classmethod
    def of(cls, done: Completed) -> Version:
        """Read it from the first line that a program printed. Raises ToolError."""
        found = _VERSION.fullmatch(done.stdout[:_LONGEST].partition("\n")[0].strip())
        if found is None:
            raise done.failure("told no version of QEMU")
        major, minor, micro, package = found.groups(default="")
        return cls(major=int(major), minor=int(minor), micro=int(micro), package=package)

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Major, minor and micro: ``version.numbers >= (8, 1)``."""
        return self.major, self.minor, self.micro

    def __lt__(self, other: Version) -> bool:
        return (self.numbers, self.package) < (other.numbers, other.package)

    def __str__(self) -> str:
        text = ".".join(map(str, self.numbers))
        return f"{text} ({self.package})" if self.package else text
