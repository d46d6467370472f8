"""Each function that reads or writes texts of others takes time and memory in proportion to them.

Four times the text may take less than eight times the processor's time: a function that takes the
square takes sixteen.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import filters
from qemu_blocksdk.blockdev import Https
from qemu_blocksdk.blockdev.forms import (
    from_blockdev,
    from_filename,
    from_image_opts,
    from_json,
    to_json,
)
from qemu_blocksdk.codec import flatten, masked, masked_args, redact, secrets_in
from qemu_blocksdk.codec.json_text import from_text
from qemu_blocksdk.errors import BlockSdkError, CommandError, ToolError
from qemu_blocksdk.graph.render import printable
from qemu_blocksdk.iotests.survey import survey
from qemu_blocksdk.qmp.messages import parse, request_bytes, result
from qemu_blocksdk.terminal import escaped
from qemu_blocksdk.testing.dictpath import dictpath
from qemu_blocksdk.testing.difference import difference
from qemu_blocksdk.testing.golden import safe_name
from qemu_blocksdk.tools import qemu_io_answers as answers
from qemu_blocksdk.tools.drivers import listed
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.tools.progress import ProgressReader
from qemu_blocksdk.tools.qemu_io import request
from qemu_blocksdk.tools.qemu_nbd import exports_in
from qemu_blocksdk.tools.results import Comparison
from qemu_blocksdk.tools.run import Completed
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.tools.version import Version

_MOST = 128_000
_ENOUGH = 0.025
"""Seconds of processor time that are measured well."""
_FACTOR = 4
_ALLOWED = 8.0
_MEMORY = 20_000
_MEMORY_ALLOWED = 400
"""Bytes for each character."""

ENV = filters.Environment(test_dir="/t", sock_dir="/s", pid=1, format="raw")
SECRETS = (
    *("secret,", '"password', '"password"   ', '"-', "://:", "://a:b", "password", "data=", "'"),
    *("secret data=", '"data":"', '"data":"a\\', '"password":"', "\\", '\\"', "\\'", "rbd:"),
    *("rbd:key=:", "set_password ", "qom-set a ", "change vnc ", "qom-set ", "password=\n", "=,"),
    *("https://u:p@", "?sig=", "&sig=a", "://?", '"cookie":{', "json:", "cookie:", "iscsi://a%"),
    *('{"a":', "[", "password=,,", "--a=", '"cookie":"\\\\"'),
)
JSON = ('"', "'", "\\'", '\\"', "[", '{"a":', "1", "-", ",", '"a":1,', "{'a':", " ", "\\", "9")
DOTTED = (",", "a.", "-", "a=1,", "=", "file.", "0.", "a=,,", "children.0.a=1,", "a-")
LINES = ("\n", " ", "x", "\r", "qemu", "qemu: ", "qemu-img: warning: ", "- ", ": ", "\x1b[1m", "9")
IO = (
    *("1,", "9", "\n", ",", "read 1/1 bytes at offset 0\n", " ops; ", "x, 1 ops; 1", " and x", "("),
    *(" ops/sec)\n", "(0x1) bytes allocated at offset ", "(0x1", "[", "failed", "wrote "),
)
NBD = (
    *(
        " export: '",
        "'\n",
        "'\n  description: ",
        "\n  size:  1\n  flags: 0x1 ( )\n",
        "\n",
        "  a: b\n",
    ),
    *("  available meta contexts: 1\n   ", "9", " ", " export: 'a'\n  a: b\n"),
)
FILTERED = (
    *(
        "1",
        "9 ops; ",
        "chown ",
        "chown 1:",
        "#block",
        "min block: ",
        "virtio-scsi-",
        "uuid: -",
        "\n",
    ),
    *("1 ops; 00:00 (", "0.", "iters: 1", "a-", "cid: 1 ", "raw", "/t/1-", " ops; (/sec and ("),
)


def done(text: str) -> Completed:
    """A tool that printed a text."""
    return Completed(argv=("tool",), exit_status=0, stdout=text, stderr="")


def after(lead: str, function: Callable[[str], object]) -> Callable[[str], object]:
    """Call a function with a text that begins in the right way."""
    return lambda text: function(lead + text)


def progress(text: str) -> None:
    """Read what a tool prints of its progress, and the same in small pieces."""
    ProgressReader(print)(text.encode())
    reader = ProgressReader(print)
    for begin in range(0, len(text), 16):
        reader(text[begin : begin + 16].encode())


def message(text: str) -> None:
    """Read a line of QMP, which may be none."""
    with contextlib.suppress(ValueError):
        parse(text.encode())


def surveyed(text: str) -> object:
    """Survey a script."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"import iotests\n{text}")
        file.flush()
        return survey(Path(file.name))


