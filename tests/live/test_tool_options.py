"""The page of the tools' options against the tools, and against the API."""

from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from string import ascii_letters

import qemu_blocksdk
from qemu_blocksdk import tools
from qemu_blocksdk.codec import Value
from tests.live.helpers import run
from tests.live.tool_options import Spelling, spellings, tables

NOBODYS = "--blocksdk-none"
# QEMU 10.0: `amend --help` writes --progres, which getopt completes to --progress.
MISPRINTED = {"--progres"}
# QEMU 7.2 and 10.0: `help read` shows an -a that `read` refuses.
MISPRINTED_OF_IO = {"read -a"}
COMMANDS_OF_IO = "Commands of qemu-io"
OPTIONS_OF_IO = "Options of the commands of qemu-io"


def subcommands() -> list[str]:
    """The commands of qemu-img, as it lists them."""
    return re.findall(r"^  (\w+) [-(\[]", run("qemu-img", "--help"), re.MULTILINE)


def commands() -> list[str]:
    """Everything that has options of its own: ``qemu-img``, ``qemu-img create``, ..."""
    return ["qemu-img", "qemu-io", "qemu-nbd", *(f"qemu-img {name}" for name in subcommands())]


def shared(command: str) -> list[str]:
    """The headings of what a command has in common with others."""
    general = ["Any subcommand"] if " " in command else ["Any tool"]
    return general if command == "qemu-img" else [*general, "What opens an image"]


