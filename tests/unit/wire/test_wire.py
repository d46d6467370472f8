"""The generated types: all of what is bound is there, and each goes to JSON and back."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import cast, get_args

import pytest

from qemu_blocksdk import wire
from qemu_blocksdk.codec import (
    Command,
    Event,
    JsonValue,
    Struct,
    Unknown,
    decode,
    decode_reply,
    encode,
)
from qemu_blocksdk.schema import Schema, snapshots
from qemu_blocksdk.schema.config import Config
from qemu_blocksdk.schema.model import Alternate, Array, Builtin, Enum, Object
from qemu_blocksdk.wire import _availability

Json = dict[str, JsonValue]

# Decoding constructs, and so warns for, classes of what QEMU deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:QEMU deprecates:DeprecationWarning")

CONFIG = Config.load()
COMMANDS = [name for domain in CONFIG.domains for name in domain.commands]
EVENTS = [name for domain in CONFIG.domains for name in domain.events]
NEWEST = snapshots.load("system-10.0")


def classes() -> list[type[Struct]]:
    found = [getattr(wire, name) for name in wire.__all__]
    return [each for each in found if isinstance(each, type) and issubclass(each, Struct)]


def commands() -> dict[str, type[Command[object]]]:
    return {each._name: each for each in classes() if issubclass(each, Command)}


def branches(alias: object) -> list[type[Struct]]:
    return [each for each in get_args(alias) if each is not Unknown]


def samples(schema: Schema, name: str, depth: int = 0) -> Iterator[JsonValue]:
    """JSON values of a type that between them have every member, value and branch once.

    Below the first level only the smallest sample is taken, and no optional member.
    """
    found = schema.type(name)
    match found:
        case Builtin():
            # QEMU 7.2: a job's type is a string in query-block-jobs, so the string is a job type.
            examples: Json = {"string": "backup", "int": 7, "number": 1.5}
            examples |= {"boolean": True, "null": None, "value": {"any": [1]}}
            yield examples[found.json_type]
        case Enum():
            yield from found.values if depth < 2 else found.values[:1]
        case Array():
            for item in samples(schema, found.element, depth):
                yield [item]
        case Alternate():
            for member in reversed(found.members):
                yield from samples(schema, member, depth + 1)
        case Object():
            yield from objects(schema, found, {}, depth)


def object_samples(schema: Schema, name: str) -> Iterator[Json]:
    found = schema.type(name)
    assert isinstance(found, Object)
    return objects(schema, found, {}, 0)


def objects(schema: Schema, found: Object, base: Json, depth: int) -> Iterator[Json]:
    smallest: Json = {
        member.name: next(samples(schema, member.type, depth + 1))
        for member in found.members
        if member.name != found.tag and not member.optional
    }
    full = dict(smallest)
    if depth == 0:
        for member in found.members:
            if member.name != found.tag:
                full[member.name] = next(samples(schema, member.type, depth + 1))
    if found.tag is None:
        yield {**base, **full}
        return
    for case, variant in found.variants.items():
        branch = schema.type(variant)
        assert isinstance(branch, Object)
        yield from objects(schema, branch, {**base, **full, found.tag: case}, depth)
        if depth:
            return


def test_every_bound_command_and_event_has_a_class() -> None:
    events = {each._name for each in classes() if issubclass(each, Event)}
    assert set(COMMANDS) == set(commands())
    assert set(EVENTS) == events


@pytest.mark.parametrize(
    "name",
    [
        *("blockdev-add", "blockdev-create", "block-export-add", "transaction", "object-add"),
        *("x-blockdev-amend", "x-debug-query-block-graph", "x-debug-block-dirty-bitmap-sha256"),
        *("block-latency-histogram-set", "block_set_io_throttle", "block-set-write-threshold"),
        *("migrate", "migrate_cancel", "device_add", "human-monitor-command", "system_reset"),
        *("getfd", "closefd", "add-fd", "remove-fd", "qom-get", "qom-set", "qom-list", "quit"),
    ],
)
def test_what_the_project_promises_is_bound(name: str) -> None:
    assert name in commands()


@pytest.mark.parametrize("name", snapshots.available())
def test_every_driver_of_every_snapshot_is_a_class(name: str) -> None:
    schema = snapshots.load(name)
    command = schema.command("blockdev-add")
    assert command is not None
    options = schema.type(command.arg)
    assert isinstance(options, Object)
    drivers = {each.__dict__["driver"] for each in branches(wire.BlockdevOptions)}
    assert drivers >= options.variants.keys()
    assert len(drivers) >= 42
    assert drivers <= set(get_args(wire.BlockdevDriver))


def test_no_name_is_a_masked_one() -> None:
    others = [name for name in wire.__all__ if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name)]
    assert others == ["available_in"]
    assert [name for name in wire.__all__ if re.fullmatch(r"[A-Z][a-z]*\d{2,}", name)] == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "BlockdevOptions",
            "BlockdevRef",
            "BlockdevRefOrNull",
            "StrOrNull",
            "JobStatus",
            "JobType",
        ),
        *("BlockDirtyBitmapOrStr", "MirrorSyncMode", "ImageInfoSpecific", "XDbgBlockGraph"),
        *("BlockDeviceInfo", "BlockExportOptions", "SocketAddress", "Qcow2OverlapCheckFlags"),
        *("MigrationParameters", "ObjectOptions", "QCryptoBlockCreateOptions", "RunState"),
    ],
)
def test_types_have_qemus_public_names(name: str) -> None:
    assert name in wire.__all__


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(wire.__path__)])
def test_every_module_can_be_the_first_to_be_imported(name: str) -> None:
    code = f"import qemu_blocksdk.wire.{name}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_loads_only_its_own_domain() -> None:
    code = """if True:
        import sys
        from qemu_blocksdk.wire import JobInfo
        loaded = [name for name in sys.modules if name.startswith("qemu_blocksdk.wire.")]
        assert loaded == ["qemu_blocksdk.wire.job"], loaded
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("snapshot", snapshots.available())
def test_arguments_of_every_command_go_through_the_types_unchanged(snapshot: str) -> None:
    schema = snapshots.load(snapshot)
    bound = commands()
    for name in COMMANDS:
        command = schema.command(name)
        if command is None:
            continue
        cls = bound[name]
        for json in object_samples(schema, command.arg):
            assert schema.problem(name, json) is None
            value = decode_boxed(cls, json) if cls._boxed else decode(cls, json)
            assert encode(value) == json
            assert not value.unknown_members