READ = request("read", 0, 512)
FUNCTIONS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "masked": (masked, SECRETS),
    "masked, known": (lambda text: masked(text, known=secrets_in({"password": "hunt"})), SECRETS),
    "masked_args": (lambda text: masked_args([text]), SECRETS),
    "redact": (lambda text: redact({"a": text}), SECRETS),
    "redact json:": (lambda text: redact({"a": "json:{" + text}), SECRETS),
    "repr": (lambda text: repr(Https(url=text)), SECRETS),
    "escaped": (escaped, LINES),
    "printable": (printable, LINES),
    "ToolError": (lambda text: str(ToolError(["x"], exit_status=1, output=text)), LINES),
    "CommandError": (lambda text: str(CommandError("", text, command="", arguments={})), LINES),
    "refusal": (lambda text: result({"error": {"desc": text}}, "x", {"password": "a"}), SECRETS),
    "message": (message, JSON),
    "survey": (surveyed, ("iotests.log('a')\n", "\n", "(", "a.", "-")),
    "request": (lambda text: request_bytes("x", {"a": text}, 1, oob=False), ("\\", "\\u0000", '"')),
    "from_text": (from_text, JSON),
    "from_text in {": (after("{", from_text), JSON),
    "from_json": (after('{"driver":"raw",', from_json), JSON),
    "from_filename": (after("json:", from_filename), JSON),
    "from_filename in {": (after("json:{'driver':'raw',", from_filename), JSON),
    "from_blockdev": (from_blockdev, DOTTED),
    "from_blockdev driver": (after("driver=raw,", from_blockdev), DOTTED),
    "from_blockdev name": (lambda text: from_blockdev(f"driver=raw,{text}x=1"), DOTTED),
    "from_image_opts": (after("driver=quorum,", from_image_opts), DOTTED),
    "exports_in": (lambda text: exports_in(done("exports available: 1\n" + text)), NBD),
    "exports_in '": (lambda text: exports_in(done("exports available: 1\n export: '" + text)), NBD),
    "io report": (lambda text: answers.report(text, READ), IO),
    "io asides": (lambda text: answers.without_asides(text, [], age=1), IO),
    "io aside": (
        after("read 1/1 bytes at offset 0\n", lambda t: answers.without_asides(t, [], age=1)),
        IO,
    ),
    "io complaint": (answers.is_complaint, IO),
    "io dump": (lambda text: answers.dumped(text, READ), IO),
    "io extents": (answers.extents, IO),
    "io allocation": (answers.allocation, IO),
    "io size": (answers.at_least, IO),
    "io info": (answers.image_info, IO),
    "version": (lambda text: Version.of(done(text)), ("qemu ", " 1.1.1", "9", "(")),
    "drivers": (listed, (" raw", "\n", "Supported formats: a ", "Supported formats:")),
    "comparison": (lambda text: Comparison.parse(1, text), ("Content mismatch at offset ", "9")),
    "progress": (progress, ("(", "(1.", "\r", "1")),
    "NbdUri": (after("nbd://", NbdUri.parse), ("a", "/", "?", "&a=", "@", ":", "%", "[")),
    "size": (to_bytes, ("9", ".", "0x", " ")),
    "default_filters": (filters.default_filters(ENV), FILTERED),
    "image_info": (filters.image_info("/x", env=ENV), FILTERED),
    "lift": (lambda text: filters.lift(filters.default_filters(ENV))({"a": text}), FILTERED),
    "difference": (lambda text: difference(text, text + "x"), LINES),
    "difference of all": (lambda text: difference(text, text.swapcase() + "y"), LINES),
    "dictpath": (lambda text: dictpath({"a": [text]}, text), ("a", "/", "[", "[1]", "9", "a/")),
    "dictpath, many names": (
        lambda text: dictpath({"a" * 200 + str(n): 1 for n in range(len(text) // 100)}, "a" * 200),
        ("x",),
    ),
    "safe_name": (lambda text: safe_name("m", text), ("[", "a", "[a", "-", ".")),
}


def texts(unit: str) -> Iterator[str]:
    """Longer and longer texts, each four times the one before."""
    size = 2000
    while size <= _MOST:
        yield unit * (size // len(unit))
        size *= _FACTOR


def spent(function: Callable[[str], object], text: str) -> float:
    """Processor time of a call, whatever its end, as long as that is ours."""
    begin = time.process_time()
    with contextlib.suppress(BlockSdkError, AssertionError):
        function(text)
    return time.process_time() - begin


@pytest.mark.parametrize("name", FUNCTIONS)
def test_time_grows_with_the_text(name: str) -> None:
    function, units = FUNCTIONS[name]
    for unit in units:
        before, previous = "", 0.0
        for text in texts(unit):
            now = spent(function, text)
            if now > _ENOUGH:
                allowed = _ALLOWED * max(previous, _ENOUGH / _FACTOR)
                # What else runs may cost time once, not three times.
                if now > allowed:
                    now = min(now, *(spent(function, text) for _ in range(2)))
                    allowed = _ALLOWED * max(spent(function, before), _ENOUGH / _FACTOR)
                assert now < allowed, f"{len(text)} characters, {unit!r}: {now:.3f} s"
                break
            before, previous = text, now


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_grows_with_the_text(name: str) -> None:
    function, units = FUNCTIONS[name]
    for unit in units:
        text = unit * (_MEMORY // len(unit))
        spent(function, text)  # what is loaded on first use
        tracemalloc.start()
        try:
            spent(function, text)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < _MEMORY_ALLOWED * _MEMORY, f"{unit!r}: {peak} bytes"


@pytest.mark.parametrize("depth", [100, 1000, 10_000])
def test_what_is_nested_deeply_ends_in_an_error_of_ours(depth: int) -> None:
    deep: object = 1
    for _ in range(depth):
        deep = {"file": deep}
    redact(deep)
    for read in (flatten, from_json, functools.partial(from_text), to_json):
        spent(read, deep if read is flatten else '{"file":' * depth + "1" + "}" * depth)  # type: ignore[arg-type]
