"""The options by which a running QEMU opens images, from what is known of these.

Here lives the step from names and formats to options; no tool is asked, and of the file system
only whether a name is that of a block device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast, get_args

from qemu_blocksdk.blockdev import BackedOptions, chain, from_filename
from qemu_blocksdk.blockdev.chains import layer_name
from qemu_blocksdk.codec import masked
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.graph import listed
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.tools.results import BlockGraphInfo
from qemu_blocksdk.tools.run import as_file
from qemu_blocksdk.wire import (
    BlockdevOptions,
    BlockdevQcow2EncryptionAes,
    BlockdevQcow2EncryptionLuks,
    BlockdevQcowEncryptionAes,
    Bochs,
    Cloop,
    Dmg,
    File,
    Ftp,
    Ftps,
    HostDevice,
    Http,
    Https,
    ImageInfoSpecificQCow2EncryptionAes,
    Luks,
    Parallels,
    Qcow,
    Qcow2,
    Qed,
    Raw,
    Vdi,
    Vhdx,
    Vmdk,
    Vpc,
)

_Format = (
    Bochs | Cloop | Dmg | Luks | Parallels | Qcow | Qcow2 | Qed | Raw | Vdi | Vhdx | Vmdk | Vpc
)
_Url = Ftp | Ftps | Http | Https
_FORMATS: Final = {
    str(kind.driver): kind for kind in cast("tuple[type[_Format]]", get_args(_Format))
}
_URLS: Final = {str(kind.driver): kind for kind in cast("tuple[type[_Url]]", get_args(_Url))}
_SCHEME: Final = re.compile(r"([^/:]*):")


def image_options(
    file: BlockdevOptions, *, format: str, key_secret: str | None = None
) -> BlockdevOptions:
    """Return the options of a format in a file; the id of a secret opens an encrypted one.

    Raises UsageError for a format that has no class in :mod:`qemu_blocksdk.blockdev`.
    """
    if format not in _FORMATS:
        raise UsageError(f"nothing is known of the format {format!r}")
    options = _FORMATS[format](file=file)
    return options if key_secret is None else _unlocked(options, key_secret)


def file_options(name: str) -> BlockdevOptions:
    """Return the options of what QEMU calls by a file name: a path, ``json:``, a URI.

    Raises UsageError for ``json:`` that is no options, and for a protocol that is not known here.
    """
    scheme = _SCHEME.match(name)
    if scheme is None:
        path = as_file(name)
        return (HostDevice if is_block_device(Path(path)) else File)(filename=path)
    if scheme[1] == "json":
        return from_filename(name)
    if scheme[1] in _URLS:
        return _URLS[scheme[1]](url=name)
    if scheme[1].startswith("nbd"):
        return NbdUri.parse(name).options()
    raise UsageError(f"nothing is known of the protocol {scheme[1]!r}")


def is_block_device(path: Path) -> bool:
    """Tell whether a path is that of a block device; one that cannot be looked at is not."""
    try:
        return path.is_block_device()
    except OSError:
        return False


def chain_options(
    infos: Sequence[BlockGraphInfo], *, node_name: str, key_secrets: Mapping[str, str]
) -> BlockdevOptions:
    """Return the options of a backing chain, as ``qemu-img info --backing-chain`` tells it.

    A layer whose own options say what it is over ends it. Raises UsageError that names the layer.
    """
    names = [layer_name(node_name, number) for number in range(len(infos))]
    encrypted = {name for name, info in zip(names, infos, strict=True) if info.encrypted}
    if strays := sorted(key_secrets.keys() - encrypted):
        raise UsageError(f"{strays[0]!r} is no encrypted layer; such are: {listed(encrypted)}")
    layers: list[BlockdevOptions] = []
    for name, info in zip(names, infos, strict=True):
        try:
            layer = _layer(info, key_secrets.get(name))
        except UsageError as error:
            raise UsageError(masked(f"layer {name!r}, {info.filename!r}: {error}")) from error
        layers.append(layer)
        if isinstance(layer, BackedOptions) and layer.backing is not None:
            break
    return chain(layers, node_name=node_name)


def _layer(info: BlockGraphInfo, key_secret: str | None) -> BlockdevOptions:
    is_told = info.backing_filename is None or info.backing_filename_format is not None
    if not is_told and info.format != "vmdk":
        raise UsageError(f"the format of its backing file {info.backing_filename!r} is not told")
    file = file_options(info.filename)
    layer = file if file.driver == info.format else image_options(file, format=info.format)
    if isinstance(layer, Qcow2) and info.qcow2 is not None and info.qcow2.data_file is not None:
        # QEMU 7.2 and 10.0: a relative one is looked for where QEMU runs, not beside the image.
        layer = layer.evolve(data_file=layer.data_file or file_options(info.qcow2.data_file))
    if not info.encrypted or (key_secret is None and _is_unlocked(layer)):
        return layer
    if key_secret is None:
        raise UsageError("it is encrypted, and key_secrets does not have it")
    is_aes = info.qcow2 is not None and isinstance(
        info.qcow2.encrypt, ImageInfoSpecificQCow2EncryptionAes
    )
    return _unlocked(layer, key_secret, is_aes=is_aes)


def _is_unlocked(options: BlockdevOptions) -> bool:
    if isinstance(options, Qcow2 | Qcow):
        return options.encrypt is not None
    return isinstance(options, Luks) and options.key_secret is not None


def _unlocked(
    options: BlockdevOptions, key_secret: str, *, is_aes: bool = False
) -> BlockdevOptions:
    if isinstance(options, Qcow2):
        kind = BlockdevQcow2EncryptionAes if is_aes else BlockdevQcow2EncryptionLuks
        return options.evolve(encrypt=kind(key_secret=key_secret))
    if isinstance(options, Qcow):
        return options.evolve(encrypt=BlockdevQcowEncryptionAes(key_secret=key_secret))
    return options.evolve(key_secret=key_secret) if isinstance(options, Luks) else options
