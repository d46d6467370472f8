"""What is no options in any form: one sentence, with the place, without a value."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.blockdev import (
    BlockdevOptions,
    Raw,
    from_blockdev,
    from_filename,
    from_image_opts,
    from_json,
    to_filename,
    to_image_opts,
    to_json,
)
from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import UsageError

Reader = Callable[[str], BlockdevOptions]
READERS: list[Reader] = [from_json, from_blockdev, from_filename, from_image_opts]
SECRET = "hunter2"


def refused(read: Callable[[str], object], text: str) -> str:
    """The one sentence with which a text is refused."""
    with pytest.raises(UsageError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


NESTED = '{"driver": "raw", "node-name": "disk", "file": %s}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"driver": "null-co}', "options: not JSON: Unterminated string"),
        ('{"driver": "null-co"', "options: not JSON: "),
        ('{"driver": "null-co"} x', "options: not JSON: Extra data"),
        ('{"driver": "null-co",}', "options: not JSON: "),
        ("{'driver: 'null-co'}", "options: not JSON: "),
        ("", "options: not JSON: "),
        ("[]", "options: expected object"),
        ('"disk"', "options: expected object"),
        ("{}", "options.driver: mandatory member is missing"),
        ('{"driver": 5}', "options.driver: expected"),
        ('{"driver": "imaginary"}', "options.driver: 'imaginary' is none of blkdebug"),
        ('{"driver": "raw", "node-name": "disk"}', "disk.file: mandatory member is missing"),
        (NESTED % '{"driver": "file"}', "disk.file.filename: mandatory member is missing"),
        (NESTED % '{"driver": "null-co", "siez": 1}', "disk.file.siez: no such member"),
        (NESTED % '{"driver": "null-co", "size": "x"}', "disk.file.size: expected int, found str"),
        (NESTED % '{"driver": "null-co", "size": 1.0}', "disk.file.size: expected int, found num"),
        (NESTED % '{"driver": "null-co", "size": 1e3}', "disk.file.size: expected int, found num"),
        (
            NESTED % f'{{"driver": "null-co", "size": {1 << 64}}}',
            "disk.file.size: expected int, found number",
        ),
        (NESTED % '{"driver": "null-co", "size": NaN}', "options: not JSON: NaN"),
        (NESTED % '{"driver": "null-co", "discard": "no"}', "disk.file.discard: 'no' is none of"),
        (NESTED % '{"driver": "null-co", "driver": "x"}', "disk.file.driver: is given twice"),
        ('{"driver": "null-co", "driver": "null-co"}', "options.driver: is given twice"),
        (NESTED % r'{"driver": "file", "filename": "\u0000"}', "disk.file.filename: QEMU has no"),
        (NESTED % r'{"driver": "file", "filename": "\udcff"}', "disk.file.filename: is not UTF-8"),
        (NESTED % "null", "disk.file: expected"),
        (NESTED % "[]", "disk.file: expected"),
        (NESTED % '{"driver": "null-co", "a\\nb": 1}', r"disk.file.'a\nb': no such member"),
    ],
)
def test_json_that_is_no_options_is_named_by_its_place(text: str, sentence: str) -> None:
    assert refused(from_json, text).startswith(sentence)
    assert refused(from_filename, f"json:{text}").startswith(sentence)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"driver": b"x"}, "options: no JSON (a bytes"),
        ({"driver": "null-co", "size": float("inf")}, "options: no JSON ("),
        ({"driver": "null-co", 5: 6}, "options.5: no such member"),
        (5, "options: expected object"),
        (None, "options: expected object"),
    ],
)
def test_an_object_that_is_no_options_is_refused_alike(members: JsonObject, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_json(members)
    assert str(caught.value).startswith(sentence)


def test_an_object_that_is_inside_itself_is_refused() -> None:
    members: dict[str, JsonValue] = {"driver": "raw", "node-name": "r"}
    members["file"] = members
    with pytest.raises(UsageError, match="r: no JSON"):
        from_json(members)


@pytest.mark.parametrize("read", [from_blockdev, from_image_opts])
@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("node-name=d,driver=null-co,", "options: part 3 is not name=value"),
        (",driver=null-co", "options: part 1 is not name=value"),
        ("driver=null-co,read-only", "options: part 2 is not name=value"),
        ("driver=null-co,=5", "options: part 2 has no well-formed name"),
        ("driver=null-co,.size=5", "options: part 2 has no well-formed name"),
        ("driver=null-co,cache..direct=on", "options: part 2 has no well-formed name"),
        ("driver=null-co,cache.=on", "options: part 2 has no well-formed name"),
        ('driver=null-co,"size"=5', "options: part 2 has no well-formed name"),
        ("driver=null-co,node-name=d,size=1,size=2", "d.size: is given twice"),
        ("driver=null-co,driver=null-co", "options.driver: is given twice"),
        ("driver=null-co,node-name=a,node-name=b", "a.node-name: is given twice"),
        ("driver=raw,file=x,file.driver=null-co", "options.file: has both a value and members"),
        ("driver=raw,file.driver=null-co,file=x", "options.file: has both a value and members"),
        ("node-name=q,driver=quorum,children.0=a,children.2=b", "q.children.1: is missing"),
        ("node-name=q,driver=quorum,children.1=a", "q.children.0: is missing"),
        ("node-name=q,driver=quorum,children.0=a,children.01=b", "q.children.1: is missing"),
        ("node-name=q,driver=quorum,children.0=a,children.x=b", "q.children.1: is missing"),
        ("driver=quorum,vote-threshold=1,children=a", "options.children: expected array"),
        ("driver=null-co,cache=direct", "options.cache: expected object, found string"),
        ("driver=null-co,id=x", "options.id: no such member"),
        ("driver=null-co,0=x", "options.0: no such member"),
        ("driver=null-co,size.x=5", "options.size: expected int, found object"),
        ("driver=imaginary", "options.driver: 'imaginary' is none of"),
        ("node-name=x", "x.driver: mandatory member is missing"),
        ("driver=null-co,node-name=a\0b", "options.node-name: QEMU has no text with a NUL"),
        ("help=on", "options.driver: mandatory member is missing"),
    ],
)
def test_a_word_that_is_no_options_is_named_by_its_place(
    read: Reader, word: str, sentence: str
) -> None:
    assert refused(read, word).startswith(sentence)


@pytest.mark.parametrize("name", ["disk.qcow2", "nbd://host/x", "JSON:{}", "", " json:{}"])
def test_a_file_name_that_is_no_json_is_refused(name: str) -> None:
    assert refused(from_filename, name) == ("options: expected a file name that begins with json:")


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (from_json, f'{{"driver": "http", "url": "u", "cookie": "{SECRET}", "cookie": "x"}}'),
        (from_json, f'{{"driver": "http", "url": 5, "cookie": "{SECRET}"}}'),
        (from_json, f'{{"driver": "http", "url": "{SECRET}", "cookie": "{SECRET}}}'),
        (from_blockdev, f"driver=http,url=u,cookie={SECRET},{SECRET}"),
        (from_blockdev, f"driver=http,url=u,cookie={SECRET}\0"),
        (from_blockdev, f"driver=http,url=u,cookie={SECRET},cookie=x"),
        (from_blockdev, f"driver=http,url=u,cookie={SECRET},timeout={SECRET}"),
        (from_image_opts, f"driver=http,url=u,cookie={SECRET},{SECRET}!=5"),
    ],
)
def test_no_error_shows_a_value(read: Reader, text: str) -> None:
    assert refused(read, text)
    # Nor what Python shows in front of it.
    with pytest.raises(UsageError) as caught:
        read(text)
    causes = list(chain_of(caught.value))
    assert not any(SECRET in str(cause) for cause in causes)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


@pytest.mark.parametrize("depth", [1000, 20000])
def test_a_chain_of_thousands_is_refused(depth: int) -> None:
    text = '{"driver": "raw", "file": ' * depth + '"x"' + "}" * depth
    assert "nested too deeply" in refused(from_json, text)
    assert "nested too deeply" in refused(from_filename, f"json:{text}")
    word = f"node-name=top,driver=raw,{'file.' * depth}driver=null-co"
    assert refused(from_blockdev, word) == "top: nested too deeply"


def test_a_chain_of_hundreds_is_written_and_read_and_one_of_thousands_is_not_written() -> None:
    options = Raw(file="x")
    for _ in range(300):
        options = Raw(file=options)
    assert to_json(from_json(to_json(options))) == to_json(options)
    for _ in range(3000):
        options = Raw(file=options)
    for write in (to_json, to_filename, to_image_opts):
        with pytest.raises(UsageError, match="nested too deeply"):
            write(options)


@given(st.text() | st.text("{}[]\":,'\\ndriverullco-=."))
def test_any_text_is_read_or_refused_by_every_reader(text: str) -> None:
    for read in READERS:
        for each in (text, f"json:{text}", f"driver=null-co,{text}"):
            with contextlib.suppress(UsageError):
                read(each)
