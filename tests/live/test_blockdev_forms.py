"""Each driver that this machine can open is handed to QEMU in each of the forms."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from qemu_blocksdk import VM, Drive, StorageDaemon
from qemu_blocksdk.blockdev import (
    BlockdevOptions,
    File,
    NullCo,
    Quorum,
    Raw,
    from_blockdev,
    from_drive,
    from_filename,
    from_image_opts,
    from_json,
    to_blockdev,
    to_drive,
    to_filename,
    to_image_opts,
    to_json,
)
from qemu_blocksdk.errors import BlockSdkError, LaunchError, Unsupported, UsageError
from tests.live.helpers import needs_driver, run
from tests.live.option_samples import OBJECTS, SAMPLES, Lab, lab_in
from tests.live.unreached_samples import UNREACHED

pytestmark = pytest.mark.timeout(30)

Form = Callable[[BlockdevOptions], str]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """What options open."""
    with lab_in(tmp_path) as made:
        yield made


# -- the forms: each returns the driver of the node that QEMU made ---------------------


def blockdev_add(options: BlockdevOptions) -> str:
    """The JSON, as it is."""
    with StorageDaemon(args=_described("--object", "--blockdev")) as daemon:
        daemon.qmp.execute_raw("blockdev-add", json.loads(to_json(options)))
        return daemon.node("top").query_info().drv


def daemon_json(options: BlockdevOptions) -> str:
    """``qemu-storage-daemon --blockdev {...}``."""
    return _daemon(to_blockdev(options))


def daemon_dotted(options: BlockdevOptions) -> str:
    """``qemu-storage-daemon --blockdev driver=...``."""
    return _daemon(to_blockdev(options, dotted=True))


def system_json(options: BlockdevOptions) -> str:
    """``qemu-system-x86_64 -blockdev {...}``."""
    return _system("-blockdev", to_blockdev(options))


def system_dotted(options: BlockdevOptions) -> str:
    """``qemu-system-x86_64 -blockdev driver=...``."""
    return _system("-blockdev", to_blockdev(options, dotted=True))


def system_drive(options: BlockdevOptions) -> str:
    """``qemu-system-x86_64 -drive driver=...``."""
    return _system("-drive", to_drive(Drive(id="d", interface="none", options=options)))


def tool_filename(options: BlockdevOptions) -> str:
    """``qemu-io json:{...}``."""
    return _tool(options, to_filename(options))


def tool_image_opts(options: BlockdevOptions) -> str:
    """``qemu-io --image-opts driver=...``."""
    return _tool(options, "--image-opts", to_image_opts(options))


FORMS: dict[str, Form] = {
    form.__name__: form
    for form in (
        *(blockdev_add, daemon_json, daemon_dotted, system_json, system_dotted, system_drive),
        *(tool_filename, tool_image_opts),
    )
}
_NOT_THE_EMULATOR = r"blockdev_add|daemon_\w+|tool_\w+"
REFUSED = {
    # Only an emulator has it, which replays a guest.
    ("blkreplay", _NOT_THE_EMULATOR): "Unknown driver 'blkreplay'",
    # A tool has no nodes but those that it is told of.
    ("a node by its name", r"tool_\w+"): "Cannot find device='?base",
    # Which takes `file` for a file.
    ("a node by its name", "system_drive"): "top.file: means something else in -drive",
}
"""What cannot stand in a form, and what is said of it."""


class Refused(Exception):
    """A tool's complaint."""


def _described(to_object: str, to_blockdev: str) -> list[str]:
    objects = [word for each in OBJECTS for word in (to_object, each)]
    return [*objects, to_blockdev, "driver=null-co,node-name=base"]


def _daemon(word: str) -> str:
    args = [*_described("--object", "--blockdev"), "--blockdev", word]
    with StorageDaemon(args=args) as daemon:
        return daemon.node("top").query_info().drv


def _system(*words: str) -> str:
    with VM(args=[*_described("-object", "-blockdev"), *words]) as vm:
        return vm.node("top").query_info().drv


