"""What the tests of TLS share: keys and certificates, as fixtures to import."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.helpers import run

KEY = "0123456789abcdef" * 4
HERE = ("localhost", 0)
"""The name that the server's certificate is for."""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory with a user's key, whose name could be read as an option."""
    folder = tmp_path / "keys,id=x"
    folder.mkdir()
    (folder / "keys.psk").write_text(f"alice:{KEY}\n")
    return folder


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A directory with those of an authority, a client and a server, whose key is locked."""

    def make(name: str, who: str, *options: str) -> None:
        files = ["-keyout", f"{tmp_path}/{name}-key.pem", "-out", f"{tmp_path}/{name}-cert.pem"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
        run("openssl", "req", "-x509", *kind, *files, "-subj", f"/O=tests/CN={who}", *options)

    by = ["-CA", f"{tmp_path}/ca-cert.pem", "-CAkey", f"{tmp_path}/ca-key.pem"]
    by += ["-addext", "basicConstraints=critical,CA:FALSE"]
    by += ["-addext", "subjectAltName=DNS:localhost"]
    try:
        make("ca", "authority", "-nodes")
    except FileNotFoundError:
        pytest.skip("no program 'openssl' to make certificates with")
    make("client", "client", "-nodes", *by)
    make("server", "server", "-passout", "pass:geheim", *by)
    return tmp_path
