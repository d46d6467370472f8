"""Filters of text: composition, the one pass, streams, bad input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import reduce
from io import StringIO
from time import thread_time

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.filters import (
    Environment,
    Filter,
    Pipeline,
    carriage_returns,
    chown_ids,
    default_filters,
    drop_lines,
    generated_node_ids,
    image_info,
    nbd_block_sizes,
    qemu_io_timing,
    replace,
    stream,
    substitute,
)
from qemu_blocksdk.filters import text as text_module
from qemu_blocksdk.filters.text import of_each

ENV = Environment(test_dir="/t", sock_dir="/t/s", pid=1, format="raw")
LETTERS = "ab\n\r1"
WORDS = st.sampled_from(
    [
        *("a", "b", "\n", "\r", "1", "12", "/t", "/t/s", "/t/1-", "raw", "\ud800", "ä"),
        *("chown ", ":", "#block", "virtio-scsi-", "pci", "min block: ", "uuid: ", "disk size"),
        *(" ops; ", "0.0 sec ", "(", "5 ", "MiB", "/sec and ", "7", " ops/sec)"),
        "1 ops; 00.00 sec (50.367 MiB/sec and 805.8687 ops/sec)",
    ]
)
TEXTS = st.lists(WORDS, max_size=60).map("".join)
SHORT = st.text(LETTERS, min_size=1, max_size=3)
FILTERS = st.one_of(
    st.builds(replace, SHORT, by=st.text(LETTERS, max_size=3)),
    st.builds(drop_lines, st.text("ab1", min_size=1, max_size=2)),
    st.sampled_from(
        [
            *(carriage_returns, qemu_io_timing, chown_ids, generated_node_ids, nbd_block_sizes),
            *(image_info("/t/1-", env=ENV), default_filters(ENV)),
            substitute("[ab]+1?", by="1"),
            substitute("b(a|1)", by=r"\1\n"),
            substitute("a|1b", by="b"),
            substitute("ab*a", by="b"),
            substitute("a.b", by=""),
            substitute("(?:a|b)1", by="aa"),
            substitute("[^a]b", by="-"),
            substitute("^a", by="b1"),
            substitute("b$", by="a"),
            substitute(r"a\s", by="b"),
            substitute("(?s)a.b", by="1"),
            substitute(r"a\x0a", by="1"),
            substitute("(?<=\n)a", by="1"),
            substitute("[\x01-b]1", by="a"),
        ]
    ),
)


def parts_of(using: Filter[str]) -> tuple[Filter[str], ...]:
    return using.parts if isinstance(using, Pipeline) else (using,)


def or_(one: Filter[str], other: Filter[str]) -> Filter[str]:
    return one | other


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What blocks could break shows when each line is one."""
    monkeypatch.setattr(text_module, "_BLOCK", 3)


@pytest.mark.usefixtures("_small_blocks")
@given(filters=st.lists(FILTERS, min_size=1, max_size=5), text=TEXTS)
def test_a_pipeline_does_what_its_parts_do_one_after_the_other(
    filters: list[Filter[str]], text: str
) -> None:
    whole = reduce(or_, filters)
    assert whole(text) == reduce(lambda done, part: part(done), parts_of(whole), text)


@pytest.mark.usefixtures("_small_blocks")
@given(filters=st.lists(FILTERS, min_size=1, max_size=4), text=TEXTS, size=st.integers(1, 9))
def test_a_stream_comes_out_as_the_whole_does_or_is_refused(
    filters: list[Filter[str]], text: str, size: int
) -> None:
    using = reduce(or_, filters)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    try:
        out = list(stream(StringIO(text, newline="\n"), using))
    except UsageError:
        event("refused")
        return
    assert "".join(out) == using(text)
    assert "".join(stream(pieces, using)) == using(text)
    assert all("\n" not in line[:-1] for line in out)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("ab?c", "ac"),
        ("ab*c", "ac"),
        ("ab{0,1}c", "ac"),
        ("a|b", "b"),
        ("a(b|c)|d", "d"),
        (r"a\(b|c\)", "c)"),
        ("a[(]b|c[)]", "c)"),
        ("[ab]c", "bc"),
        ("(?:ab|c)d", "cd"),
        ("a-(?:b|c)", "a-c"),
        ("(?i)ab", "AB"),
        ("(?x) a b", "ab"),
        (r"\w", "a"),
        ("a.", "ab"),
    ],
)
def test_no_match_is_missed_for_a_literal_that_it_need_not_have(pattern: str, text: str) -> None:
    assert (substitute(pattern, by="-") | carriage_returns)(text + "\n") == "-\n"


@given(filters=st.lists(FILTERS, min_size=1, max_size=4), texts=st.lists(TEXTS, max_size=5))
def test_several_texts_at_once_come_out_as_each_does(
    filters: list[Filter[str]], texts: list[str]
) -> None:
    using = reduce(or_, filters)
    event(f"in one pass: {len(texts) > 1 and all(_keeps_lines(part) for part in filters)}")
    assert of_each(texts, using) == [using(text) for text in texts]


def _keeps_lines(part: Filter[str]) -> bool:
    parts = part.parts if isinstance(part, Pipeline) else (part,)
    return all(isinstance(each, text_module.TextFilter) and each._keeps_lines for each in parts)


