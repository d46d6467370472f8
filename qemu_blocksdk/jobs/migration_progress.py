"""How far a migration is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.codec import Value

if TYPE_CHECKING:
    from qemu_blocksdk.wire import MigrationStatus


class MigrationProgress(Value):
    """One reading of a migration's progress.

    ``transferred``, ``remaining`` and ``total`` are bytes of the guest's memory; what the
    guest writes meanwhile is sent again, in round ``dirty_sync_count``. ``elapsed`` is in
    seconds since its start, or since it was attached to.
    """

    status: MigrationStatus
    transferred: int
    remaining: int
    total: int
    dirty_sync_count: int
    elapsed: float

    @property
    def fraction(self) -> float:
        """Between 0.0 and 1.0: how much of the memory need not be sent any more."""
        if self.total == 0:
            return 1.0 if self.status == "completed" else 0.0
        return 1.0 - self.remaining / self.total
