"""TLS credentials as values, and how a tool is told of them.

Keys and certificates are files that lie in a directory; nothing of them is read here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Literal

from qemu_blocksdk.codec import Secret, Value, keyval
from qemu_blocksdk.errors import UsageError

from .run import as_file

CREDENTIALS = "blocksdk-tls"
"""The id of the credentials that are defined here."""
_AUTHZ = "blocksdk-authz"
_KEY = "blocksdk-tls-key"


class TlsAnon(Value):
    """Anonymous TLS: encrypted, but nobody proves who they are. ``priority`` is GnuTLS's."""

    priority: str | None = None


class TlsPsk(Value):
    """Pre-shared keys, in the file ``keys.psk`` of a ``directory``: a ``user:hexkey`` a line.

    ``username`` says which one a client uses, by default that of ``qemu``.
    """

    directory: str | os.PathLike[str]
    username: str | None = None
    priority: str | None = None


class TlsX509(Value):
    """Certificates, in files of a ``directory``.

    ``ca-cert.pem``, then ``server-cert.pem`` and ``server-key.pem`` or, with ``client``,
    those of a client. ``password`` opens an encrypted key. Where it is not to
    ``verify_peer``, a server takes clients without certificates, too.
    """

    directory: str | os.PathLike[str]
    verify_peer: bool = True
    password: Secret | None = None
    priority: str | None = None


TlsCredentials = TlsAnon | TlsPsk | TlsX509


def tls_secrets(credentials: TlsCredentials | None) -> Mapping[str, Secret]:
    """Return the secrets that :func:`tls_words` refers to, by their ids."""
    if isinstance(credentials, TlsX509) and credentials.password is not None:
        return {_KEY: credentials.password}
    return {}


def tls_object(credentials: TlsCredentials, *, endpoint: Literal["server", "client"]) -> list[str]:
    """Return the option that defines the credentials, under the id :data:`CREDENTIALS`."""
    members: dict[str, str | None] = {"endpoint": endpoint, "priority": credentials.priority}
    match credentials:
        case TlsAnon():
            kind = "tls-creds-anon"
        case TlsPsk():
            kind = "tls-creds-psk"
            members |= {"dir": as_file(credentials.directory), "username": credentials.username}
        case TlsX509():
            kind = "tls-creds-x509"
            members |= {
                "dir": as_file(credentials.directory),
                "verify-peer": "on" if credentials.verify_peer else "off",
                "passwordid": None if credentials.password is None else _KEY,
            }
    given = {name: value for name, value in members.items() if value is not None}
    return ["--object", f"{kind},{keyval({'id': CREDENTIALS, **given})}"]


def tls_words(
    credentials: TlsCredentials | None,
    *,
    endpoint: Literal["server", "client"],
    authz: Sequence[str] | None = None,
) -> list[str]:
    """Return the options that define the credentials and have qemu-nbd use them.

    ``authz`` are the distinguished names of the clients that a server admits. Raises
    UsageError where QEMU would not look at them.
    """
    proves_names = isinstance(credentials, TlsX509) and credentials.verify_peer
    if authz is not None and not proves_names:
        raise UsageError("clients are admitted by name only with x509 credentials that verify them")
    if credentials is None:
        return []
    words = [*tls_object(credentials, endpoint=endpoint), "--tls-creds", CREDENTIALS]
    if authz is not None:
        rules = [{"match": name, "policy": "allow", "format": "exact"} for name in authz]
        listed = {"qom-type": "authz-list", "id": _AUTHZ, "policy": "deny", "rules": rules}
        words += ["--object", json.dumps(listed), "--tls-authz", _AUTHZ]
    return words
