"""An image as a tool is told of it: by a name that is taken literally, and the format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from qemu_blocksdk.codec import JsonObject, Secret, Struct, Value, encode, keyval, redact
from qemu_blocksdk.codec.json_text import to_text
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import BlockdevOptions

from .nbd import NbdUri
from .run import Path, as_file
from .tls import CREDENTIALS, TlsCredentials, tls_object, tls_secrets

NEW_KEY = "blocksdk-new"
"""The id of the secret that encrypts a new image."""


def opened_by(
    secret: Secret | None, format: str, *, nth: int = 0
) -> tuple[JsonObject, Mapping[str, Secret]]:
    """Return the options that open the ``nth`` image of a command with a secret, and its id."""
    if secret is None:
        return {}, {}
    id = _numbered("blocksdk-key", nth)
    options: JsonObject = {"key-secret": id}
    return options if format == "luks" else {"encrypt": options}, {id: secret}


class Target(Value):
    """What goes on a tool's command line: the file name, the format, and secrets by their ids.

    Without a ``format`` the file name (``json:{...}``) tells it. ``objects`` are options that
    define what else it refers to.
    """

    filename: str
    format: str | None = None
    secrets: Mapping[str, Secret]
    objects: Sequence[str] = ()

    def words(self, option: str = "-f") -> list[str]:
        """Return the option that tells the format, then the file name."""
        return [*self.format_words(option), self.filename]

    def format_words(self, option: str = "-f") -> list[str]:
        """Return the option that tells the format, where one is needed, after the objects."""
        return [*self.objects, *([] if self.format is None else [option, self.format])]

    def spelled_words(self) -> list[str]:
        """Return the file name with the format in it, for commands that have no ``-f``."""
        if self.format is None:
            return [*self.objects, self.filename]
        texts = {"driver": self.format, "file.filename": self.filename}
        return ["--image-opts", keyval(texts)]

    @classmethod
    def of_file(
        cls, path: Path, format: str, secret: Secret | None = None, *, nth: int = 0
    ) -> Target:
        """Name a file, the ``nth`` of a command: each has a secret of its own.

        Raises UsageError for an encrypted file whose name is not UTF-8.
        """
        name = as_file(path)
        if secret is None:
            return cls(filename=name, format=format, secrets={})
        members, secrets = opened_by(secret, format, nth=nth)
        # The file has no driver: an absolute path is no protocol, and QEMU makes a
        # host_device of /dev/sdb.
        file: JsonObject = {"filename": name}
        filename = json_name({"driver": format, **members, "file": file})
        return cls(filename=filename, secrets=secrets)

    @classmethod
    def of_nbd(
        cls, uri: NbdUri, format: str, tls: TlsCredentials | None, *, nth: int = 0
    ) -> Target:
        """Name what an NBD server offers, the ``nth`` image of a command."""
        id = _numbered(CREDENTIALS, nth)
        # By its options: a name in a URI is cleaned as if it were a path.
        file = encode(uri.options(tls_creds=None if tls is None else id))
        return cls(
            filename=json_name({"driver": format, "file": cast("JsonObject", file)}),
            secrets=tls_secrets(tls, id=id),
            objects=[] if tls is None else tls_object(tls, endpoint="client", id=id),
        )

    @classmethod
    def of_options(
        cls, options: BlockdevOptions, secrets: Mapping[str, Secret], *, nth: int = 0
    ) -> Target:
        """Name what block device options describe, with the secrets that they refer to.

        Their ids are the caller's, whichever image of a command it is. Raises UsageError for
        options that hold a secret themselves.
        """
        del nth
        return cls(filename=f"json:{json_word(options)}", secrets=secrets)


def secrets_of(targets: Iterable[Target]) -> Mapping[str, Secret]:
    """Return the secrets of all. Raises UsageError for an id that two of them use differently."""
    secrets: dict[str, Secret] = {}
    for target in targets:
        for id, secret in target.secrets.items():
            if secrets.setdefault(id, secret) != secret:
                raise UsageError(f"two images of one command have another secret of id {id!r}")
    return secrets


def _numbered(id: str, nth: int) -> str:
    return f"{id}-{nth}" if nth else id


def json_name(members: JsonObject) -> str:
    """Return the file name by which a tool takes options in JSON. Raises UsageError."""
    return f"json:{to_text(members)}"


def json_word(options: Struct) -> str:
    """Return options as the JSON that a command line takes.

    Raises UsageError for options that hold a secret themselves, and for what are none.
    """
    if not isinstance(cast("object", options), Struct):
        raise UsageError(f"{options!r} is none of the classes of qemu_blocksdk.wire")
    members = encode(options)
    if redact(members) != members:
        raise UsageError(
            f"{type(options).__name__} holds a secret that a command line would show;"
            " refer to a Secret by an id instead"
        )
    return to_text(members)
