"""A live incremental backup: full, change, incremental, restore, verify.

Of the IMAGE given (a copy of it), else of a filesystem made of the machine's documentation.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from qemu_blocksdk import Image, Job, StorageDaemon
from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.tools.probe import probe

MIB = 1 << 20
DOCUMENTATION = Path("/usr/share/doc")


@contextmanager
def step(what: str) -> Generator[None]:
    """Tell what is done, and how long it took."""
    print(f"{what} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"    {time.monotonic() - started:.2f} s", flush=True)


def watch(job: Job) -> None:
    """Draw a bar until the job is done; raise what it raises."""
    for now in job.progress(interval=0.05):
        bar = ("#" * int(40 * now.fraction)).ljust(40, ".")
        moved = f"{now.current / MIB:.1f} of {now.total / MIB:.1f} MiB"
        print(f"\r    [{bar}] {moved}, {now.rate / MIB:.0f} MiB/s  ", end="", flush=True)
    print()


def filesystem(path: Path) -> Image:
    """Make an ext4 filesystem of the machine's documentation."""
    content = sum(file.lstat().st_size + 4096 for file in DOCUMENTATION.rglob("*"))
    size = f"{content * 5 // 4 // MIB + 64}M"
    path.touch()  # mke2fs announces a file that it has to make
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", DOCUMENTATION, path, size], check=True)
    return Image(path, format="raw")


def given(path: Path) -> Image:
    """Name an existing image by the format that its first bytes tell."""
    format = probe(path).format
    if format == "qcow2" or format == "raw":
        return Image(path, format=format)
    raise UsageError(f"{path} is {format}; the demonstration takes qcow2 and raw")


def main(work: Path, arguments: list[str]) -> None:
    disk = Image(work / "disk.qcow2", format="qcow2")
    full = Image(work / "full.qcow2", format="qcow2")
    increment = Image(work / "increment.qcow2", format="qcow2")
    restored = Image(work / "restored.raw", format="raw")

    with step("Building the source image"):
        source = given(Path(arguments[0])) if arguments else filesystem(work / "filesystem.raw")
        source.convert(disk)

    with StorageDaemon() as daemon:
        with step("Attaching it, with a persistent bitmap that records what changes"):
            node = daemon.add_node(disk.options("disk"))
            bitmap = node.add_bitmap("changes", persistent=True)
            size = node.query_info().image.virtual_size

        with step("Full backup, while the image is in use"):
            full.create(size)
            full_node = daemon.add_node(full.options("full"))
            watch(node.start_backup(full_node))

        with (
            step("Writing 3 x 1 MiB through an NBD export"),
            daemon.start_nbd_server() as server,
            server.export(node, writable=True) as export,
        ):
            for number in range(3):
                export.write(size // 4 * number, min(MIB, size // 4), pattern=number + 1)

        with step("Incremental backup of what the bitmap saw"):
            full_node.delete()
            increment.create(backing=full)
            increment_node = daemon.add_node(increment.options("increment"))
            watch(node.start_backup(increment_node, sync="incremental", bitmap=bitmap))
            print(f"The block graph now:\n{daemon.graph().draw()}")

    with step("Restoring from the chain of backups"):
        increment.convert(restored)

    with step("Comparing with the source"):
        if not disk.compare(restored).is_equal:
            sys.exit("the restored image differs from the source")
    sizes = " + ".join(f"{image.path.stat().st_size / MIB:.1f}" for image in (full, increment))
    print(f"Verified: the restored image equals the source. Backups take {sizes} MiB.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="blocksdk-demo-") as folder:
        try:
            main(Path(folder), sys.argv[1:])
        except (BlockSdkError, OSError) as error:
            sys.exit(f"incremental_backup: {error}")
        except KeyboardInterrupt:
            sys.exit("interrupted; nothing is left behind")
