"""QEMU's schema: the version gate at run time, the generator of `wire/` at development time.

`Schema` answers, for one binary, whether it has a command and takes its arguments.
`python -m qemu_blocksdk.schema` fetches snapshots, writes `wire/` and compares it. No
typed command, no connection and nothing that generated code imports lives here; importing
this package loads neither snapshots nor the generator.
"""

from .check import Problem, ProblemKind, Schema
from .model import ServerKind

__all__ = ["Problem", "ProblemKind", "Schema", "ServerKind"]