@given(text=TEXTS)
def test_timing_is_found_where_the_plain_expression_finds_it(text: str) -> None:
    number = "[0-9/.inf]*"
    plain = rf"[0-9]* ops; [0-9/:. sec]* \({number} [EPTGMKiBbytes]*/sec and {number} ops/sec\)"
    masked = "X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)"
    assert qemu_io_timing(text) == re.sub(plain, masked, text.replace("\r", ""))


def test_the_usual_filters_run_as_one_pass_and_may_be_streamed() -> None:
    using = default_filters(ENV) | image_info("/t/x", env=ENV)
    assert isinstance(using, Pipeline)
    assert len(using._steps) == 1
    text = "/t/x chown 1:2\nraw\n"
    assert list(stream(["/t/x chown 1:2\n", "raw\n"], using)) == using(text).splitlines(True)


@pytest.mark.parametrize("pattern", ["a$", "^a", r"a\s", "[^b]", "(?s)a.", r"\ba", "a\nb", r"\Da"])
def test_what_may_see_another_line_is_not_streamed(pattern: str) -> None:
    with pytest.raises(UsageError, match="may match across lines: it cannot filter a stream"):
        stream(iter(()), chown_ids | substitute(pattern, by=""))


def test_a_filter_is_a_value() -> None:
    assert chown_ids | carriage_returns == chown_ids | carriage_returns
    assert chown_ids | carriage_returns != carriage_returns | chown_ids
    assert hash(chown_ids | carriage_returns) == hash(chown_ids | carriage_returns)
    assert repr(replace("a", by="b") | chown_ids) == (
        "Pipeline(parts=(_Replace(text='a', by='b'), "
        "_Substitute(pattern='chown [0-9]+:[0-9]+', by='chown UID:GID')))"
    )
    used = chown_ids | carriage_returns
    used("x")
    assert used == chown_ids | carriage_returns
    with pytest.raises(AttributeError, match="frozen"):
        used.parts = ()  # type: ignore[misc]


def test_a_pipeline_of_pipelines_is_flat_and_an_empty_one_changes_nothing() -> None:
    a, b, c = (replace(letter, by=letter * 2) for letter in "abc")
    assert (a | b) | c == a | (b | c) == Pipeline(parts=(a, b, c))
    assert Pipeline[str](parts=())("x") == "x"


def test_a_filter_of_ones_own_takes_part() -> None:
    class Upper(Filter[str]):
        def __call__(self, value: str) -> str:
            return value.upper()

    assert (chown_ids | Upper() | replace("UID", by="x"))("chown 1:2") == "CHOWN x:GID"
    with pytest.raises(UsageError, match="cannot filter a stream"):
        stream((), Upper())


@pytest.mark.parametrize("wrong", [b"chown", None, 1, {"a": "b"}, ["a"]])
def test_what_is_no_text_is_refused_by_name(wrong: str) -> None:
    message = f"a filter of text was given {type(wrong).__name__}, not str"
    for using in (chown_ids, chown_ids | carriage_returns):
        with pytest.raises(UsageError, match=message):
            using(wrong)
    with pytest.raises(UsageError, match=f"a stream of text had {type(wrong).__name__} in it"):
        list(stream([wrong], chown_ids))


@pytest.mark.parametrize("other", ["chown", None, str.upper])
def test_what_is_no_filter_does_not_compose(other: Filter[str]) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = chown_ids | other


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace("", by="x"), "what is to be replaced is empty"),
        (lambda: substitute("a*", by=""), "the expression 'a\\*' matches an empty text"),
        (lambda: substitute("(", by=""), "'\\(' by '': missing \\)"),
        (lambda: substitute("a", by=r"\1"), "invalid group reference"),
        (lambda: drop_lines(""), "'' is not part of a line"),
        (lambda: drop_lines("a\nb"), "is not part of a line"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    make: Callable[[], Filter[str]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_surrogates_and_undecodable_bytes_pass_through() -> None:
    text = b"chown 1:2 \xff".decode(errors="surrogateescape") + "\ud800"
    assert (chown_ids | generated_node_ids)(text) == "chown UID:GID \udcff\ud800"


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "1",
            " ",
            "\r",
            "\n",
            "a",
            " ops; ",
            "1 ops; ",
            "1 ops; 0 ",
            "0 ops; 0.0 sec (",
            "chown 1",
        ),
        *(
            "chown ",
            "chown 1:",
            "#block",
            "#block1",
            "#",
            "virtio-scsi-",
            "min block: 1",
            "uuid: a",
        ),
        *("1 ops; 0 (1 ", "1 ops; 0 (1 MiB/sec and 1", "/t", "/t/", "/t/1-", "raw", "iters: ", "ä"),
    ],
)
def test_eight_times_the_text_takes_some_eight_times_as_long(piece: str) -> None:
    using = default_filters(ENV) | image_info("/t/x", env=ENV)

    def cost(length: int) -> float:
        text = piece * (length // len(piece))
        took: list[float] = []
        for _ in range(3):
            start = thread_time()
            using(text)
            took.append(thread_time() - start)
        return min(took)

    # Where the time is that of the square, it takes 64 times as long.
    assert cost(400_000) < 32 * cost(50_000)


def test_a_stream_holds_no_more_than_a_block() -> None:
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield "chown 1:2 " + "x" * 90 + "\n"

    out = stream(lines(), chown_ids)
    assert next(out).startswith("chown UID:GID")
    assert taken < 200
    assert len(list(out)) == 999
