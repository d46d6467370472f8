"""What tests of disk code are made with: logs, transcripts of QMP, golden files.

What makes texts comparable is in ``filters``; nothing outside tests needs this package.
"""

from .golden import Golden, WithGolden
from .text import log
from .transcript import Transcript

__all__ = ["Golden", "Transcript", "WithGolden", "log"]
