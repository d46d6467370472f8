"""qemu-nbd: what it is told as a server, and what it tells of the exports of others.

Its life as a process is no business of this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypedDict

from qemu_blocksdk.codec import Value, doubled
from qemu_blocksdk.errors import Unsupported, UsageError

from .nbd import NbdAddress, NbdUri
from .run import Completed, as_file, ask
from .tls import TlsCredentials, tls_secrets, tls_words
from .words import AioMode, CacheMode, flags

HANDSHAKE_LIMIT = "--handshake-limit"
_QUICK = 10.0


class NbdServerOptions(TypedDict, total=False):
    """What can be said of a qemu-nbd beside its image and address.

    ``shared`` is the number of clients at a time (1, unlimited for 0); a server that is not
    ``persistent`` (True) ends when the last one leaves. The export begins at ``offset``, in
    bytes. ``snapshot`` keeps writes in a temporary file that nobody sees again;
    ``load_snapshot`` exports an internal snapshot, by id or name, read-only. ``bitmaps`` and
    ``allocation_depth`` are offered as meta contexts. ``tls_authz`` has the distinguished
    names of the x509 clients that are admitted. ``handshake_limit`` is in seconds and only
    in QEMU 10.0.
    """

    export_name: str
    description: str
    read_only: bool
    persistent: bool
    shared: int
    offset: int
    snapshot: bool
    load_snapshot: str
    bitmaps: Sequence[str]
    allocation_depth: bool
    cache: CacheMode
    aio: AioMode
    discard: Literal["ignore", "unmap"]
    detect_zeroes: Literal["off", "on", "unmap"]
    tls: TlsCredentials
    tls_authz: Sequence[str]
    handshake_limit: int


def server_words(options: NbdServerOptions) -> list[str]:
    """Return the command line's options. Raises UsageError for a negative number."""
    unknown = options.keys() - NbdServerOptions.__optional_keys__
    if unknown:
        raise TypeError(f"qemu-nbd has no option {min(unknown)!r} here")
    shared, offset = options.get("shared"), options.get("offset")
    limit = options.get("handshake_limit")
    for name, number in {"shared": shared, "offset": offset, "handshake_limit": limit}.items():
        if number is not None and number < 0:
            raise UsageError(f"{name} cannot be {number}")
    return [
        *flags(
            export_name=("-x", options.get("export_name")),
            description=("-D", options.get("description")),
            read_only=("-r", options.get("read_only")),
            persistent=("-t", options.get("persistent", True)),
            shared=("-e", shared),
            offset=("-o", offset),
            snapshot=("-s", options.get("snapshot")),
            load_snapshot=("-l", _literal(options.get("load_snapshot"))),
            allocation_depth=("-A", options.get("allocation_depth")),
            cache=("--cache", options.get("cache")),
            aio=("--aio", options.get("aio")),
            discard=("--discard", options.get("discard")),
            detect_zeroes=("--detect-zeroes", options.get("detect_zeroes")),
            handshake_limit=(HANDSHAKE_LIMIT, limit),
        ),
        *(word for name in options.get("bitmaps", ()) for word in ("-B", name)),
        *tls_words(options.get("tls"), endpoint="server", authz=options.get("tls_authz")),
    ]


def _literal(snapshot: str | None) -> str | None:
    """A snapshot's id or name, which is not read as a list of options."""
    if snapshot is not None and snapshot.startswith("snapshot."):
        return f"snapshot.name={doubled(snapshot)}"
    return snapshot


def address_words(address: NbdAddress) -> list[str]:
    """Return the options that say where a server is, or is to be."""
    if isinstance(address, tuple):
        return ["-b", address[0], "-p", str(address[1])]
    return ["-k", as_file(address)]


async def assert_offers(program: Sequence[str], option: str) -> None:
    """Raise Unsupported when the binary has no such option; it is asked."""
    done = await ask(program, ["--help"], timeout=_QUICK)
    if option not in done.stdout:
        raise Unsupported(f"option {option} of qemu-nbd")


