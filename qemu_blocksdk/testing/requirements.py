"""What a test needs of its environment and of the QEMU binaries, and why it cannot run here.

``Toolchain`` queries the binaries and caches their answers; version numbers decide nothing. The
test framework decides what happens to a test that cannot run. A name that no QEMU has is an error,
because a misspelt name would skip its test for ever.
"""

from __future__ import annotations

import difflib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, cast, get_args

from qemu_blocksdk import VM, Toolchain
from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import LaunchError, Unsupported, UsageError
from qemu_blocksdk.objects.binary_cache import binary_identity
from qemu_blocksdk.objects.toolchain import ServerProgram
from qemu_blocksdk.objects.vm import Accelerator
from qemu_blocksdk.schema import Schema, snapshots
from qemu_blocksdk.schema.model import Command, Enum, Event, Object

from .env import IMGFMTS, IMGPROTOS, TestEnv, one_of

_PLATFORMS = ("aix", "cygwin", "darwin", "freebsd", "linux", "netbsd", "openbsd", "win32")
_NAMES = {
    "formats": IMGFMTS,
    "not_formats": IMGFMTS,
    "protocols": IMGPROTOS,
    "platforms": _PLATFORMS,
}
Kind = Literal["driver", "command", "event", "member"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_DRIVER: Final = "blockdev-add.driver."
_startable: dict[tuple[object, Accelerator], str | None] = {}
"""Why a binary does not start with an accelerator."""


class Requires(Value):
    """What a test needs. A member that is not given needs nothing.

    Environment: the image format is in ``formats`` and not in ``not_formats``; the protocol is in
    ``protocols``; ``sys.platform`` begins with one of ``platforms``. System emulator, or storage
    daemon where there is no emulator: it has a block ``driver``, the driver ``quorum``, a
    ``command``, an ``event``, a ``member`` of a command (``"blockdev-backup.discard-source"``).
    Emulator: it starts here with an ``accelerator``. qemu-img: ``luks`` works. User: ``root``
    True needs root, False needs another user.
    """

    formats: Sequence[str] | None = None
    not_formats: Sequence[str] | None = None
    protocols: Sequence[str] | None = None
    platforms: Sequence[str] | None = None
    driver: str | None = None
    command: str | None = None
    event: str | None = None
    member: str | None = None
    accelerator: Accelerator | None = None
    quorum: bool = False
    luks: bool = False
    root: bool | None = None


def why_not(requires: Requires, env: TestEnv) -> str | None:
    """Return the reason why a test cannot run here; None if it can.

    A test of the format luks also needs LUKS that works. Raises UsageError for an unknown format,
    protocol, platform or accelerator, for a driver, command, event or member that no known QEMU
    has, and for a member without its command; LaunchError if a program that has to be queried is
    missing or does not start.
    """
    check(requires)
    check_names(requires, lambda: env)
    return next(_reasons(requires, env), None)


def _reasons(requires: Requires, env: TestEnv) -> Iterator[str]:
    """Yield the reasons, the cheap checks first."""
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
            yield _lacks(env, "driver", driver)
    for kind in KINDS[1:]:
        name: str | None = getattr(requires, kind)
        if name is not None and not _has(toolchain.query_schema(_server(env)), kind, name):
            yield _lacks(env, kind, name)
    if requires.accelerator is not None:
        yield from _cannot_start(env, requires.accelerator)
    if requires.luks or (formats and env.imgfmt == "luks"):
        problem = toolchain.query_luks().problem
        if problem is not None:
            yield f"LUKS does not work: {problem}"


def _server(env: TestEnv) -> ServerProgram:
    """Return the program to query. Raises LaunchError if there is none."""
    if "storage_daemon" in (found := env.programs.find()) and "qemu" not in found:
        return "storage_daemon"
    env.programs.require("qemu")
    return "qemu"


def _has(schema: Schema, kind: Kind, name: str) -> bool:
    if kind == "event":
        return schema.has_event(name)
    return schema.has(_DRIVER + name if kind == "driver" else name)


def _lacks(env: TestEnv, kind: Kind, name: str) -> str:
    """Return that a binary lacks something, and which QEMUs have it."""
    known = [each for each in snapshots.available() if _has(snapshots.load(each), kind, name)]
    program = Path(env.programs.words(_server(env))[0]).name
    return f"{program} has no {kind} {name!r} (known to {', '.join(known) or 'no other QEMU'})"


def check_names(requires: Requires, env: Callable[[], TestEnv]) -> None:
    """Raise UsageError for a driver, command, event or member that no QEMU has.

    The snapshots know most names. The binary of ``env()`` is queried for any other name only, as
    it may be newer than the snapshots.
    """
    for kind in KINDS:
        name: str | None = getattr(requires, kind)
        if name is None or any(_has(schema, kind, name) for schema in _snapshots()):
            continue
        if not _binary_has(env(), kind, name):
            near = _nearest(kind, name)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"{kind}: no known QEMU has {name!r}{hint}")


def _snapshots() -> Iterator[Schema]:
    """Yield the known schemas, the newest first."""
    return map(snapshots.load, reversed(snapshots.available()))


def _binary_has(env: TestEnv, kind: Kind, name: str) -> bool:
    try:
        return _has(Toolchain(env.programs).query_schema(_server(env)), kind, name)
    except (LaunchError, Unsupported):
        return False


def _nearest(kind: Kind, name: str) -> str | None:
    """Return the known name that is most like a misspelt one, if any is."""
    for schema in _snapshots():
        # Of a member, the first part of its path that is not known.
        parts = name.split(".") if kind == "member" else [name]
        right = 0
        while schema.has(".".join(parts[: right + 1])):
            right += 1
        before = "".join(f"{part}." for part in parts[:right])
        similar = difflib.get_close_matches(parts[right], _every_name(schema, kind), n=20)
        for each in similar:
            if _has(schema, "command" if kind == "member" else kind, before + each):
                return before + each
    return None


@functools.cache
def _every_name(schema: Schema, kind: Kind) -> Sequence[str]:
    """Return the names of all events, or those of all commands, members and enum values."""
    names = dict[str, None]()
    for entity in filter(None, map(schema.entity, schema)):
        match entity:
            case Event() if kind == "event":
                names[entity.name] = None
            case Command():
                names[entity.name] = None
            case Object():
                names |= dict.fromkeys([member.name for member in entity.members])
                names |= dict.fromkeys(entity.variants)
            case Enum():
                names |= dict.fromkeys(entity.values)
            case _:
                pass
    return tuple(names)


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
    """Raise UsageError for values of the wrong form, without a query."""
    for what, names in _NAMES.items():
        given: object = getattr(requires, what)
        if given is not None and not isinstance(given, list | tuple):
            raise UsageError(f"{what} is a list of names, not {given!r}")
        for name in cast("Sequence[str]", given or ()):
            one_of(names, name, what=what)
    if requires.accelerator is not None:
        one_of(get_args(Accelerator), requires.accelerator, what="accelerator")
    for what in KINDS:
        text: object = getattr(requires, what)
        if text is not None and (not isinstance(text, str) or not text):
            raise UsageError(f"{what}: a name is wanted, not {text!r}")
    for what in ("quorum", "luks", "root"):
        if not isinstance(flag := cast("object", getattr(requires, what)), bool | None):
            raise UsageError(f"{what} is True or False, not {flag!r}")
    if requires.member is not None and "." not in requires.member:
        raise UsageError(
            f"member: {requires.member!r} has no command: write 'COMMAND.{requires.member}'"
        )
