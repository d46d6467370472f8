"""Disk images on disk with what lies behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qemu_blocksdk.codec import evolved

from .image_options import chain_options
from .readable_image import ReadableImage

if TYPE_CHECKING:
    from qemu_blocksdk.wire import BlockdevOptions


class ChainedImage(ReadableImage):
    """What opens an image together with its backing files in a running QEMU."""

    async def chain_options(
        self,
        node_name: str,
        *,
        key_secrets: Mapping[str, str] | None = None,
        force_share: bool = False,
        timeout: float = 60.0,
    ) -> BlockdevOptions:
        """Return the options of the whole backing chain, as the headers tell it.

        Each layer is a node: ``disk``, ``disk-1``, ...; QEMU has those below the top read-only.
        ``key_secrets`` has the id of the secret that opens an encrypted layer, by the name of
        its node. ``force_share`` reads images that a running QEMU has locked.

        Raises UsageError, which names the layer, for a chain that loops, does not tell a format,
        goes on over a protocol that is not known here, or has an encrypted layer without a
        secret; ToolError for a file that is not there.
        """
        self._assert_openable(may_guess=False)
        top, *below = await self.backing_chain(force_share=force_share, timeout=timeout)
        # By the name that we have: QEMU's may have the ids of qemu-img's own secrets in it.
        top = evolved(top, filename=self._path or self._target.filename)
        return chain_options([top, *below], node_name=node_name, key_secrets=key_secrets or {})