def _tool(options: BlockdevOptions, *words: str) -> str:
    objects = [word for each in OBJECTS for word in ("--object", each)]
    argv = ["qemu-io", *objects, *(["-r"] if options.read_only else []), "-c", "length", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode or not done.stdout.strip():
        raise Refused(done.stderr)
    return options.driver  # it tells no other, but opened what was told


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_driver_is_opened_by_its_options_in_every_form(lab: Lab, name: str, form: str) -> None:
    options = SAMPLES[name](lab)
    why = [
        said
        for (which, forms), said in REFUSED.items()
        if re.fullmatch(forms, form) and which == name
    ]
    if why:
        with pytest.raises((BlockSdkError, Refused), match=why[0]):
            FORMS[form](options)
    else:
        if options.driver != "blkreplay":  # which no tool has, but the emulator
            needs_driver(options.driver)
        assert FORMS[form](options) == options.driver


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", UNREACHED)
def test_a_driver_without_its_server_has_read_its_options_in_every_form(
    name: str, form: str
) -> None:
    options, complaint = UNREACHED[name]
    assert options.driver == name
    needs_driver(name)
    with pytest.raises((BlockSdkError, Refused), match=complaint):
        FORMS[form](options)


def test_no_driver_is_left_out() -> None:
    known = {kind.driver for kind in get_args(BlockdevOptions)}
    assert known <= {name.partition(" ")[0] for name in (*SAMPLES, *UNREACHED)}


def test_what_is_read_may_be_unsupported_by_the_qemu_that_gets_it(
    daemon: StorageDaemon, qemu_version: tuple[int, int]
) -> None:
    options = from_blockdev("null-co,node-name=top,active=on")
    if qemu_version >= (10, 0):
        assert daemon.add_node(options).query_info().drv == "null-co"
    else:
        with pytest.raises(Unsupported, match="active"):
            daemon.add_node(options)


# -- what the forms say differently -----------------------------------------------------


def test_a_file_name_that_is_no_unicode_is_for_dotted_names(lab: Lab) -> None:
    path = lab.folder / "\udcff"
    path.write_bytes(bytes(512))
    options = File(node_name="top", filename=str(path))
    for form in (daemon_dotted, system_dotted, system_drive, tool_image_opts):
        assert form(options) == "file"
    for form in (blockdev_add, daemon_json, system_json, tool_filename):
        with pytest.raises(UsageError, match="is not UTF-8"):
            form(options)


@pytest.mark.parametrize(
    ("word", "fits_blockdev"),
    [
        ("driver=null-co,node-name=top,size=010", True),
        ("driver=null-co,node-name=top,size=0x1000", True),
        ("driver=null-co,node-name=top,size= +512", True),
        ("driver=null-co,node-name=top,size=1.5k", False),
        ("driver=raw,node-name=top,offset=1k,file.driver=null-co", False),
        ("driver=blkdebug,node-name=top,align=1k,image.driver=null-co", False),
        ("driver=null-co,node-name=top,read-zeroes=y", True),
        ("driver=null-co,node-name=top,read-zeroes=true", True),
    ],
)
def test_a_text_is_read_where_qemu_reads_it_and_as_qemu_does(
    word: str, fits_blockdev: bool
) -> None:
    options = from_image_opts(word)
    assert _tool(options, "--image-opts", word) == options.driver
    assert from_drive(f"if=none,{word}").options == options
    assert _system("-drive", f"if=none,{word}") == options.driver
    if fits_blockdev:
        assert _daemon(word) == from_blockdev(word).driver
    else:
        with pytest.raises(LaunchError, match="expects integer"):
            _daemon(word)
        with pytest.raises(UsageError, match="expected int"):
            from_blockdev(word)


@pytest.mark.parametrize(
    "word",
    ["null-co,node-name=top,latency-ns=1k", "null-co,node-name=top,read-zeroes=1", "null-co,id=x"],
)
def test_what_is_refused_is_refused_by_qemu_as_well(word: str) -> None:
    with pytest.raises(UsageError):
        from_blockdev(word)
    with pytest.raises(LaunchError):
        _daemon(word)
    with pytest.raises(UsageError):
        from_image_opts(f"driver={word}")
    with pytest.raises(Refused):
        _tool(NullCo(), "--image-opts", f"driver={word}")


def test_the_number_means_to_qemu_what_it_means_here() -> None:
    for word in ("null-co,node-name=top,size=010000", "null-co,node-name=top,size=0x1000"):
        options = from_blockdev(word)
        with StorageDaemon(args=["--blockdev", word]) as daemon:
            info = daemon.node("top").query_info()
        assert isinstance(options, NullCo)
        assert info.image.virtual_size == options.size == 4096


def test_json_with_single_quotes_means_to_qemu_what_it_means_here() -> None:
    word = r"""{'driver': 'null-co', "node-name": 'top', 'size': 4096}"""
    assert from_json(word) == NullCo(node_name="top", size=4096)
    assert _daemon(word) == "null-co"


def test_the_file_name_that_qemu_makes_up_is_read_and_opens_the_same(
    daemon: StorageDaemon,
) -> None:
    options = Quorum(node_name="q", vote_threshold=1, children=[Raw(file=NullCo(size=4096))])
    name = daemon.add_node(options).query_info().file
    found = from_filename(name)
    assert isinstance(found, Quorum)
    assert _tool(found, name) == _tool(found, to_filename(found)) == "quorum"


def test_the_file_name_of_what_was_opened_by_texts_is_read(lab: Lab) -> None:
    word = to_image_opts(Raw(file=lab.file(), size=4096))
    info = json.loads(run("qemu-img", "info", "--output=json", "--image-opts", word))
    found = from_filename(info["filename"])
    assert isinstance(found, Raw)
    assert found.size == 4096
