"""Where an NBD export is: NBD URIs as values.

One pattern reads a URI, as the NBD project's specification has it; what it leaves over
is refused, not dropped. No connection is made here.
"""

from __future__ import annotations

import os
import re
from typing import Literal
from urllib.parse import quote, unquote

from qemu_blocksdk.codec import Value, redact
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.wire import Nbd, SocketAddressInet, SocketAddressUnix

NbdAddress = str | os.PathLike[str] | tuple[str, int]
"""Where an NBD server listens: a unix socket's path, or a TCP host and port."""

DEFAULT_PORT = 10809

_URI = re.compile(
    r"(?P<scheme>nbds?(\+unix|\+tcp)?)://"
    r"((?P<username>[^@/?#]+)@)?(?P<host>\[[^]/?#]+]|[^][:@/?#]*)(:(?P<port>\d{0,5}))?"
    r"(/(?P<export>[^?#]*))?(\?(?P<query>[^#]*))?",
    re.ASCII,
)
_LEGAL = re.compile(r"[!-~]*")
_TLS = ("tls-certificates", "tls-psk-file", "tls-hostname")


class NbdUri(Value):
    """An export of an NBD server; ``str()`` is its URI.

    ``address`` is a unix socket's path or a TCP host and port, the ``export`` with the
    empty name is the server's default. The rest is for clients that read it, libnbd's:
    QEMU takes TLS from :meth:`options`. Names are text, as ``os.fsdecode`` gives it.
    """

    address: str | tuple[str, int]
    export: str = ""
    tls: bool = False
    username: str | None = None
    tls_certificates: str | None = None
    tls_psk_file: str | None = None
    tls_hostname: str | None = None

    @classmethod
    @sealed
    def parse(cls, text: str) -> NbdUri:
        """Read a URI (``nbd://``, ``nbds://``, ``nbd+unix://``, ``nbds+unix://``).

        Raises UsageError for what is none, and for a parameter that is not known here.
        """
        shown = str(redact(text))
        found = _URI.fullmatch(text)
        if found is None or not _LEGAL.fullmatch(text):
            raise UsageError(f"{shown!r} is no NBD URI")
        if ":" in (found["username"] or ""):
            raise UsageError(f"{shown!r} has a password, which NBD does not know")
        parameters = _parameters(found["query"] or "", shown)
        socket = parameters.pop("socket", None)
        unknown = parameters.keys() - set(_TLS)
        if unknown:
            raise UsageError(f"{shown!r} has a parameter {min(unknown)!r}, which is not known")
        is_unix = found["scheme"].endswith("+unix")
        if is_unix != bool(socket) or (is_unix and (found["host"] or found["port"])):
            raise UsageError(f"{shown!r} needs either a host or, with +unix, a socket")
        port = int(found["port"] or DEFAULT_PORT)
        if not 0 < port < 1 << 16:
            raise UsageError(f"{shown!r} has a port {port}, which is none")
        return cls(
            address=socket or (_plain(found["host"].strip("[]")) or "localhost", port),
            export=_plain(found["export"] or ""),
            tls=found["scheme"].startswith("nbds"),
            username=None if found["username"] is None else _plain(found["username"]),
            tls_certificates=parameters.get("tls-certificates"),
            tls_psk_file=parameters.get("tls-psk-file"),
            tls_hostname=parameters.get("tls-hostname"),
        )

    @property
    def scheme(self) -> Literal["nbd", "nbds", "nbd+unix", "nbds+unix"]:
        """What the URI begins with."""
        if isinstance(self.address, tuple):
            return "nbds" if self.tls else "nbd"
        return "nbds+unix" if self.tls else "nbd+unix"

    def __str__(self) -> str:
        user = "" if self.username is None else f"{_escaped(self.username, safe='')}@"
        named = {name: getattr(self, name.replace("-", "_")) for name in _TLS}
        place = ""
        if isinstance(self.address, tuple):
            host, port = self.address
            host = f"[{_escaped(host, safe=':')}]" if ":" in host else _escaped(host, safe="")
            place = f"{host}:{port}"
        else:
            named = {"socket": self.address, **named}
        query = "&".join(f"{name}={_escaped(v)}" for name, v in named.items() if v is not None)
        return f"{self.scheme}://{user}{place}/{_escaped(self.export)}" + (query and f"?{query}")

    def options(self, *, node_name: str | None = None, tls_creds: str | None = None) -> Nbd:
        """Return the options by which QEMU opens the export.

        They reach every export, where QEMU cleans a name in a URI as if it were a path: it
        drops slashes at its beginning, 10.0 resolves ``..`` as well. ``tls_creds`` is the id
        of the credentials there. Raises UsageError for a URI with TLS without it.
        """
        if self.tls and tls_creds is None:
            raise UsageError(f"{self} needs the id of TLS credentials")
        server: SocketAddressInet | SocketAddressUnix
        if isinstance(self.address, tuple):
            server = SocketAddressInet(host=self.address[0], port=str(self.address[1]))
        else:
            server = SocketAddressUnix(path=self.address)
        return Nbd(
            node_name=node_name,
            server=server,
            export=self.export or None,
            tls_creds=tls_creds,
            tls_hostname=self.tls_hostname,
        )


def _escaped(text: str, *, safe: str = "/") -> str:
    return quote(text, safe=safe, errors="surrogateescape")


def _plain(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _parameters(query: str, uri: str) -> dict[str, str]:
    # By hand: urllib's way is that of web forms, where a plus sign is a space.
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    parameters = {_plain(name): _plain(value) for name, _, value in pairs}
    if len(parameters) != len(pairs):
        raise UsageError(f"{uri!r} has a parameter twice")
    return parameters
