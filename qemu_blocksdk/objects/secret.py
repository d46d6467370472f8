"""Secrets as objects of a running QEMU."""

from __future__ import annotations

import base64

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.wire import ObjectOptionsSecret


def secret_options(secret: Secret, *, id: str) -> ObjectOptionsSecret:
    """Return the object that holds a secret, for the monitor's own socket and nothing else."""
    data = base64.b64encode(secret.reveal()).decode()
    return ObjectOptionsSecret(id=id, data=data, format="base64")
