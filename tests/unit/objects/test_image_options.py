"""What a name and a format say, as options; and what qemu-img tells of a chain, as options."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qemu_blocksdk import Image
from qemu_blocksdk.blockdev import (
    NULL,
    BlockdevOptions,
    BlockdevQcow2EncryptionAes,
    BlockdevQcow2EncryptionLuks,
    BlockdevQcowEncryptionAes,
    File,
    Http,
    Luks,
    Nbd,
    NullCo,
    Qcow,
    Qcow2,
    Raw,
    SocketAddressInet,
    SocketAddressUnix,
    Vmdk,
)
from qemu_blocksdk.codec import JsonObject, JsonValue, decode
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.image_options import chain_options, file_options
from qemu_blocksdk.tools.results import BlockGraphInfo


def info(filename: str, format: str = "qcow2", **members: JsonValue) -> BlockGraphInfo:
    """What qemu-img tells of a layer; the format of a backing file is told as well."""
    json = wire(members)
    if "backing-filename" in json:
        json.setdefault("backing-filename-format", "qcow2")
    told = {"filename": filename, "format": format, "virtual-size": 1, **json}
    return decode(BlockGraphInfo, {name: each for name, each in told.items() if each is not None})


def qcow2(**members: JsonValue) -> JsonObject:
    return {"type": "qcow2", "data": {"compat": "1.1", "refcount-bits": 16, **wire(members)}}


def wire(members: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name.replace("_", "-"): value for name, value in members.items()}


def chain_of(*infos: BlockGraphInfo, **key_secrets: str) -> BlockdevOptions:
    return chain_options(
        infos,
        node_name="disk",
        key_secrets={name.replace("_", "-"): key for name, key in key_secrets.items()},
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("/images/a:b,c.raw", File(filename="/images/a:b,c.raw")),
        ("nbd://host:1/x", Nbd(server=SocketAddressInet(host="host", port="1"), export="x")),
        ("nbd+unix:///x?socket=/s", Nbd(server=SocketAddressUnix(path="/s"), export="x")),
        ("http://host/disk", Http(url="http://host/disk")),
        ('json:{"driver": "null-co", "size": 5}', NullCo(size=5)),
    ],
)
def test_a_name_of_qemus_stands_for_a_file(name: str, options: BlockdevOptions) -> None:
    assert file_options(name) == options


def test_a_relative_name_is_meant_from_here() -> None:
    here = Path.cwd()
    assert file_options("disk.raw") == File(filename=str(here / "disk.raw"))
    assert file_options("./a:b") == File(filename=str(here / "a:b"))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("rbd:pool/image", "nothing is known of the protocol 'rbd'"),
        ("nbd:host:10809", "no NBD URI"),
        ('json:{"driver": "future"}', "driver"),
        ("json:{", "not JSON"),
        ("", "no name of a file"),
    ],
)
def test_a_name_that_stands_for_nothing_known_is_refused(name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        file_options(name)


def test_a_name_that_nothing_can_have_is_refused_where_the_image_is_made(tmp_path: Path) -> None:
    image = Image(tmp_path / ("x" * 300), format="raw")
    assert isinstance(image.options("disk"), Raw)
    with pytest.raises(UsageError, match=r"^cannot write '.*': File name too long$"):
        image.create("1M")


def test_a_chain_has_every_layer() -> None:
    found = chain_of(
        info("/a/top", backing_filename="base"),
        info('json:{"driver": "raw", "offset": 512, "file": {"driver": "null-co"}}', "raw"),
    )
    assert found == Qcow2(
        node_name="disk",
        file=File(filename="/a/top"),
        backing=Raw(node_name="disk-1", offset=512, file=NullCo()),
    )


def test_a_layer_that_is_no_format_stands_for_itself() -> None:
    found = chain_of(
        info("/a/top", backing_filename="b", backing_filename_format="null-co"),
        info('json:{"driver": "null-co"}', "null-co"),
    )
    assert isinstance(found, Qcow2)
    assert found.backing == NullCo(node_name="disk-1")


def test_a_layer_that_says_what_it_is_over_ends_the_chain() -> None:
    told = 'json:{"driver": "qcow2", "file": {"driver": "null-co"}, "backing": "shared"}'
    found = chain_of(info(told, backing_filename="b"), info("/a/b"))
    assert found == Qcow2(node_name="disk", file=NullCo(), backing="shared")


def test_an_external_data_file_is_told() -> None:
    found = chain_of(info("/a/top", format_specific=qcow2(data_file="data.raw")))
    data = File(filename=os.path.abspath("data.raw"))  # noqa: PTH100 - as a str
    assert found == Qcow2(
        node_name="disk", file=File(filename="/a/top"), data_file=data, backing=NULL
    )


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (
            info("/a", encrypted=True, format_specific=qcow2(encrypt={"format": "luks"})),
            Qcow2(
                file=File(filename="/a"),
                encrypt=BlockdevQcow2EncryptionLuks(key_secret="key"),
                backing=NULL,
            ),
        ),
        (
            info("/a", encrypted=True, format_specific=qcow2(encrypt={"format": "aes"})),
            Qcow2(
                file=File(filename="/a"),
                encrypt=BlockdevQcow2EncryptionAes(key_secret="key"),
                backing=NULL,
            ),
        ),
        (
            info("/a", "qcow", encrypted=True),
            Qcow(
                file=File(filename="/a"),
                encrypt=BlockdevQcowEncryptionAes(key_secret="key"),
                backing=NULL,
            ),
        ),
        (info("/a", "luks", encrypted=True), Luks(file=File(filename="/a"), key_secret="key")),
    ],
    ids=["qcow2-luks", "qcow2-aes", "qcow", "luks"],
)
def test_an_encrypted_layer_is_opened_by_its_secret(
    layer: BlockGraphInfo, options: BlockdevOptions
) -> None:
    assert chain_of(layer, disk="key") == options.named("disk")
    top = info("/top", backing_filename="a")
    below = chain_of(top, layer, disk_1="key")
    assert isinstance(below, Qcow2)
    assert below.backing == options.named("disk-1")
    with pytest.raises(
        UsageError, match=r"^layer 'disk-1', '/a': it is encrypted, and key_secrets"
    ):
        chain_of(top, layer)


def test_a_secret_that_json_tells_will_do() -> None:
    told = 'json:{"driver": "luks", "key-secret": "own", "file": {"driver": "null-co"}}'
    own = Luks(node_name="disk", key_secret="own", file=NullCo())
    assert chain_of(info(told, "luks", encrypted=True)) == own
    assert chain_of(info(told, "luks", encrypted=True), disk="key") == own.evolve(key_secret="key")


def test_a_secret_for_no_encrypted_layer_is_a_mistake() -> None:
    with pytest.raises(UsageError, match=r"^'disk-1' is no encrypted layer; such are: none$"):
        chain_of(info("/a", backing_filename="b"), info("/b"), disk_1="key")


def test_a_format_that_is_not_told_is_refused_except_where_there_is_one_only() -> None:
    guessed = info("/a", backing_filename="b", backing_filename_format=None)
    with pytest.raises(
        UsageError, match=r"^layer 'disk', '/a': the format of its backing file 'b'"
    ):
        chain_of(guessed, info("/b"))
    vmdk = info("/a", "vmdk", backing_filename="b", backing_filename_format=None)
    assert chain_of(vmdk, info("/b", "vmdk")) == Vmdk(
        node_name="disk",
        file=File(filename="/a"),
        backing=Vmdk(node_name="disk-1", file=File(filename="/b"), backing=NULL),
    )


def test_an_error_names_the_layer_and_no_secret() -> None:
    top = info("/a", backing_filename="b", backing_filename_format="raw")
    with pytest.raises(UsageError, match=r"^layer 'disk-1', 'ssh://me:\*\*\*@host/x': ") as caught:
        chain_of(top, info("ssh://me:hush@host/x", "raw"))
    assert "hush" not in str(caught.value)
    with pytest.raises(UsageError, match=r"^layer 'disk-1', '/b': nothing is known of the format"):
        chain_of(top, info("/b", "future"))
    secret = info("/a", backing_filename="nbd://me:hush@host/x", backing_filename_format=None)
    with pytest.raises(UsageError, match=r"^layer 'disk', '/a': the format of") as caught:
        chain_of(secret, info("/b"))
    assert "hush" not in str(caught.value)
