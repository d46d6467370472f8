"""What the objects are for: each recipe a few lines over them, undone when it fails."""

from .backup import AsyncBackup
from .disk import AsyncDisk
from .point_in_time import AsyncPointInTime
from .storage_migration import AsyncStorageMigration

__all__ = ["AsyncBackup", "AsyncDisk", "AsyncPointInTime", "AsyncStorageMigration"]