def decode_boxed(cls: type[Command[object]], json: Json) -> Struct:
    """The branch of the union that a boxed command takes."""
    alias = getattr(wire, cls.__annotations__["options"])
    for branch in branches(alias) or [alias]:
        if all(json[tag] == getattr(branch, tag.replace("-", "_")) for tag in branch._tags):
            return decode(branch, json)
    # Left out on purpose: a driver that cannot create or amend.
    assert cls._name in ("blockdev-create", "x-blockdev-amend")
    return decode(Unknown, {"tag": "", "members": json})


@pytest.mark.parametrize("snapshot", snapshots.available())
def test_replies_of_every_command_are_decoded_without_a_rest(snapshot: str) -> None:
    schema = snapshots.load(snapshot)
    bound = commands()
    for name in COMMANDS:
        command = schema.command(name)
        if command is None:
            continue
        for json in samples(schema, command.ret):
            reply = decode_reply(bound[name].__new__(bound[name]), json)
            assert list(rests(reply)) == []


def rests(value: object) -> Iterator[object]:
    """Every member or branch in a decoded value that no type told about."""
    if isinstance(value, Unknown):
        if value.tag not in UNBOUND_STATISTICS:
            yield value
    elif isinstance(value, Struct):
        if value.unknown_members:
            yield value.unknown_members
        for member in vars(value).values():
            yield from rests(member)
    elif isinstance(value, list | tuple):
        for item in cast("list[object]", value):
            yield from rests(item)


# Drivers without statistics of their own: QEMU has a branch for each, and never sends it.
UNBOUND_STATISTICS = set(get_args(wire.BlockdevDriver)) - {
    each.__dict__["driver"] for each in branches(wire.BlockStatsSpecific)
}


def test_data_of_every_event_goes_through_the_types_unchanged() -> None:
    bound = {each._name: each for each in classes() if issubclass(each, Event)}
    for name in EVENTS:
        event = NEWEST.event(name)
        assert event is not None
        for json in object_samples(NEWEST, event.arg):
            assert encode(decode(bound[name], json)) == json


def test_what_is_not_everywhere_is_told_by_availability() -> None:
    exceptions = _availability.EXCEPTIONS
    assert snapshots.available() == _availability.SNAPSHOTS
    everywhere = (1 << len(_availability.SNAPSHOTS)) - 1
    assert exceptions["Cont"] == 0b101010
    assert exceptions["Qcow2.discard_no_unref"] == 0b111100
    assert exceptions["MigrationCapability=mapped-ram"] == 0b101000
    assert "BlockdevAdd" not in exceptions
    for key, mask in exceptions.items():
        name, _, rest = key.replace("=", ".").partition(".")
        assert hasattr(wire, name)
        assert mask != exceptions.get(name, everywhere) if rest else mask != everywhere


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_no_attribute_hides_one_of_the_base_classes(cls: type[Struct]) -> None:
    base = Event if issubclass(cls, Event) else Struct
    assert not cls.__annotations__.keys() & {n for n in dir(base) if not n.startswith("_")}


def test_domains_are_the_modules() -> None:
    modules = {module.name for module in pkgutil.iter_modules(wire.__path__)}
    assert modules == {domain.name for domain in CONFIG.domains} | {"_availability", "_changes"}
    for domain in CONFIG.domains:
        module = importlib.import_module(f"qemu_blocksdk.wire.{domain.name}")
        assert module.__doc__ == domain.doc
