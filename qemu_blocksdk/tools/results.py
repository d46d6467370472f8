"""What qemu-img answers, where the answer is its own and no command of QMP's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from qemu_blocksdk.codec import Struct, Value
from qemu_blocksdk.wire import (
    ImageInfoSpecific,
    ImageInfoSpecificLuksWrapper,
    ImageInfoSpecificQCow2,
    ImageInfoSpecificQcow2Wrapper,
    ImageInfoSpecificVmdk,
    ImageInfoSpecificVmdkWrapper,
    QCryptoBlockInfoLUKS,
    SnapshotInfo,
)

from .run import Completed


class BlockChildInfo(Struct):
    """A child of a node and what is known of it; ``name`` is its role (``file``)."""

    name: str
    info: BlockGraphInfo


class BlockGraphInfo(Struct):
    """What ``qemu-img info`` tells of an image; sizes in bytes.

    ``format_specific`` differs by the format: bitmaps, compression, encryption, data file
    in :attr:`qcow2`, extents in :attr:`vmdk`, key slots in :attr:`luks`. ``children`` are told
    since QEMU 8.0.
    """

    filename: str
    format: str
    virtual_size: int
    dirty_flag: bool | None = None
    actual_size: int | None = None
    cluster_size: int | None = None
    encrypted: bool | None = None
    compressed: bool | None = None
    backing_filename: str | None = None
    full_backing_filename: str | None = None
    backing_filename_format: str | None = None
    snapshots: Sequence[SnapshotInfo] | None = None
    format_specific: ImageInfoSpecific | None = None
    children: Sequence[BlockChildInfo] | None = None

    @property
    def qcow2(self) -> ImageInfoSpecificQCow2 | None:
        """What only qcow2 has, of an image of that format."""
        specific = self.format_specific
        return specific.data if isinstance(specific, ImageInfoSpecificQcow2Wrapper) else None

    @property
    def vmdk(self) -> ImageInfoSpecificVmdk | None:
        """What only vmdk has, of an image of that format."""
        specific = self.format_specific
        return specific.data if isinstance(specific, ImageInfoSpecificVmdkWrapper) else None

    @property
    def luks(self) -> QCryptoBlockInfoLUKS | None:
        """What only luks has, of an image of that format."""
        specific = self.format_specific
        return specific.data if isinstance(specific, ImageInfoSpecificLuksWrapper) else None


class ImageCheck(Struct):
    """What ``qemu-img check`` found, and repaired where it was asked to."""

    filename: str
    format: str
    check_errors: int
    image_end_offset: int | None = None
    corruptions: int | None = None
    leaks: int | None = None
    corruptions_fixed: int | None = None
    leaks_fixed: int | None = None
    total_clusters: int | None = None
    allocated_clusters: int | None = None
    fragmented_clusters: int | None = None
    compressed_clusters: int | None = None

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong with the image, or no longer."""
        return not (self.check_errors or self.corruptions or self.leaks)

    @property
    def fragmentation(self) -> float | None:
        """The fraction of allocated clusters that do not follow the one before."""
        if not self.allocated_clusters:
            return None
        return (self.fragmented_clusters or 0) / self.allocated_clusters


class MapEntry(Struct):
    """An extent of an image: ``length`` bytes from ``start`` on, all in one state.

    ``depth`` is 0 for the image itself and counts up along its backing files; ``offset``
    is where in ``filename`` the data is, where it is there as it is read.
    """

    start: int
    length: int
    data: bool
    zero: bool
    depth: int
    present: bool | None = None
    compressed: bool | None = None
    offset: int | None = None
    filename: str | None = None


class BlockMeasureInfo(Struct):
    """How many bytes a new image needs: as it is filled now, and with every cluster in use."""

    required: int
    fully_allocated: int
    bitmaps: int | None = None


class Comparison(Value):
    """Whether two images have the same content, and if not, what differs first.

    ``differs_at`` is the offset in bytes of different content, or (``strict``) of a different
    allocation.
    """

    difference: Literal["content", "size", "allocation"] | None = None
    differs_at: int | None = None
    sizes_differ: bool

    @property
    def is_equal(self) -> bool:
        """Whether there is no difference (zeros at the end of the longer one are none)."""
        return self.difference is None

    @classmethod
    def parse(cls, exit_status: int, words: str) -> Comparison:
        """Read what ``qemu-img compare`` printed."""
        sizes_differ = "Image size mismatch" in words
        if exit_status == 0:
            return cls(sizes_differ=sizes_differ)
        at = re.search(
            r"(Content) mismatch at offset (\d{1,20})|Offset (\d{1,20}) block status", words
        )
        if at is None:
            return cls(difference="size", sizes_differ=True)
        offset = int(at[2] or at[3])
        kind: Literal["content", "allocation"] = "content" if at[1] == "Content" else "allocation"
        return cls(difference=kind, differs_at=offset, sizes_differ=sizes_differ)


class BenchResult(Value):
    """What ``qemu-img bench`` did: requests of ``buffer_size`` bytes, and the seconds it took."""

    count: int
    buffer_size: int
    seconds: float

    @classmethod
    def parse(cls, done: Completed, count: int, buffer_size: int) -> BenchResult:
        """Read what ``qemu-img bench`` printed. Raises ToolError where the time is not in it."""
        seconds = re.search(r"completed in (\d{1,20}(?:\.\d{1,20})?) seconds", done.stdout)
        if seconds is None:
            raise done.failure("did not tell the time that it took")
        return cls(count=count, buffer_size=buffer_size, seconds=float(seconds[1]))
