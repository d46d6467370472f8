"""Images of every format, with every option, and what the tool tells of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.tools.creation import (
    CreateLuks,
    CreateParallels,
    CreateQcow,
    CreateQcow2,
    CreateQed,
    CreateRaw,
    CreateVdi,
    CreateVhdx,
    CreateVmdk,
    CreateVpc,
    CreationOptions,
    EncryptAes,
    EncryptLuks,
    creation_words,
)
from tests.live.helpers import run

SIZE = 8 << 20
Info = Mapping[str, object]
NEW, OLD = Secret(b"new"), Secret(b"old")

# QEMU 7.2: making LUKS fails by chance with sha1, sha224 and sha256 (`EncryptLuks` says why),
# so the images of the tests have sha512.
LUKS = EncryptLuks(
    cipher_alg="serpent-128",
    cipher_mode="cbc",
    ivgen_alg="essiv",
    ivgen_hash_alg="sha256",
    hash_alg="sha512",
    iter_time=0.01,
)
LUKS_INFO: Info = {
    "cipher-alg": "serpent-128",
    "cipher-mode": "cbc",
    "ivgen-alg": "essiv",
    "ivgen-hash-alg": "sha256",
    "hash-alg": "sha512",
}
SAMPLES: list[tuple[CreationOptions, Info]] = [
    (
        CreateQcow2(
            compat="v3",
            cluster_size="128K",
            extended_l2=True,
            refcount_bits=1,
            lazy_refcounts=True,
            compression_type="zstd",
            preallocation="metadata",
            extent_size_hint="1M",
            nocow=True,
        ),
        {
            "cluster-size": 128 << 10,
            "compat": "1.1",
            "extended-l2": True,
            "refcount-bits": 1,
            "lazy-refcounts": True,
            "compression-type": "zstd",
        },
    ),
    (CreateQcow2(compat="0.10"), {"compat": "0.10"}),
    (CreateQcow2(data_file="data", data_file_raw=True), {"data-file-raw": True}),
    (CreateQcow2(encrypt=LUKS), {"encrypt": LUKS_INFO}),
    (CreateQcow2(encrypt=EncryptAes()), {"encrypt": {"format": "aes"}}),
    (CreateRaw(preallocation="full", extent_size_hint="1M", nocow=True), {"actual-size": SIZE}),
    (
        CreateLuks(
            cipher_alg="serpent-128",
            cipher_mode="cbc",
            ivgen_alg="essiv",
            ivgen_hash_alg="sha256",
            hash_alg="sha512",
            iter_time=0.01,
            preallocation="falloc",
            extent_size_hint="1M",
            nocow=True,
        ),
        LUKS_INFO,
    ),
    (CreateVdi(static=True, extent_size_hint="1M", nocow=True), {}),
    (
        CreateVmdk(
            subformat="streamOptimized",
            adapter_type="lsilogic",
            hwversion="7",
            toolsversion="9",
            zeroed_grain=True,
            extent_size_hint="1M",
            nocow=True,
        ),
        {"create-type": "streamOptimized"},
    ),
    (CreateVmdk(compat6=True), {"create-type": "monolithicSparse"}),
    (
        CreateVhdx(
            subformat="fixed",
            log_size="2M",
            block_size="4M",
            block_state_zero=False,
            extent_size_hint="1M",
            nocow=True,
        ),
        {"cluster-size": 4 << 20},
    ),
    (CreateVpc(subformat="dynamic", force_size=True, extent_size_hint="1M", nocow=True), {}),
    (CreateParallels(cluster_size="2M", extent_size_hint="1M", nocow=True), {}),
    (
        CreateQed(cluster_size="128K", table_size=2, extent_size_hint="1M", nocow=True),
        {"cluster-size": 128 << 10},
    ),
    (CreateQcow(encrypt=EncryptAes(), extent_size_hint="1M", nocow=True), {"encrypted": True}),
]


def has_secret(options: CreationOptions) -> bool:
    return isinstance(options, CreateLuks) or getattr(options, "encrypt", None) is not None


def words(options: CreationOptions) -> list[str]:
    return creation_words(options, key_secret="old" if has_secret(options) else None)


def objects(folder: Path) -> list[str]:
    """Give the tool the secrets ``old`` and ``new``."""
    out: list[str] = []
    for name, secret in (("old", OLD), ("new", NEW)):
        (folder / name).write_bytes(secret.reveal())
        out += ["--object", f"secret,id={name},file={folder / name}"]
    return out


def create(options: CreationOptions, folder: Path) -> Path:
    image = folder / "image"
    argv = ["create", "-q", "-f", options.format, *objects(folder), *words(options)]
    run("qemu-img", *argv, str(image), str(SIZE))
    return image


def info(image: Path, format: str) -> dict[str, object]:
    """What qemu-img tells of an image, with what is special to the format on the same level."""
    described = f"driver={format},file.filename={image}"
    told = json.loads(run("qemu-img", "info", "--output=json", "--image-opts", described))
    return {**told, **told.get("format-specific", {}).get("data", {})}


def listed(command: str, format: str, folder: Path) -> set[str]:
    """The options that a command of the tool offers for a format."""
    text = run("qemu-img", command, "-f", format, "-o", "help", str(folder / "none"))
    found = set(re.findall(r"^  ([\w.-]+)=<", text, re.M))
    assert found, text
    return found


def said(words: list[str]) -> set[str]:
    """The options that are on a command line."""
    return {option.partition("=")[0] for option in words[1::2]}