# -- the exports of others --------------------------------------------------------------


class NbdExport(Value):
    """An export as its server announces it.

    ``size`` and the block sizes are in bytes, None where the server does not tell them;
    ``flags`` and ``transaction_size`` are in QEMU's words.
    """

    name: str
    description: str | None = None
    size: int | None = None
    flags: tuple[str, ...] = ()
    min_block: int | None = None
    opt_block: int | None = None
    max_block: int | None = None
    transaction_size: str | None = None
    meta_contexts: tuple[str, ...] = ()

    @property
    def is_read_only(self) -> bool:
        """Whether the server refuses writes."""
        return "readonly" in self.flags


async def list_exports(
    program: Sequence[str], uri: NbdUri, *, tls: TlsCredentials | None, timeout: float
) -> Sequence[NbdExport]:
    """Ask a server for its exports (``qemu-nbd -L``); which one the URI names does not matter.

    Raises ToolError, DeadlineExceeded, UsageError for a URI that needs credentials.
    """
    if uri.tls and tls is None:
        raise UsageError(f"{uri} needs TLS credentials")
    words = [*address_words(uri.address), *tls_words(tls, endpoint="client")]
    if uri.tls_hostname is not None:
        # QEMU 7.2: --help is silent about it.
        words += ["--tls-hostname", uri.tls_hostname]
    done = await ask([*program, "-L"], words, secrets=tls_secrets(tls), timeout=timeout)
    return exports_in(done)


# Names and descriptions are printed as they are, line breaks and all.
_EXPORT = re.compile(
    r"'(?P<name>.*?)'\n"
    r"(  description: (?P<description>.*?)\n)?"
    r"(  size:  (?P<size>\d{1,20})\n"
    r"  flags: 0x[0-9a-f]+ \((?P<flags>[^\n]*) \)\n"
    r"(?P<fields>(  [a-z ]+: [^\n]*\n)*))?"
    r"(  available meta contexts: (?P<count>\d{1,20})\n(?P<contexts>.*))?",
    re.DOTALL,
)
_FIELD = re.compile(r"^  ([a-z ]+): +(.*)$", re.MULTILINE)


def exports_in(done: Completed) -> Sequence[NbdExport]:
    """Read what ``qemu-nbd -L`` printed.

    Raises ToolError where a name or description looks like what may stand beside it.
    """
    head, *blocks = re.split(r"^ export: ", done.stdout, flags=re.MULTILINE)
    exports = [export for export in map(_export, blocks) if export is not None]
    if head != f"exports available: {len(exports)}\n" or len(exports) != len(blocks):
        raise done.failure("printed a list of exports that can be read in several ways")
    return exports


def _export(block: str) -> NbdExport | None:
    names = [name for name, _ in _FIELD.findall(block)]
    # Before the match: where each is there once, there are few ways to try.
    if len(set(names)) != len(names):
        return None
    found = _EXPORT.fullmatch(block)
    if found is None:
        return None
    contexts = re.split(r"(?:^|\n)   ", (found["contexts"] or "").removesuffix("\n"))[1:]
    if len(contexts) != int(found["count"] or 0):
        return None
    fields: dict[str, str] = dict(_FIELD.findall(found["fields"] or ""))
    numbers = ("min block", "opt block", "max block")
    if not all(fields[name].isdecimal() for name in numbers if name in fields):
        return None
    return NbdExport(
        name=found["name"],
        description=found["description"],
        size=_number(found["size"]),
        flags=tuple((found["flags"] or "").split()),
        min_block=_number(fields.get("min block")),
        opt_block=_number(fields.get("opt block")),
        max_block=_number(fields.get("max block")),
        transaction_size=fields.get("transaction size"),
        meta_contexts=tuple(contexts),
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text[:20])
