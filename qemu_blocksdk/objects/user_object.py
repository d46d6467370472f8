"""User objects (``object-add``): their properties and removal."""

from __future__ import annotations

from qemu_blocksdk.codec import JsonValue
from qemu_blocksdk.wire import ObjectDel, QomGet, QomSet

from .hotplug import Hotplugged


class UserObject(Hotplugged):
    """An object of a running QEMU that commands and options refer to by its id."""

    async def remove(self) -> None:
        """Remove it (``object-del``). Raises CommandError when it is in use or not there."""
        await self._remove()

    async def _remove(self) -> None:
        await self._execute(ObjectDel(id=self._id))
        self._is_removed = True

    async def _get(self, property: str) -> JsonValue:
        return await self._execute(QomGet(path=f"/objects/{self._id}", property=property))

    async def _set(self, property: str, value: JsonValue) -> None:
        path = f"/objects/{self._id}"
        await self._execute(QomSet(path=path, property=property, value=value))
