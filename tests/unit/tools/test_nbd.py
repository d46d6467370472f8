"""NBD URIs: what is written is read again, and nothing else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools import NbdUri
from qemu_blocksdk.wire import Nbd, SocketAddressInet, SocketAddressUnix

TEXT = st.text() | st.binary().map(os.fsdecode)
SOME_TEXT = TEXT.filter(bool)
HOSTS = st.ip_addresses().map(str) | st.just("fe80::1%eth0") | SOME_TEXT
URIS = st.builds(
    NbdUri,
    address=SOME_TEXT | st.tuples(HOSTS, st.integers(1, 65535)),
    export=TEXT,
    tls=st.booleans(),
    username=st.none() | SOME_TEXT,
    tls_certificates=st.none() | TEXT,
    tls_psk_file=st.none() | TEXT,
    tls_hostname=st.none() | TEXT,
)


@given(URIS)
def test_a_uri_is_read_as_it_was_written(uri: NbdUri) -> None:
    assert NbdUri.parse(str(uri)) == uri
    assert str(uri).isascii()
    assert str(uri).isprintable()


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("nbd://host", NbdUri(address=("host", 10809))),
        ("nbd://host:/", NbdUri(address=("host", 10809))),
        ("nbd+tcp://host:99/a", NbdUri(address=("host", 99), export="a")),
        ("nbd:///a", NbdUri(address=("localhost", 10809), export="a")),
        ("nbd://[::1]/a%20b", NbdUri(address=("::1", 10809), export="a b")),
        ("nbd://host//a", NbdUri(address=("host", 10809), export="/a")),
        ("nbd+unix://?socket=/s", NbdUri(address="/s")),
        ("nbd+unix:///%C3%A4/b?socket=/s+t", NbdUri(address="/s+t", export="ä/b")),
        (
            "nbds+unix://alice@/?socket=/s&tls-certificates=certs",
            NbdUri(address="/s", tls=True, username="alice", tls_certificates="certs"),
        ),
        (
            "nbds://host/?tls-psk-file=keys.psk",
            NbdUri(address=("host", 10809), tls=True, tls_psk_file="keys.psk"),
        ),
    ],
)
def test_what_others_write_is_read(text: str, uri: NbdUri) -> None:
    assert NbdUri.parse(text) == uri


@pytest.mark.parametrize(
    "text",
    [
        *("", "nbd", "nbd:host:10809", "http://host/", "NBD://host", "nbd+vsock://2/"),
        *("nbd://host:0/", "nbd://host:65536/", "nbd://host:-1/", "nbd://host:x/", "nbd://::1/"),
        *("nbd://host/a b", "nbd://host/ä", "nbd://host/a\n", "nbd://host/a#b"),
        *("nbd+unix:///a", "nbd+unix:///a?socket=", "nbd://host/?socket=/s"),
        *("nbd+unix://host/?socket=/s", "nbd+unix://:1/?socket=/s"),
        *("nbd+unix:///?socket=/s&socket=/t", "nbd://host/?speed=1"),
    ],
)
def test_what_is_no_nbd_uri_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        NbdUri.parse(text)
    assert repr(text) in str(caught.value)


def test_options_say_what_the_uri_says() -> None:
    tcp = NbdUri(address=("::1", 1), export="a", tls=True, tls_hostname="host")
    assert tcp.options(node_name="n", tls_creds="t") == Nbd(
        node_name="n",
        server=SocketAddressInet(host="::1", port="1"),
        export="a",
        tls_creds="t",
        tls_hostname="host",
    )
    assert NbdUri(address="/s").options() == Nbd(server=SocketAddressUnix(path="/s"))


def test_options_with_tls_need_the_id_of_credentials() -> None:
    with pytest.raises(UsageError, match="TLS credentials"):
        NbdUri(address="/s", tls=True).options()
