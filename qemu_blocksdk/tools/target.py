"""An image as a tool is told of it: by a name that is taken literally, and the format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from qemu_blocksdk.codec import JsonObject, JsonValue, Secret, Value, encode, redact
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import BlockdevOptions

from .run import Path, as_file

KEY = "blocksdk-key"
"""The id of the secret that opens an encrypted image."""


class Target(Value):
    """What goes on a tool's command line: the file name, the format, and secrets by their ids.

    Without a ``format`` the file name (``json:{...}``) tells it.
    """

    filename: str
    format: str | None = None
    secrets: Mapping[str, Secret]

    def words(self, option: str = "-f") -> list[str]:
        """Return the option that tells the format, then the file name."""
        return [*self.format_words(option), self.filename]

    def format_words(self, option: str = "-f") -> list[str]:
        """Return the option that tells the format, where one is needed."""
        return [] if self.format is None else [option, self.format]

    @classmethod
    def of_file(cls, path: Path, format: str, secret: Secret | None = None) -> Target:
        """Name a file. Raises UsageError for an encrypted one whose name is not UTF-8."""
        name = as_file(path)
        if secret is None:
            return cls(filename=name, format=format, secrets={})
        key: JsonObject = {"key-secret": KEY}
        members = key if format == "luks" else {"encrypt": key}
        return cls(
            filename=_json_name({"driver": format, **members, "file": _file(name)}),
            secrets={KEY: secret},
        )

    @classmethod
    def of_options(cls, options: BlockdevOptions, secrets: Mapping[str, Secret]) -> Target:
        """Name what block device options describe, with the secrets that they refer to.

        Raises UsageError for options that hold a secret themselves.
        """
        members = encode(options)
        if redact(members) != members:
            raise UsageError(
                f"{type(options).__name__} holds a secret that a command line would show;"
                " refer to a Secret by an id instead"
            )
        return cls(filename=_json_name(cast("JsonObject", members)), secrets=secrets)


def _file(name: str) -> JsonValue:
    # Without a driver in it, the name is looked at as on a command line: an absolute path
    # is no protocol, and /dev/sdb becomes a host_device.
    return {"filename": name}


def _json_name(members: JsonObject) -> str:
    try:
        text = json.dumps(members, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{error.object!r}: a name that is not UTF-8 needs a plain path"
        ) from error
    return f"json:{text}"
