"""The command line of qemu-nbd, and what it prints of the exports of others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import ToolError, UsageError
from qemu_blocksdk.tools import (
    Completed,
    NbdExport,
    NbdServerOptions,
    TlsAnon,
    TlsCredentials,
    TlsPsk,
    TlsX509,
)
from qemu_blocksdk.tools.qemu_nbd import exports_in, server_words
from qemu_blocksdk.tools.tls import tls_words

# -- command lines ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "-t"),
        ({"persistent": False}, ""),
        ({"read_only": True, "shared": 0, "offset": 512}, "-r -t -e 0 -o 512"),
        ({"bitmaps": ["a", "-b"], "allocation_depth": True}, "-t -A -B a -B -b"),
        ({"load_snapshot": "1"}, "-t -l 1"),
        ({"load_snapshot": "snapshot.id=1,x"}, "-t -l snapshot.name=snapshot.id=1,,x"),
        (
            {"cache": "none", "aio": "native", "discard": "unmap", "detect_zeroes": "unmap"},
            "-t --cache none --aio native --discard unmap --detect-zeroes unmap",
        ),
    ],
)
def test_options_become_words(options: NbdServerOptions, words: str) -> None:
    assert server_words(options) == words.split()


@pytest.mark.parametrize("name", ["shared", "offset", "handshake_limit"])
def test_a_negative_number_is_refused(name: str) -> None:
    options: NbdServerOptions = {"shared": 1}
    options.update({name: -1})  # type: ignore[misc]  # the name is the parameter
    with pytest.raises(UsageError, match=name):
        server_words(options)


def test_an_option_that_is_none_is_a_type_error() -> None:
    options: NbdServerOptions = {"shraed": 1}  # type: ignore[typeddict-unknown-key]  # the point
    with pytest.raises(TypeError, match="shraed"):
        server_words(options)


def test_credentials_are_defined_and_used() -> None:
    psk = TlsPsk(directory="/a,b", username="alice", priority="NORMAL")
    assert tls_words(psk, endpoint="client") == [
        "--object",
        "tls-creds-psk,id=blocksdk-tls,dir=/a,,b,endpoint=client,priority=NORMAL,username=alice",
        "--tls-creds",
        "blocksdk-tls",
    ]


def test_the_password_of_a_key_is_referred_to_and_not_shown() -> None:
    x509 = TlsX509(directory="/d", verify_peer=False, password=Secret("geheim"))
    assert "passwordid=blocksdk-tls-key" in tls_words(x509, endpoint="server")[1]
    assert "verify-peer=off" in tls_words(x509, endpoint="server")[1]
    assert "geheim" not in repr(x509) + " ".join(tls_words(x509, endpoint="server"))


@pytest.mark.parametrize(
    "tls",
    [None, TlsAnon(), TlsPsk(directory="d"), TlsX509(directory="d", verify_peer=False)],
    ids=["none", "anon", "psk", "unverified"],
)
def test_names_that_qemu_would_not_look_at_are_refused(tls: TlsCredentials | None) -> None:
    with pytest.raises(UsageError, match="x509"):
        tls_words(tls, endpoint="server", authz=["CN=client"])


# -- lists ------------------------------------------------------------------------------


def listed(*blocks: str, count: int | None = None) -> Completed:
    text = f"exports available: {len(blocks) if count is None else count}\n" + "".join(blocks)
    return Completed(argv=("qemu-nbd", "-L"), exit_status=0, stdout=text, stderr="")


FACTS = """\
  size:  1024
  flags: 0x48f ( readonly flush fua df cache )
  min block: 1
  opt block: 4096
  max block: 33554432
"""
CONTEXTS = """\
  available meta contexts: 2
   base:allocation
   qemu:dirty-bitmap:b 1
"""


def block(name: str, description: str | None = None, rest: str = FACTS) -> str:
    said = "" if description is None else f"  description: {description}\n"
    return f" export: '{name}'\n{said}{rest}"


def test_an_export_is_read() -> None:
    known = block("a", "b", FACTS + "  transaction size: 64-bit\n" + CONTEXTS)
    (export,) = exports_in(listed(known))
    assert export == NbdExport(
        name="a",
        description="b",
        size=1024,
        flags=("readonly", "flush", "fua", "df", "cache"),
        min_block=1,
        opt_block=4096,
        max_block=33554432,
        transaction_size="64-bit",
        meta_contexts=("base:allocation", "qemu:dirty-bitmap:b 1"),
    )
    assert export.is_read_only


def test_no_exports_are_read() -> None:
    assert exports_in(listed()) == []


def test_a_server_may_tell_no_more_than_the_names() -> None:
    assert exports_in(listed(block("", rest=""), block("b", "c", rest=""))) == [
        NbdExport(name=""),
        NbdExport(name="b", description="c"),
    ]


def test_a_field_of_a_later_qemu_is_passed_over() -> None:
    (export,) = exports_in(listed(block("a", rest=FACTS + "  flavour: mint\n" + CONTEXTS)))
    assert (export.max_block, len(export.meta_contexts)) == (33554432, 2)


def test_no_contexts_are_told_as_none() -> None:
    (export,) = exports_in(listed(block("a", rest=FACTS + "  available meta contexts: 0\n")))
    assert export.meta_contexts == ()


# What looks like another field or export could be either, and nobody can tell.
ODD = st.text(st.sampled_from("ab'\n: ä"), max_size=12).filter(lambda text: "\n " not in text)


@given(
    st.lists(st.tuples(ODD, st.none() | ODD.filter(bool), ODD.filter(bool)), min_size=1, max_size=3)
)
def test_line_breaks_and_quotes_in_names_stay(exports: list[tuple[str, str | None, str]]) -> None:
    contexts = "  available meta contexts: 2\n   base:allocation\n   qemu:dirty-bitmap:{}\n"
    blocks = [block(n, d, FACTS + contexts.format(context)) for n, d, context in exports]
    found = exports_in(listed(*blocks))
    assert [(e.name, e.description, e.meta_contexts[1]) for e in found] == [
        (name, description, f"qemu:dirty-bitmap:{context}")
        for name, description, context in exports
    ]


@pytest.mark.parametrize(
    "printed",
    [
        listed(block("a", "b\n  size:  5")),
        listed(block("a", "b\n export: 'c'")),
        listed(block("a", rest=FACTS + CONTEXTS.replace("b 1", "b\n   qemu:joint-allocation"))),
        listed(block("a"), count=2),
        listed("no list at all\n"),
    ],
    ids=["field", "export", "context", "too few", "nonsense"],
)
def test_what_can_be_read_in_several_ways_is_refused(printed: Completed) -> None:
    with pytest.raises(ToolError, match="several ways"):
        exports_in(printed)
