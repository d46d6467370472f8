"""Values of the wire: how a typed Python value becomes QMP's JSON, and back.

Here live the base classes of everything in ``wire/`` and the two conversions.
Encoding is strict, decoding lenient; absent (``None``), null (``NULL``) and a value
are three things. No knowledge of a single QEMU type belongs here.
"""

from qemu_blocksdk.redaction import masked, masked_args, redact, secrets_in, secrets_in_args

from .convert import decode, decode_event, decode_reply, encode
from .dotted import dotted, doubled, flatten, keyval
from .secret import Secret
from .struct import (
    NULL,
    Command,
    Deprecated,
    Event,
    EventSelector,
    JsonObject,
    JsonValue,
    Null,
    Struct,
    Unknown,
    UnknownEvent,
    Unstable,
    UnstableCommand,
)
from .value import Value, evolve

__all__ = [
    "NULL",
    "Command",
    "Deprecated",
    "Event",
    "EventSelector",
    "JsonObject",
    "JsonValue",
    "Null",
    "Secret",
    "Struct",
    "Unknown",
    "UnknownEvent",
    "Unstable",
    "UnstableCommand",
    "Value",
    "decode",
    "decode_event",
    "decode_reply",
    "dotted",
    "doubled",
    "encode",
    "evolve",
    "flatten",
    "keyval",
    "masked",
    "masked_args",
    "redact",
    "secrets_in",
    "secrets_in_args",
]
