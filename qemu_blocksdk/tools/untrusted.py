"""Reading an image from a stranger: the tool can open that one file and nothing else.

Three things see to it. The header is read here, and what refers to other files is refused
where these would be needed. The tool gets the file as a descriptor, with options that say
what is behind it: nothing. And it runs in a sandbox (:class:`qemu_blocksdk.qmp.Sandbox`), in which
the kernel refuses whatever a format refers to that was not seen here.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Sequence

from qemu_blocksdk.codec import JsonObject, JsonValue, Secret, evolve
from qemu_blocksdk.errors import UsageError

from .probe import ImageProbe, opened, probe_open
from .run import Confinement, Limits, Path, moved
from .target import Target, json_name, opened_by

TO_ASK = Limits()
"""What ``qemu-img info`` may use: it reads no more than headers."""
TO_READ = Limits(memory=2 << 30, cpu_time=120, cpu_time_per_gib=600)
"""What a tool may use that reads everything."""
TO_COPY = TO_READ.evolve(output=None)
TO_SERVE = TO_READ.evolve(cpu_time=None, output=None)
"""What a server may use; its clients decide how much it does, and its log is kept short."""


@contextlib.contextmanager
def alone(
    path: str,
    format: str,
    secret: Secret | None = None,
    *,
    nth: int = 0,
    limits: Limits = TO_READ,
    is_metadata: bool = False,
) -> Generator[tuple[Target, Confinement]]:
    """Open an image; yield how a tool is told of that one file, and how it is run for it.

    The format is the one given; it is the ``nth`` image of a command. Raises UsageError for an
    image whose data is in other files (where only ``is_metadata`` is read, a backing file and a
    data file are left out instead), and for what :func:`probe` refuses.
    """
    # One descriptor for our look and for QEMU's: nobody puts another file in between.
    descriptor = moved(opened(path))
    try:
        same_file = f"/proc/self/fd/{descriptor}"
        status = os.fstat(descriptor)
        is_device = stat.S_ISBLK(status.st_mode)
        options: dict[str, JsonValue] = {"driver": format, "backing": None}
        if format != "raw":
            found = probe_open(descriptor, path, format=format)
            options |= _without_others(found, path, is_metadata=is_metadata)
        driver = "host_device" if is_device else "file"
        options["file"] = {"driver": driver, "filename": same_file}
        members, secrets = opened_by(secret, format, nth=nth)
        name = json_name({**options, **members})
        target = Target(filename=name, secrets=secrets)
        names = {name: path, same_file: path}
        # What an attacker has to send, not the size that a header claims or holes make up.
        size = os.lseek(descriptor, 0, os.SEEK_END) if is_device else status.st_blocks * 512
        limits = limits.for_files(size)
        yield target, Confinement(descriptors=[descriptor], names=names, limits=limits)
    finally:
        os.close(descriptor)


def _without_others(found: ImageProbe, path: str, *, is_metadata: bool) -> JsonObject:
    """The options that take the place of other files. Raises UsageError where none can."""
    others: dict[str, Sequence[str]] = {"its data in other files": found.extents}
    if not is_metadata:
        others["its data in another file"] = [] if found.data_file is None else [found.data_file]
        others["a backing file"] = [] if found.backing_file is None else [found.backing_file]
    for what, names in others.items():
        if names:
            raise UsageError(
                f"{path!r} has {what}: {', '.join(names)}; an untrusted image is read alone"
            )
    if found.data_file is None:
        return {}
    return {"data-file": {"driver": "null-co", "size": found.virtual_size or 0}}


def joined(*parts: Confinement | None, written: Sequence[Path] = ()) -> Confinement | None:
    """Return the confinement to several images, or None; ``written`` is what is made of them."""
    given = [part for part in parts if part is not None]
    if not given:
        return None
    times = [part.limits.cpu_time for part in given if part.limits.cpu_time is not None]
    return given[0].evolve(
        descriptors=[descriptor for part in given for descriptor in part.descriptors],
        names={old: new for part in given for old, new in part.names.items()},
        written=written,
        limits=evolve(given[0].limits, cpu_time=sum(times) if times else None),
    )
