"""Whether LUKS works: whether qemu-img opens an image of it.

Creating one would be the obvious question. QEMU 7.2: that measures the CPU first, and fails
at random where the clock of the thread is coarse ("Unable to get accurate CPU usage"), so
an image that was made by hand is opened.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from qemu_blocksdk.codec import Secret, Value

from .run import ask
from .target import Target

_SECTOR = 512
_ITERATIONS = 1000
_STRIPES = 4000
_SLOT_SECTORS = 504
_PASSWORD = Secret("blocksdk")
# The key material is left all zeros. What AES-256-XTS decrypts that to, with the password,
# merges to a master key, and this is its PBKDF2 digest: so who opens the image has each of
# the ciphers and hashes that QEMU creates images with.
_DIGEST = bytes.fromhex("8c0a0984ddace0f31d3f69e9a4286ff0e2b825bc")


class LuksSupport(Value):
    """Whether LUKS images, and qcow2 images encrypted so, can be used; what is in the way if not.

    That they can be used does not say that creating one succeeds: QEMU 7.2 fails at that by
    chance on some machines.
    """

    problem: str | None = None

    @property
    def works(self) -> bool:
        """Whether nothing is in the way."""
        return self.problem is None


async def query_luks(qemu_img: Sequence[str], *, timeout: float) -> LuksSupport:
    """Ask a qemu-img. Raises LaunchError, DeadlineExceeded, ToolError where it does not answer."""
    image = os.memfd_create("luks")
    try:
        os.write(image, _header())
        os.ftruncate(image, (_payload() + 1) * _SECTOR)
        target = Target.of_file(f"/dev/fd/{image}", "luks", _PASSWORD)
        done = await ask(
            [*qemu_img, "map"],
            ["--output=json", *target.words()],
            timeout=timeout,
            accept=(0, 1),
            secrets=target.secrets,
            pass_fds=(image,),
        )
    finally:
        os.close(image)
    if done.exit_status:
        return LuksSupport(problem=str(done.failure()))
    done.json()
    return LuksSupport()


def _payload() -> int:
    """The sector where the data begins."""
    return 8 + 8 * _SLOT_SECTORS


def _header() -> bytes:
    names = (b"aes", b"xts-plain64", b"sha256")
    parts = [b"LUKS\xba\xbe", struct.pack(">H", 1), *(name.ljust(32, b"\0") for name in names)]
    parts.append(struct.pack(">II", _payload(), 64))
    parts += [_DIGEST, bytes(32), struct.pack(">I", _ITERATIONS), b"0".ljust(40, b"\0")]
    for slot in range(8):
        use = (0x00AC71F3, _ITERATIONS) if slot == 0 else (0xDEAD, 0)
        parts += [struct.pack(">II", *use), bytes(32)]
        parts.append(struct.pack(">II", 8 + slot * _SLOT_SECTORS, _STRIPES))
    return b"".join(parts)
