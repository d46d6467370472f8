"""Creation and amend options: what a user writes."""

from pathlib import Path
from typing import Literal, assert_type

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.tools.amendment import AmendLuks, AmendOptions, AmendQcow2, amendment_words
from qemu_blocksdk.tools.creation import (
    CreateLuks,
    CreateQcow2,
    CreateRaw,
    CreateVmdk,
    CreationOptions,
    EncryptAes,
    EncryptLuks,
    creation_words,
    options_of,
)

CreateQcow2()
encrypted = CreateQcow2(
    compat="1.1",
    cluster_size="128K",
    refcount_bits=64,
    preallocation="metadata",
    data_file=Path("data"),
    encrypt=EncryptLuks(cipher_alg="aes-256", cipher_mode="xts", iter_time=2),
)
CreateQcow2(cluster_size=65536, encrypt=EncryptAes())
assert_type(encrypted.format, Literal["qcow2"])
assert_type(encrypted.lazy_refcounts, bool | None)
assert_type(options_of("qcow2"), CreationOptions)
assert_type(options_of(CreateRaw(preallocation="falloc")), CreationOptions)
assert_type(creation_words(CreateLuks(hash_alg="sha512"), key_secret="id"), list[str])
anything: CreationOptions = CreateVmdk(subformat="streamOptimized")

amend: AmendOptions = AmendQcow2(encrypt=AmendLuks(state="active", new_secret=Secret("new")))
assert_type(amendment_words(amend, secret_id=repr), list[str])
