"""Skips for scripts: a script or a case that cannot run here reports that to its runner.

The runner reads ``SEQ.notrun`` and ``SEQ.casenotrun`` in the output directory; SEQ is the file name
of the script. The programs are queried as a runner of iotests does it; other requirements of tests
are in ``requirements``.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.tools.drivers import listed
from qemu_blocksdk.tools.run import ask

from .env import TestEnv

_ANSWER = 10.0

# Runners know the line by this name.
_logger = logging.getLogger("qemu.iotests")
_logger.addHandler(logging.NullHandler())


def notrun(reason: str, *, env: TestEnv) -> NoReturn:
    """End the script with exit status 0 and write the reason to ``SEQ.notrun``.

    Raises UsageError if the file cannot be written.
    """
    seq = _write("notrun", "w", f"{reason}\n", env)
    _logger.warning("%s not run: %s", seq, reason)
    sys.exit(0)


def case_notrun(reason: str, *, env: TestEnv) -> None:
    """Add the reason why a case does not run to ``SEQ.casenotrun``; the caller skips the case.

    Raises UsageError if the file cannot be written.
    """
    _write("casenotrun", "a", f"    [case not run] {reason}\n", env)


def _write(suffix: str, mode: str, text: str, env: TestEnv) -> str:
    seq = Path(sys.argv[0]).name
    path = env.output_dir / f"{seq}.{suffix}"
    try:
        with path.open(mode) as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot say why {seq} does not run: {error}") from error
    return seq


def verify_image_format(
    supported: Sequence[str] = (), unsupported: Sequence[str] = (), *, env: TestEnv
) -> None:
    """End the script as not run unless it supports the image format. LUKS also has to work.

    ``generic`` is every format, unless ``imgfmt_generic`` is False.
    """
    if "generic" in supported and env.imgfmt_generic:
        supported = ()
    if (supported and env.imgfmt not in supported) or env.imgfmt in unsupported:
        notrun(f"not suitable for this image format: {env.imgfmt}", env=env)
    if env.imgfmt == "luks":
        verify_working_luks(env=env)


def verify_protocol(
    supported: Sequence[str] = (), unsupported: Sequence[str] = (), *, env: TestEnv
) -> None:
    """End the script as not run unless it supports the protocol; ``generic`` is every protocol.

    Raises UsageError if both lists are given.
    """
    if supported and unsupported:
        raise UsageError("of protocols, either the supported or the unsupported are listed")
    if "generic" in supported:
        return
    if (supported and env.imgproto not in supported) or env.imgproto in unsupported:
        notrun(f"not suitable for this protocol: {env.imgproto}", env=env)


def verify_platform(
    supported: Sequence[str] = (), unsupported: Sequence[str] = (), *, env: TestEnv
) -> None:
    """End the script as not run unless ``sys.platform`` begins with one of these."""
    here = sys.platform
    if here.startswith(tuple(unsupported)) or not here.startswith(tuple(supported) or ""):
        notrun(f"not suitable for this OS: {here}", env=env)


def verify_cache_mode(supported: Sequence[str] = (), *, env: TestEnv) -> None:
    """End the script as not run unless it supports the cache mode."""
    if supported and env.cache_mode not in supported:
        notrun(f"not suitable for this cache mode: {env.cache_mode}", env=env)


def verify_aio_mode(supported: Sequence[str] = (), *, env: TestEnv) -> None:
    """End the script as not run unless it supports the aio mode."""
    if supported and env.aio_mode not in supported:
        notrun(f"not suitable for this aio mode: {env.aio_mode}", env=env)


def verify_formats(required: Sequence[str] = (), *, env: TestEnv) -> None:
    """End the script as not run unless the emulator has all these drivers."""
    if missing := missing_formats(required, env=env):
        notrun(f"formats {missing} are not whitelisted", env=env)


def verify_virtio_blk(*, env: TestEnv) -> None:
    """End the script as not run unless the emulator has virtio-blk."""
    if not _has_device(["virtio-blk"], env):
        notrun("Missing virtio-blk in QEMU binary", env=env)


def verify_virtio_scsi_pci_or_ccw(*, env: TestEnv) -> None:
    """End the script as not run unless the emulator has virtio-scsi on either bus."""
    if not _has_device(["virtio-scsi-pci", "virtio-scsi-ccw"], env):
        notrun("Missing virtio-scsi-pci or virtio-scsi-ccw in QEMU binary", env=env)


def verify_quorum(*, env: TestEnv) -> None:
    """End the script as not run unless qemu-img has the driver ``quorum``."""
    if not supports_quorum(env=env):
        notrun("quorum support missing", env=env)


def verify_working_luks(*, env: TestEnv) -> None:
    """End the script as not run, with the error of qemu-img, unless LUKS works."""
    if (problem := luks_problem(env=env)) is not None:
        notrun(problem, env=env)


def luks_problem(*, env: TestEnv) -> str | None:
    """Return why LUKS does not work, as qemu-img reports it; None if it works."""
    # Loading it takes long, and most tests do not need it.
    from qemu_blocksdk.tools.luks import query_luks

    return background_loop.run(query_luks(env.programs.words("qemu_img"), timeout=_ANSWER)).problem


def supports_quorum(*, env: TestEnv) -> bool:
    """Return whether qemu-img has the driver ``quorum``."""
    return "quorum" in listed(_output(*env.programs.words("qemu_img"), "--help"))


def supported_formats(*, env: TestEnv, read_only: bool = False) -> list[str]:
    """Return the drivers that the emulator's whitelist has for writing, or for reading.

    Raises LaunchError, DeadlineExceeded.
    """
    output = _output(*env.programs.words("qemu"), "-drive", "format=help")
    return list(listed(output, read_only=read_only))


def missing_formats(required: Sequence[str], *, env: TestEnv, read_only: bool = False) -> list[str]:
    """Return the formats that :func:`supported_formats` does not have."""
    supported = supported_formats(env=env, read_only=read_only) if required else ()
    return [name for name in dict.fromkeys(required) if name not in supported]


def _has_device(names: Iterable[str], env: TestEnv) -> bool:
    devices = _output(*env.programs.words("qemu"), "-M", "none", "-device", "help")
    return any(name in devices for name in names)


@functools.cache
def _output(*words: str) -> str:
    """Return what a program prints and exits, whatever the exit status."""
    done = background_loop.run(ask(words, timeout=_ANSWER, accept=range(256)))
    return done.stdout + done.stderr
