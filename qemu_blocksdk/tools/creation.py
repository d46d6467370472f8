"""What `qemu-img create` and `convert` can be told of a new image, format by format.

One class a format, one attribute an option under QEMU's name; sizes are bytes or text such
as ``"64K"``, and ``None`` leaves the choice to QEMU. Size and backing file are arguments of
the call and the secret is the image's, so none of them is here. What does not go together is
for QEMU to refuse.

Left out are ``preallocation`` where QEMU ignores it (all but qcow2, raw and luks),
``encryption`` (``encrypt`` replaces it) and ``detached-header`` (QEMU 10.0.2 lists and refuses it).
"""

from __future__ import annotations

from typing import ClassVar, Generic, Literal, cast, get_args

from typing_extensions import TypeVar

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import (
    BlockdevVhdxSubformat,
    BlockdevVmdkAdapterType,
    BlockdevVmdkSubformat,
    BlockdevVpcSubformat,
    PreallocMode,
    Qcow2CompressionType,
    QCryptoCipherAlgo,
    QCryptoCipherMode,
    QCryptoHashAlgo,
    QCryptoIVGenAlgo,
)

from .option_words import named, words
from .run import Path
from .size import Size

ImageFormat = Literal[
    "qcow2", "raw", "luks", "vdi", "vmdk", "vhdx", "vpc", "parallels", "qed", "qcow"
]
"""The formats that qemu-img can create."""

ReadOnlyFormat = Literal["bochs", "cloop", "dmg"]
"""Formats that QEMU reads and does not write."""

Format_co = TypeVar("Format_co", bound=str, covariant=True, default=str)
"""The format of an image or of options, where type checkers know it."""

Qcow2Compat = Literal["0.10", "1.1", "v2", "v3"]
"""The versions of qcow2: ``0.10`` is ``v2``, ``1.1`` is ``v3``."""

RefcountBits = Literal[1, 2, 4, 8, 16, 32, 64]


class EncryptLuks(Value):
    """Encryption in the LUKS format; ``iter_time`` is the time to derive the key, in seconds.

    QEMU counts it in milliseconds, and takes 2.0 by default.
    """

    # QEMU 7.2: it times 32768 rounds of the hash by ticks of the clock and gives up where none
    # passed: on a processor with SHA instructions 12 to 52 of 100 times with sha1, sha224 and
    # sha256 (the default), and never with the slower sha384, sha512, ripemd160 and md5.
    format: ClassVar[Literal["luks"]] = "luks"
    cipher_alg: QCryptoCipherAlgo | None = None
    cipher_mode: QCryptoCipherMode | None = None
    ivgen_alg: QCryptoIVGenAlgo | None = None
    ivgen_hash_alg: QCryptoHashAlgo | None = None
    hash_alg: QCryptoHashAlgo | None = None
    iter_time: float | None = None


class EncryptAes(Value):
    """The old encryption of qcow and qcow2, broken by design: for images of old only."""

    format: ClassVar[Literal["aes"]] = "aes"


class Creation(Value, Generic[Format_co]):
    """Base of the options of new images, each class for one format."""

    _is_base: ClassVar[bool] = True


