"""What the objects are for: each recipe a few lines over them, undone when it fails."""

from .backup import AsyncBackup

__all__ = ["AsyncBackup"]
