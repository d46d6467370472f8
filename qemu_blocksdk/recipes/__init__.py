"""What the objects are for: each recipe a few lines over them, undone when it fails."""

from .backup import AsyncBackup
from .disk import AsyncDisk
from .point_in_time import AsyncPointInTime

__all__ = ["AsyncBackup", "AsyncDisk", "AsyncPointInTime"]
