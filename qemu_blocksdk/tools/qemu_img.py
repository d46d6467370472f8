"""qemu-img: what the first objects need of it."""

from __future__ import annotations

from collections.abc import Sequence

from qemu_blocksdk.errors import UsageError

from .run import Path, as_file, run

PROGRAM = "qemu-img"


async def create(
    path: Path,
    size: int | None = None,
    *,
    format: str,
    backing: Path | None = None,
    backing_format: str | None = None,
) -> None:
    """Create an image of ``size`` bytes, by default that of its backing file.

    The image refers to its backing file by the absolute path. Raises ToolError, UsageError
    for a negative size.
    """
    if size is not None and size < 0:
        raise UsageError(f"an image cannot have a size of {size} bytes")
    argv: list[str] = [PROGRAM, "create", "-q", "-f", format]
    if backing is not None:
        argv += ["-b", as_file(backing)]
    if backing_format is not None:
        argv += ["-F", backing_format]
    argv.append(as_file(path))
    if size is not None:
        argv.append(str(size))
    await run(argv)


async def convert(source: Path, target: Path, *, source_format: str, target_format: str) -> None:
    """Copy an image's content into a new image. Raises ToolError."""
    formats: Sequence[str] = ["-f", source_format, "-O", target_format]
    await run([PROGRAM, "convert", *formats, as_file(source), as_file(target)])


async def compare(first: Path, second: Path, *, first_format: str, second_format: str) -> bool:
    """Tell whether two images have the same content. Raises ToolError when one cannot be read."""
    formats: Sequence[str] = ["-f", first_format, "-F", second_format]
    done = await run([PROGRAM, "compare", *formats, as_file(first), as_file(second)], accept=(0, 1))
    return done.exit_status == 0