@cache
def takes(command: str, option: str) -> bool:
    """Whether a command knows an option. It is refused in any case, before it does something."""
    # The first of what nobody knows may be taken for the option's value.
    words = [f"{option}1"] if option.endswith("=") else [option, NOBODYS, NOBODYS]
    argv = [*command.split(), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    name = re.escape(option)
    unknown = (
        rf"unrecognized option '{name}'|option '{name}' is ambiguous|"
        rf"invalid option -- '{name[-1]}'|unrecognized operand {name[:-1]}\b"
    )
    return re.search(unknown, done.stderr) is None


def told(command: str) -> set[str]:
    """The options that help tells of."""
    general = run(command.split()[0], "--help")
    of_subcommand = re.search(rf"^  {command.partition(' ')[2]} [(\[].*$", general, re.MULTILINE)
    text = of_subcommand[0] if of_subcommand else run(*command.split(), "--help")
    found = set(re.findall(r"(?<![\w-])(-[a-zA-Z]\b(?!-)|--[a-z][\w-]*)", text))
    return found | set(re.findall(r"(?<![\w-])[a-z]+=", text) if command.endswith(" dd") else ())


def listed(command: str) -> set[str]:
    """The long options that getopt lists where it says what an empty name may stand for.

    QEMU 7.2: most of qemu-img keeps that to itself.
    """
    argv = [*command.split(), "--="]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    _, _, possibilities = done.stderr.partition("possibilities:")
    return set(re.findall(r"'(--[\w-]+)'", possibilities))


def offered(command: str) -> set[str]:
    """The options that a command has; help of 10.0 has some that it does not."""
    letters = {f"-{letter}" for letter in ascii_letters}
    candidates = (told(command) | listed(command) | letters) - MISPRINTED
    return {option for option in candidates if takes(command, option)}


def texts(headings: Iterable[str]) -> set[str]:
    """The spellings below some headings, whatever their versions."""
    return {spelling.text for heading in headings for spelling in spellings(heading)}


def test_the_page_has_every_option_of_the_tools() -> None:
    missing: list[str] = []
    assert len(commands()) > 17
    for command in commands():
        options = offered(command)
        assert len(options) > 2
        known = texts([*shared(command), *([] if command == "qemu-img" else [command])])
        missing += [f"{command} {option}" for option in sorted(options - known)]
    assert missing == []


def test_the_tools_take_every_option_of_the_page(qemu_version: tuple[int, int]) -> None:
    def is_true(spelling: Spelling, *candidates: str) -> bool:
        is_taken = any(takes(command, spelling.text) for command in candidates)
        return is_taken == spelling.is_in(qemu_version)

    own = {*commands()} & tables().keys()
    assert own == {*commands()} - {"qemu-img"}
    wrong = [
        f"{command} {spelling.text}"
        for command in own
        for spelling in spellings(command)
        if not is_true(spelling, command)
    ]
    common = {heading for command in commands() for heading in shared(command)}
    for heading in common:
        candidates = [command for command in commands() if heading in shared(command)]
        wrong += [s.text for s in spellings(heading) if not is_true(s, *candidates)]
    assert wrong == []
    assert common | own | {COMMANDS_OF_IO, OPTIONS_OF_IO} == tables().keys()


# -- the commands of qemu-io ----------------------------------------------------------------


def commands_of_io() -> set[str]:
    """The commands that qemu-io lists."""
    return set(re.findall(r"^(\w+) .*-- ", run("qemu-io", "-c", "help"), re.MULTILINE))


@cache
def options_of_io() -> frozenset[str]:
    """What help tells of the options of each command: ``read -P``."""
    found = set[str]()
    for command in commands_of_io():
        usage, _, details = run("qemu-io", "-c", f"help {command}").partition(" -- ")
        letters = "".join(re.findall(r"[\[(|]-(\w+)", usage) + re.findall(r" -(\w), -- ", details))
        found |= {f"{command} -{letter}" for letter in letters}
    return frozenset(found - MISPRINTED_OF_IO)


def test_the_page_has_every_command_of_qemu_io(qemu_version: tuple[int, int]) -> None:
    assert len(commands_of_io()) > 20
    listed = spellings(COMMANDS_OF_IO)
    # Debian's 10.0 has what QEMU's later versions began with: the binary has at least its own.
    assert {s.text for s in listed if s.is_in(qemu_version)} <= commands_of_io()
    assert commands_of_io() <= {s.text for s in listed}


def test_the_page_has_every_option_of_the_commands_of_qemu_io(
    qemu_version: tuple[int, int],
) -> None:
    assert len(options_of_io()) > 40
    listed = spellings(OPTIONS_OF_IO)
    own = {s.text: s for s in listed if " " in s.text}
    general = {s.text: s for s in listed if " " not in s.text}
    rest = {option.split()[1] for option in options_of_io() - own.keys()}
    known = {text for text, spelling in own.items() if spelling.is_in(qemu_version)}
    assert known == options_of_io() & own.keys()
    assert {text for text, each in general.items() if each.is_in(qemu_version)} == rest


# -- the API --------------------------------------------------------------------------------

PLACE = re.compile(r"(?P<owner>\w+)(\.(?P<member>\w+))?(?P<call>\(((?P<parameter>\w+)=)?\))?")


def parameters(function: object) -> set[str]:
    """The names of the parameters, with those of a TypedDict that is unpacked."""
    assert callable(function)
    if Value in getattr(function, "__mro__", ()):
        return {*inspect.get_annotations(function)}
    found = set[str]()
    for parameter in inspect.signature(function).parameters.values():
        unpacked = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
        options: type | None = getattr(tools, unpacked[1]) if unpacked else None
        found |= {*inspect.get_annotations(options)} if options else {parameter.name}
    return found


def is_there(reference: str) -> bool:
    """Whether the API has the class, the member and the parameter."""
    place = PLACE.fullmatch(reference)
    if place is None:
        return False
    module = qemu_blocksdk if hasattr(qemu_blocksdk, place["owner"]) else tools
    found: object = getattr(module, place["owner"], None)
    if place["member"]:
        found = getattr(found, place["member"], None)
    if found is None or (place["member"] and callable(found) != bool(place["call"])):
        return False
    return place["parameter"] is None or place["parameter"] in parameters(found)


def test_what_the_page_names_is_in_the_api() -> None:
    named = {place for rows in tables().values() for row in rows for place in row.references}
    assert len(named) > 100
    assert [place for place in sorted(named) if not is_there(place)] == []


def test_every_row_says_where_or_why_not() -> None:
    rows = [row for table in tables().values() for row in table]
    assert [row for row in rows if not row.spellings or not row.where] == []
    seen = [(heading, s.text) for heading in tables() for s in spellings(heading)]
    assert len(seen) == len(set(seen))