class CreateQcow2(Creation[Literal["qcow2"]]):
    """A new qcow2 image.

    ``data_file`` is created, and referred to by its absolute path.
    """

    format: ClassVar[Literal["qcow2"]] = "qcow2"
    compat: Qcow2Compat | None = None
    cluster_size: Size | None = None
    extended_l2: bool | None = None
    refcount_bits: RefcountBits | None = None
    lazy_refcounts: bool | None = None
    compression_type: Qcow2CompressionType | None = None
    preallocation: PreallocMode | None = None
    data_file: Path | None = None
    data_file_raw: bool | None = None
    encrypt: EncryptLuks | EncryptAes | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateRaw(Creation[Literal["raw"]]):
    """A new raw image."""

    format: ClassVar[Literal["raw"]] = "raw"
    preallocation: Literal["off", "falloc", "full"] | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateLuks(Creation[Literal["luks"]]):
    """A new LUKS container; ``iter_time`` as in `EncryptLuks`."""

    format: ClassVar[Literal["luks"]] = "luks"
    cipher_alg: QCryptoCipherAlgo | None = None
    cipher_mode: QCryptoCipherMode | None = None
    ivgen_alg: QCryptoIVGenAlgo | None = None
    ivgen_hash_alg: QCryptoHashAlgo | None = None
    hash_alg: QCryptoHashAlgo | None = None
    iter_time: float | None = None
    preallocation: Literal["off", "falloc", "full"] | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateVdi(Creation[Literal["vdi"]]):
    """A new vdi image; a ``static`` one has all its blocks allocated."""

    format: ClassVar[Literal["vdi"]] = "vdi"
    static: bool | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateVmdk(Creation[Literal["vmdk"]]):
    """A new vmdk image; some subformats have more files, named after the image."""

    format: ClassVar[Literal["vmdk"]] = "vmdk"
    subformat: BlockdevVmdkSubformat | None = None
    adapter_type: BlockdevVmdkAdapterType | None = None
    compat6: bool | None = None
    hwversion: str | None = None
    toolsversion: str | None = None
    zeroed_grain: bool | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateVhdx(Creation[Literal["vhdx"]]):
    """A new vhdx image; ``block_size=0`` goes by the image's size."""

    format: ClassVar[Literal["vhdx"]] = "vhdx"
    subformat: BlockdevVhdxSubformat | None = None
    log_size: Size | None = None
    block_size: Size | None = None
    block_state_zero: bool | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateVpc(Creation[Literal["vpc"]]):
    """A new vpc (VHD) image, rounded up to a disk geometry unless ``force_size``."""

    format: ClassVar[Literal["vpc"]] = "vpc"
    subformat: BlockdevVpcSubformat | None = None
    force_size: bool | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateParallels(Creation[Literal["parallels"]]):
    """A new parallels image."""

    format: ClassVar[Literal["parallels"]] = "parallels"
    cluster_size: Size | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateQed(Creation[Literal["qed"]]):
    """A new qed image; ``table_size`` is in clusters."""

    format: ClassVar[Literal["qed"]] = "qed"
    cluster_size: Size | None = None
    table_size: int | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


class CreateQcow(Creation[Literal["qcow"]]):
    """A new image of qcow, version 1."""

    format: ClassVar[Literal["qcow"]] = "qcow"
    encrypt: EncryptAes | None = None
    extent_size_hint: Size | None = None
    nocow: bool | None = None


CreationOptions = (
    CreateQcow2
    | CreateRaw
    | CreateLuks
    | CreateVdi
    | CreateVmdk
    | CreateVhdx
    | CreateVpc
    | CreateParallels
    | CreateQed
    | CreateQcow
)
"""The options of one format or another."""

_CLASSES = cast("tuple[type[CreationOptions], ...]", get_args(CreationOptions))


def options_of(format: ImageFormat | CreationOptions) -> CreationOptions:
    """Return the options as they are, or those of a format by its name: QEMU's choices.

    Raises UsageError for a format that qemu-img cannot create.
    """
    if isinstance(format, CreationOptions):
        return format
    for cls in _CLASSES:
        if cls.format == format:
            return cls()
    raise UsageError(f"qemu-img creates no {format!r}, but {', '.join(get_args(ImageFormat))}")


def options_for(format: str, options: Creation | None, *, of: object) -> CreationOptions | None:
    """Return the options of a new image of a format.

    Raises UsageError, which names the image by ``of``, for what is no options of that format.
    """
    if options is None or (isinstance(options, CreationOptions) and options.format == format):
        return options
    right = [cls.__name__ for cls in _CLASSES if cls.format == format]
    hint = f"; it takes {right[0]}" if right else ""
    raise UsageError(f"{type(options).__name__} is not for {of!r}{hint}")


def is_encrypted(options: CreationOptions) -> bool:
    """Tell whether an image that is made with the options needs a secret."""
    if isinstance(options, CreateQcow2 | CreateQcow):
        return options.encrypt is not None
    return isinstance(options, CreateLuks)


def creation_words(options: CreationOptions, *, key_secret: str | None = None) -> list[str]:
    """Return the ``-o name=value`` words; ``key_secret`` is the id of the image's secret.

    Raises UsageError for a value of a wrong type, for encryption without a secret and for
    a secret without encryption.
    """
    pairs = dict(named(options))
    encrypt = options.encrypt if isinstance(options, CreateQcow2 | CreateQcow) else None
    if key_secret is None:
        if is_encrypted(options):
            raise UsageError(f"the new {options.format} image is encrypted: it needs a secret")
    elif isinstance(options, CreateLuks):
        pairs["key-secret"] = key_secret
    elif encrypt is not None:
        pairs |= {"encrypt.format": encrypt.format, "encrypt.key-secret": key_secret}
    else:
        raise UsageError(f"the new {options.format} image is not encrypted: it has no secret")
    return words(pairs)
