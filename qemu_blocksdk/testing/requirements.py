"""What a test needs of the environment and of the binaries, as a value; and why it cannot run.

The binaries are asked, through ``Toolchain``, which keeps their answers; a version decides
nothing. What becomes of a test that cannot run is its framework's business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

from qemu_blocksdk import VM, Toolchain
from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import LaunchError, Unsupported, UsageError
from qemu_blocksdk.objects.binary_cache import binary_identity
from qemu_blocksdk.objects.toolchain import ServerProgram
from qemu_blocksdk.objects.vm import Accelerator
from qemu_blocksdk.schema import snapshots

from .env import IMGFMTS, IMGPROTOS, TestEnv, one_of

_PLATFORMS = ("aix", "cygwin", "darwin", "freebsd", "linux", "netbsd", "openbsd", "win32")
_NAMES = {
    "formats": IMGFMTS,
    "not_formats": IMGFMTS,
    "protocols": IMGPROTOS,
    "platforms": _PLATFORMS,
}
_startable: dict[tuple[object, Accelerator], str | None] = {}
"""Why a binary does not start with an accelerator."""


class Requires(Value):
    """What a test needs; what is not said it does not.

    Of the environment: an image format in ``formats``, and not in ``not_formats``; a protocol in
    ``protocols``; a platform that begins like one of ``platforms`` (``sys.platform``). Of the
    system emulator, or, where there is none, of the storage daemon: a block ``driver``,
    ``quorum``, a ``command``, a ``member`` below one (``"blockdev-backup.discard-source"``).
    Of the emulator: an ``accelerator`` with which it starts here. Of qemu-img: ``luks``.
    ``root`` True is a user who is root, False one who is not.
    """

    formats: Sequence[str] | None = None
    not_formats: Sequence[str] | None = None
    protocols: Sequence[str] | None = None
    platforms: Sequence[str] | None = None
    driver: str | None = None
    command: str | None = None
    member: str | None = None
    accelerator: Accelerator | None = None
    quorum: bool = False
    luks: bool = False
    root: bool | None = None


def why_not(requires: Requires, env: TestEnv) -> str | None:
    """Return why a test cannot run here, in words; None where it can.

    A test of the format luks needs LUKS that works. Raises UsageError for a name that is no
    format, protocol, platform or accelerator, and a member without its command; LaunchError
    where a program that has to be asked is missing or does not start.
    """
    check(requires)
    return next(_reasons(requires, env), None)


def _reasons(requires: Requires, env: TestEnv) -> Iterator[str]:
    """Yield what is in the way, what is cheap to know first."""
    formats, protocols, platforms = requires.formats, requires.protocols, requires.platforms
    if (formats and env.imgfmt not in formats) or env.imgfmt in (requires.not_formats or ()):
        yield f"not for image format {env.imgfmt}"
    if protocols and env.imgproto not in protocols:
        yield f"not for protocol {env.imgproto}"
    if platforms and not sys.platform.startswith(tuple(platforms)):
        yield f"not for platform {sys.platform}"
    if requires.root is not None and requires.root != (os.geteuid() == 0):
        yield "needs root" if requires.root else "cannot run as root"
    toolchain = Toolchain(env.programs)
    for driver in (requires.driver, "quorum" if requires.quorum else None):
        if driver is not None and driver not in toolchain.query_drivers(_server(env)):
            yield _lacks(env, f"driver {driver!r}", "blockdev-add." + driver)
    for path in (requires.command, requires.member):
        if path is not None and not toolchain.query_schema(_server(env)).has(path):
            yield _lacks(env, ("member " if "." in path else "command ") + repr(path), path)
    if requires.accelerator is not None:
        yield from _cannot_start(env, requires.accelerator)
    if requires.luks or (formats and env.imgfmt == "luks"):
        problem = toolchain.query_luks().problem
        if problem is not None:
            yield f"LUKS does not work: {problem}"


def _server(env: TestEnv) -> ServerProgram:
    """Return the program that is asked what QEMU has. Raises LaunchError where there is none."""
    if "storage_daemon" in (found := env.programs.find()) and "qemu" not in found:
        return "storage_daemon"
    env.programs.require("qemu")
    return "qemu"


def _lacks(env: TestEnv, what: str, path: str) -> str:
    """Say what a binary lacks, and which has it: a slip of the pen is known by that none does."""
    known = [name for name in snapshots.available() if snapshots.load(name).has(path)]
    who = Path(env.programs.words(_server(env))[0]).name
    return f"{who} has no {what} (known to {', '.join(known) or 'no QEMU that was looked at'})"


def _cannot_start(env: TestEnv, accelerator: Accelerator) -> Iterator[str]:
    env.programs.require("qemu")
    program = env.programs.words("qemu")[0]
    key = binary_identity(program), accelerator
    if key not in _startable:
        problem = None
        try:
            with VM(program=program, machine="none", accelerator=accelerator):
                pass
        except (LaunchError, Unsupported) as error:
            problem = f"cannot run with accelerator {accelerator}: {error}"
        _startable[key] = problem
    if (problem := _startable[key]) is not None:
        yield problem


def check(requires: Requires) -> None:
    """Raise UsageError, as :func:`why_not` does, and ask nobody."""
    for what, names in _NAMES.items():
        given: object = getattr(requires, what)
        if given is not None and not isinstance(given, list | tuple):
            raise UsageError(f"{what} is a list of names, not {given!r}")
        for name in cast("Sequence[str]", given or ()):
            one_of(names, name, what=what)
    if requires.accelerator is not None:
        one_of(get_args(Accelerator), requires.accelerator, what="accelerator")
    for what in ("driver", "command", "member"):
        text: object = getattr(requires, what)
        if text is not None and (not isinstance(text, str) or not text):
            raise UsageError(f"{what}: {text!r} is no name")
    for what in ("quorum", "luks", "root"):
        if not isinstance(flag := cast("object", getattr(requires, what)), bool | None):
            raise UsageError(f"{what} is True or False, not {flag!r}")
    if requires.member is not None and "." not in requires.member:
        raise UsageError(f"member: {requires.member!r} does not say of which command")
