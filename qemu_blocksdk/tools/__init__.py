"""The command-line tools as typed functions: what they are told, what they answer.

A tool gets its options as an argument vector, never through a shell; it dies with us,
and with the task that waits for it.
"""

from .programs import Programs
from .qemu_img import compare, convert, create
from .run import Completed, ask, run

__all__ = ["Completed", "Programs", "ask", "compare", "convert", "create", "run"]
