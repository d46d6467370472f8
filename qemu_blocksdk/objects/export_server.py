"""The NBD server of a running QEMU: where it listens, whom it lets in.

What it needs in QEMU for that (credentials, lists of names) are objects that come and go with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self, TypedDict, Unpack

from qemu_blocksdk.errors import BlockSdkError, CommandError, StateError
from qemu_blocksdk.qmp import AsyncQmp, clean_up, run_with_cleanup, shielded
from qemu_blocksdk.qmp.address import address_text
from qemu_blocksdk.qmp.deadline import Deadline, within
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.listening_socket import checked, reserved
from qemu_blocksdk.tools.nbd import NbdAddress, NbdUri
from qemu_blocksdk.tools.tls import (
    TlsCredentials,
    admission,
    assert_proves_names,
    tls_options,
    tls_secrets,
)
from qemu_blocksdk.wire import (
    BlockDirtyBitmapOrStr,
    BlockExportOptionsNbd,
    InetSocketAddress,
    NbdServerStart,
    NbdServerStop,
    ObjectAdd,
    ObjectDel,
    ObjectOptions,
    ObjectOptionsAuthzList,
    ObjectOptionsAuthzPam,
    ObjectOptionsAuthzSimple,
    SocketAddressLegacy,
    SocketAddressLegacyInet,
    SocketAddressLegacyUnix,
    UnixSocketAddress,
)

from ._base import Live, subject
from .bitmap import AsyncBitmap
from .cleanup import FileCleanup
from .export import AsyncUriExport, ExportOptions
from .leftovers import sign_server
from .names import temporary_name
from .node import AsyncNode
from .secret import secret_options

# QEMU 7.2: authz-listfile is in its schema, but is called authz-list-file inside, so that none
# can be made (nor by 10.0), and it is not here.
Authorization = ObjectOptionsAuthzList | ObjectOptionsAuthzPam | ObjectOptionsAuthzSimple


class ExportServerOptions(TypedDict, total=False):
    """What can be said of the NBD server of a QEMU beside its address.

    With ``tls``, clients have to come with TLS; ``tls_authz`` says which of them, by their x509
    certificates, are admitted: their distinguished names, or an object of QEMU's that decides.
    ``max_connections`` is the number of clients at a time (0: any). ``handshake_max_seconds``
    limits how long a client may negotiate (0: for ever) and is only in QEMU 10.0.
    """

    tls: TlsCredentials
    tls_authz: Sequence[str] | Authorization
    max_connections: int
    handshake_max_seconds: int


@sealed_class
class AsyncExportServer(Live, AsyncResource):
    """The NBD server of one QEMU; leaving the block stops it.

    A verb that comes when it has been stopped raises StateError.
    """

    def __init__(
        self, qmp: AsyncQmp, address: str | tuple[str, int], file_cleanup: FileCleanup
    ) -> None:
        self._qmp = qmp
        self._address = address
        self._file_cleanup = file_cleanup
        self._runs = self._is_tls = False
        self._objects = list[str]()

    @classmethod
    async def _start(
        cls,
        owner: Live,
        address: NbdAddress | None,
        file_cleanup: FileCleanup,
        options: ExportServerOptions,
    ) -> Self:
        """Start it, as a verb of ``owner``."""
        qmp = owner._connection()
        if isinstance(address, tuple):
            place = checked(address)
        else:
            place = file_cleanup.new_socket(address, name=f"{temporary_name(qmp)}.sock")
        self = cls(qmp, place, file_cleanup)

        async def start() -> Self:
            try:
                # If this stopped half-way, a server that runs could be ours or another client's.
                await shielded(self._begin(owner, **options))
            except BaseException:
                await self._leave(None)
                raise
            return self

        return await run_with_cleanup(start(), owner=qmp)

    async def _begin(
        self,
        owner: Live,
        *,
        tls: TlsCredentials | None = None,
        tls_authz: Sequence[str] | Authorization | None = None,
        max_connections: int | None = None,
        handshake_max_seconds: int | None = None,
    ) -> None:
        creds = authz = None
        needed: list[ObjectOptions] = []
        if tls is not None:
            creds = temporary_name(self._qmp)
            secrets = tls_secrets(tls, id=creds)
            needed += (secret_options(secret, id=id) for id, secret in secrets.items())
            needed.append(tls_options(tls, endpoint="server", id=creds))
        if tls_authz is not None:
            assert_proves_names(tls)
            admitting = (
                admission(tls_authz, id=temporary_name(self._qmp))
                if isinstance(tls_authz, Sequence)
                else tls_authz
            )
            needed.append(admitting)
            authz = admitting.id
        with contextlib.ExitStack() as held:
            if isinstance(self._address, tuple) and not self._address[1]:
                # QEMU does not tell which port it has found.
                port = held.enter_context(await reserved(self._address)).getsockname()[1]
                self._address = self._address[0], port
            for options in needed:
                await owner._execute(ObjectAdd(options=options))
                self._objects.append(options.id)
            await owner._execute(
                NbdServerStart(
                    addr=_on_wire(self._address),
                    tls_creds=creds,
                    tls_authz=authz,
                    max_connections=max_connections,
                    handshake_max_seconds=handshake_max_seconds,
                )
            )
        self._runs, self._is_tls = True, tls is not None
        if self._qmp._owner.is_guest:
            self._objects.append(await sign_server(owner, address_text(self._address)))
        if isinstance(self._address, str):
            self._file_cleanup.note_socket(self._address)

    @property
    def address(self) -> str | tuple[str, int]:
        """Where the server listens: a unix socket's path, or a TCP host and port."""
        return self._address

    async def export(
        self,
        node: AsyncNode,
        *,
        name: str | None = None,
        description: str | None = None,
        bitmaps: Sequence[AsyncBitmap | BlockDirtyBitmapOrStr] = (),
        allocation_depth: bool | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncUriExport:
        """Export a node (``block-export-add``) under ``name``, by default the node's.

        Clients see the ``bitmaps`` as meta contexts ``qemu:dirty-bitmap:NAME``, and with
        ``allocation_depth`` the context ``qemu:allocation-depth``; a bitmap that is a name is
        looked for in the node and its backing chain. Without an ``id`` QEMU gets a new one. The
        rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises CommandError for a name
        or id that is taken, for a bitmap that is missing or busy, and for one, given as a name,
        that records while the export is not ``writable`` and the node is.
        """
        self._assert_runs("block-export-add")
        wire = BlockExportOptionsNbd(
            id=id if id is not None else temporary_name(self._qmp),
            node_name=node.name,
            name=name,
            description=description,
            bitmaps=[b._on_wire() if isinstance(b, AsyncBitmap) else b for b in bitmaps] or None,
            allocation_depth=allocation_depth,
            **options,
        )
        called = node.name if name is None else name
        uri = NbdUri(address=self._address, export=called, tls=self._is_tls)
        return await AsyncUriExport(self._qmp, wire.id, node, uri)._added_by(self, wire)

    async def stop(self, *, timeout: float = 10.0) -> None:
        """Stop the server and end its connections and exports (``nbd-server-stop``).

        ``timeout`` is in seconds. Raises StateError when that was done, CommandError when
        somebody else has done it, DeadlineExceeded.
        """
        self._assert_runs("nbd-server-stop")
        # QEMU 7.2: it hangs for good when a client has connected but not negotiated yet, so
        # there is a limit.
        deadline = Deadline(timeout)
        await self._execute(NbdServerStop(), timeout=timeout)
        self._runs = False
        async with within(deadline, f"the end of {subject(self)}"):
            await self._end()

    def _assert_runs(self, verb: str) -> None:
        # Another server may run by now.
        if not self._runs:
            raise StateError(subject(self), verb=verb)

    async def _leave(self, error: BaseException | None) -> None:
        with contextlib.suppress(BlockSdkError):
            await clean_up(self._end(), owner=self._qmp)

    async def _end(self) -> None:
        """Stop it if it runs, and leave nothing of it."""
        try:
            if self._runs:
                with contextlib.suppress(CommandError):  # somebody else has done it
                    await self._execute(NbdServerStop())
            while self._objects:
                with contextlib.suppress(CommandError):
                    await self._execute(ObjectDel(id=self._objects.pop()))
        finally:
            self._runs = False
            if isinstance(self._address, str):
                await self._file_cleanup.remove(self._address)

    def __repr__(self) -> str:
        return f"<NBD server at {address_text(self._address)}{'' if self._runs else ': stopped'}>"


def _on_wire(address: str | tuple[str, int]) -> SocketAddressLegacy:
    if isinstance(address, str):
        return SocketAddressLegacyUnix(data=UnixSocketAddress(path=address))
    host, port = address
    return SocketAddressLegacyInet(data=InetSocketAddress(host=host, port=str(port)))
