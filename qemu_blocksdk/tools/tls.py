"""TLS credentials as values, as QEMU's objects, and how a tool is told of them.

Keys and certificates are files that lie in a directory; nothing of them is read here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from qemu_blocksdk.codec import Secret, Value, dotted, encode, keyval
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import (
    ObjectOptionsAuthzList,
    ObjectOptionsTlsCredsAnon,
    ObjectOptionsTlsCredsPsk,
    ObjectOptionsTlsCredsX509,
    QAuthZListRule,
    QCryptoTLSCredsEndpoint,
)

from .run import as_file

CREDENTIALS = "blocksdk-tls"
"""The id of the credentials that are defined here."""
_AUTHZ = "blocksdk-authz"


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


TlsObject = ObjectOptionsTlsCredsAnon | ObjectOptionsTlsCredsPsk | ObjectOptionsTlsCredsX509


def tls_secrets(
    credentials: TlsCredentials | None, *, id: str = CREDENTIALS
) -> Mapping[str, Secret]:
    """Return the secrets that :func:`tls_options` refers to, by their ids."""
    if isinstance(credentials, TlsX509) and credentials.password is not None:
        return {f"{id}-key": credentials.password}
    return {}


def tls_options(
    credentials: TlsCredentials, *, endpoint: QCryptoTLSCredsEndpoint, id: str = CREDENTIALS
) -> TlsObject:
    """Return QEMU's object of that id for the credentials."""
    priority = credentials.priority
    match credentials:
        case TlsAnon():
            return ObjectOptionsTlsCredsAnon(id=id, endpoint=endpoint, priority=priority)
        case TlsPsk():
            return ObjectOptionsTlsCredsPsk(
                id=id,
                dir=as_file(credentials.directory),
                endpoint=endpoint,
                priority=priority,
                username=credentials.username,
            )
        case TlsX509():
            return ObjectOptionsTlsCredsX509(
                id=id,
                verify_peer=credentials.verify_peer,
                dir=as_file(credentials.directory),
                endpoint=endpoint,
                priority=priority,
                passwordid=next(iter(tls_secrets(credentials, id=id)), None),
            )


def admission(names: Sequence[str], *, id: str = _AUTHZ) -> ObjectOptionsAuthzList:
    """Return QEMU's object that admits the clients of these distinguished names."""
    rules = [QAuthZListRule(match=name, policy="allow", format="exact") for name in names]
    return ObjectOptionsAuthzList(id=id, policy="deny", rules=rules)


def assert_proves_names(credentials: TlsCredentials | None) -> None:
    """Raise UsageError where QEMU would not look at who is admitted."""
    if not (isinstance(credentials, TlsX509) and credentials.verify_peer):
        raise UsageError("clients are admitted by name only with x509 credentials that verify them")


def tls_object(
    credentials: TlsCredentials, *, endpoint: QCryptoTLSCredsEndpoint, id: str = CREDENTIALS
) -> list[str]:
    """Return the option that defines the credentials, under that id."""
    # Not JSON, which has no form for the name of a directory that is not UTF-8.
    texts = dotted(tls_options(credentials, endpoint=endpoint, id=id))
    return ["--object", f"{texts.pop('qom-type')},{keyval(texts)}"]


def tls_words(
    credentials: TlsCredentials | None,
    *,
    endpoint: QCryptoTLSCredsEndpoint,
    authz: Sequence[str] | None = None,
) -> list[str]:
    """Return the options that define the credentials and have qemu-nbd use them.

    ``authz`` are the distinguished names of the clients that a server admits. Raises
    UsageError where QEMU would not look at them.
    """
    if authz is not None:
        assert_proves_names(credentials)
    if credentials is None:
        return []
    words = [*tls_object(credentials, endpoint=endpoint), "--tls-creds", CREDENTIALS]
    if authz is not None:
        words += ["--object", json.dumps(encode(admission(authz))), "--tls-authz", _AUTHZ]
    return words
