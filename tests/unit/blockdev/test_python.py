"""The Python that builds options builds the same, and looks as if somebody had written it."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings

from qemu_blocksdk import wire
from qemu_blocksdk.blockdev import (
    NULL,
    BlkdebugInjectErrorOptions,
    BlockdevCacheOptions,
    BlockdevOptions,
    BlockdevQcow2EncryptionLuks,
    File,
    Nbd,
    NullCo,
    Qcow2,
    Quorum,
    Raw,
    to_python,
)
from qemu_blocksdk.codec import Unknown, decode, encode
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import SocketAddressInet
from tests.unit.blockdev.any_options import DRIVERS, any_options

NAMES = {"NULL": NULL, **{name: getattr(wire, name) for name in dir(wire)}}
BASE = Qcow2(node_name="base", file=File(filename="/images/base.qcow2"), backing=NULL)
DISK = Qcow2(
    node_name="disk",
    file=File(filename="/images/disk.qcow2", aio="native"),
    cache=BlockdevCacheOptions(direct=True),
    encrypt=BlockdevQcow2EncryptionLuks(key_secret="key"),
    backing=BASE,
)


def built(expression: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of QEMU's, for `gluster`
        return cast("object", eval(expression, dict(NAMES)))


def run(module: str) -> object:
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(module, names)
    return names["options"]


@pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: cast("str", kind.__name__))
def test_the_python_of_options_of_each_driver_builds_them(kind: type[BlockdevOptions]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(any_options(kind))
    def check(value: BlockdevOptions) -> None:
        assert built(to_python(value)) == value
        assert run(to_python(value, module=True)) == value

    check()


def test_what_fits_is_one_line() -> None:
    assert to_python(BASE) == (
        'Qcow2(node_name="base", file=File(filename="/images/base.qcow2"), backing=NULL)'
    )


def test_what_does_not_is_a_member_a_line() -> None:
    assert to_python(DISK) == (
        """\
Qcow2(
    node_name="disk",
    file=File(filename="/images/disk.qcow2", aio="native"),
    cache=BlockdevCacheOptions(direct=True),
    backing=Qcow2(node_name="base", file=File(filename="/images/base.qcow2"), backing=NULL),
    encrypt=BlockdevQcow2EncryptionLuks(key_secret="key"),
)"""
    )


def test_a_module_imports_what_it_needs_and_nothing_else() -> None:
    options = Nbd(node_name="n", server=SocketAddressInet(host="h", port="1"))
    assert to_python(Raw(file=options, size=512), module=True) == (
        """\
from qemu_blocksdk.blockdev import Nbd, Raw, SocketAddressInet

options = Raw(file=Nbd(node_name="n", server=SocketAddressInet(host="h", port="1")), size=512)
"""
    )
    assert "import NULL, File, Qcow2\n" in to_python(BASE, module=True)


def test_json_will_do_as_text_and_as_an_object() -> None:
    members = encode(DISK)
    assert to_python(members) == to_python(json.dumps(members)) == to_python(DISK)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a'b", '''"a'b"'''),
        ('a"b', """'a"b'"""),
        ("a'\"b", """'a\\'"b'"""),
        ("a\nb\\", '"a\\nb\\\\"'),
        ("é漢\udc80", '"é漢\\udc80"'),
        ("", '""'),
    ],
)
def test_quotes_are_double_where_they_can_be(text: str, written: str) -> None:
    assert to_python(File(filename=text)) == f"File(filename={written})"


def long_samples() -> list[BlockdevOptions]:
    rule = BlkdebugInjectErrorOptions(event="read_aio", errno=5, once=True)
    chain = BASE
    for _ in range(30):
        chain = DISK.with_backing(chain)
    return [
        chain,
        File(filename="x" * 200),
        Quorum(vote_threshold=1, children=[DISK, "other", NullCo()]),
        Quorum(vote_threshold=1, children=[]),
        DISK.blkdebug(rule, rule, rule),
    ]


def test_ruff_has_nothing_to_change(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    for number, value in enumerate(long_samples()):
        script.write_text(to_python(value, module=True))
        for words in (["format", "--diff"], ["check", "--select", "I,F,E"]):
            argv = [sys.executable, "-m", "ruff", *words, "--line-length=100", "--isolated"]
            done = subprocess.run(
                [*argv, "--ignore=E501", str(script)]
                if words[0] == "check"
                else [*argv, str(script)],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 0, (number, done.stdout)


def test_a_chain_of_a_thousand_is_a_module_that_runs() -> None:
    chain = NullCo(node_name="bottom")
    top: BlockdevOptions = chain
    for number in range(1000):
        top = Qcow2(node_name=f"n{number}", file=File(filename=f"f{number}"), backing=top)
    found = run(to_python(top, module=True))
    depth = 0
    while isinstance(found, Qcow2):
        assert isinstance(top, Qcow2)
        assert (found.node_name, found.file) == (top.node_name, top.file)
        found, top, depth = found.backing, cast("BlockdevOptions", top.backing), depth + 1
    assert (found, depth) == (chain, 1000)


def test_an_expression_that_is_too_deep_is_refused() -> None:
    top: BlockdevOptions = NullCo()
    for _ in range(100):
        top = Raw(file=top)
    with pytest.raises(UsageError, match="more than 64 nodes in each other"):
        to_python(top)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("{", UsageError, "^options: not JSON"),
        ("[" * 100_000, UsageError, "^options: "),
        ("[]", UsageError, "^options: "),
        ({"driver": "raw", "file": {"driver": "file"}}, UsageError, "^options.file"),
        ({"driver": "raw", "file": "f", "node-name": "n", "x": 1}, UsageError, r"^n\.x"),
        ({"driver": "future"}, UsageError, "^options.driver"),
    ],
    ids=str,
)
def test_json_that_is_no_options_is_refused(
    given: str | dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        to_python(cast("str", given))


def test_what_there_is_no_class_for_is_refused() -> None:
    newer = decode(File, {"driver": "file", "filename": "f", "colour": "green"})
    with pytest.raises(UsageError, match="'colour' is known to no class"):
        to_python(Raw(file=newer))
    unknown = cast("BlockdevOptions", Unknown(tag="future", members={"driver": "future"}))
    with pytest.raises(UsageError, match="'future' is known to no class"):
        to_python(Raw(file=unknown))
    with pytest.raises(UsageError, match="none of the classes"):
        to_python(cast("BlockdevOptions", BlockdevCacheOptions()))
    for filename in (Path("f"), b"f"):
        with pytest.raises(UsageError, match="has no JSON form"):
            to_python(File(filename=cast("str", filename)))
