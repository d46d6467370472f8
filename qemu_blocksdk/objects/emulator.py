"""What a system emulator is and can: a machine without anything is asked over QMP."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from qemu_blocksdk import wire  # loads each of its modules on first use
from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.qmp import AsyncQmp, ServerKind
from qemu_blocksdk.schema import Schema
from qemu_blocksdk.tools.drivers import DriverSupport, creatable, listed, supports
from qemu_blocksdk.tools.version import Version

from . import binary_cache_file
from .binary_cache import BinaryCache
from .process import Handover
from .qemu import AsyncQemu

versions: BinaryCache[Version] = BinaryCache()
schemas: BinaryCache[Schema] = BinaryCache()
accelerators: BinaryCache[frozenset[str]] = BinaryCache()
monitor_objects: BinaryCache[bool] = BinaryCache()
"""Whether a binary has the object type ``monitor-qmp``: learned along with its accelerators."""
_emulators: BinaryCache[Emulator] = BinaryCache()


class Emulator(Value):
    """A system emulator.

    ``accelerators`` are those that are compiled in; whether this host lets ``kvm`` run shows
    at a launch. ``default_machine`` is None where a guest's machine has to be named (arm);
    ``default_machine_alias`` is its name in every version (``pc``), if it has one.
    """

    version: Version
    target: str
    default_machine: str | None
    default_machine_alias: str | None
    accelerators: frozenset[str]
    drivers: Mapping[str, DriverSupport]


async def query_emulator(program: str, *, timeout: float) -> Emulator:
    """Ask a binary, once, ``timeout`` seconds at most for each step. Raises LaunchError."""

    async def ask() -> Emulator:
        async with BareVM(program=program, launch_timeout=timeout, command_timeout=timeout) as bare:
            machines = await bare.qmp.execute(wire.QueryMachines())
            default = next((machine for machine in machines if machine.is_default), None)
            found = Emulator(
                version=await query_version(bare.qmp),
                target=(await bare.qmp.execute(wire.QueryTarget())).arch,
                default_machine=None if default is None else default.name,
                default_machine_alias=None if default is None else default.alias,
                accelerators=_learned(program, await _list_types(bare.qmp)),
                drivers=await _list_drivers(bare.qmp),
            )
            schemas.store(program, await bare.qmp.schema())
        versions.store(program, found.version)
        accelerators.store(program, found.accelerators)
        return found

    return await _emulators.of(program, ask)


async def query_accelerators(program: str, *, timeout: float) -> frozenset[str]:
    """Return the accelerators of a binary; it is asked once a day. Raises LaunchError."""

    async def ask() -> frozenset[str]:
        match binary_cache_file.load("types", program):
            case [*known] if known and all(isinstance(name, str) for name in known):
                return _learned(program, list(map(str, known)))
            case _:
                pass
        async with BareVM(program=program, launch_timeout=timeout) as bare:
            found = await _list_types(bare.qmp)
        binary_cache_file.store("types", program, sorted(found))
        return _learned(program, found)

    return await accelerators.of(program, ask)


async def query_version(qmp: AsyncQmp) -> Version:
    """Ask a QEMU for its version (``query-version``)."""
    told = await qmp.execute(wire.QueryVersion())
    return Version(
        major=told.qemu.major,
        minor=told.qemu.minor,
        micro=told.qemu.micro,
        package=told.package.strip("() "),
    )


async def _list_types(qmp: AsyncQmp) -> set[str]:
    """Ask for the QOM types that decide how a machine is started."""
    # `-accel help` leaves qtest out.
    found = await qmp.execute(wire.QomListTypes(implements="accel"))
    found += await qmp.execute(wire.QomListTypes(implements="monitor-qmp"))
    return {kind.name for kind in found}


def _learned(program: str, types: Collection[str]) -> frozenset[str]:
    """Keep what the QOM types of a binary say, and return its accelerators."""
    monitor_objects.store(program, "monitor-qmp" in types)
    return frozenset(name.removesuffix("-accel") for name in types if name.endswith("-accel"))


async def _list_drivers(qmp: AsyncQmp) -> dict[str, DriverSupport]:
    # Introspection tells what is compiled in, not what a distributor's whitelist leaves of it.
    text = await qmp.execute(
        wire.HumanMonitorCommand(command_line="drive_add 0 if=none,format=help")
    )
    writable = listed(text)
    if not writable:
        raise Unsupported("list of its block drivers")
    return supports(
        [*writable, *listed(text, read_only=True)],
        writable=writable,
        creatable=creatable(await qmp.schema()),
    )


class BareVM(AsyncQemu):
    """A QEMU that only answers questions."""

    _kind: ClassVar[ServerKind] = "system"

    async def _arguments(self, given: Handover) -> list[str]:
        nothing = ["-machine", "none", "-nodefaults", "-display", "none"]
        return [*nothing, *given.qmp_args(), "-S"]
