"""A backing chain read from its headers opens in QEMU as what the headers say."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Literal

import pytest

from qemu_blocksdk import Image, NbdServer, StorageDaemon
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.blockdev import (
    NULL,
    BlockdevOptions,
    BlockdevQcow2EncryptionLuks,
    File,
    Luks,
    Nbd,
    NullCo,
    Qcow2,
    Raw,
    SocketAddressUnix,
    chain,
    check,
    explain,
    to_python,
)
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import ToolError, UsageError
from qemu_blocksdk.tools.creation import CreateLuks, CreateQcow2, EncryptLuks
from tests.live.helpers import MakeImage, run
from tests.live.nodes import chain_of, names

pytestmark = pytest.mark.timeout(30)
SECRET = Secret("hush")


def over(backing: str | Path, path: Path, *, format: str = "qcow2") -> Image:
    """An overlay in qcow2, whose backing file nobody looks at."""
    told = ("-b", str(backing), "-F", format)
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", *told, path, "16M")
    return Image(path, format="qcow2")


def files(options: BlockdevOptions) -> list[str]:
    """The names of the files of a chain, from the top."""
    found: list[str] = []
    layer: object = options
    while isinstance(layer, Qcow2):
        assert isinstance(layer.file, File)
        found.append(layer.file.filename)
        layer = layer.backing
    return found


def nodes_of(daemon: StorageDaemon, name: str) -> list[tuple[str, str, str, bool]]:
    """Each named node of a chain from the top: name, driver, file name, read-only."""
    found: list[tuple[str, str, str, bool]] = []
    graph = daemon.graph()
    while True:
        info = daemon.node(name).query_info()
        found.append((name, info.drv, info.file, info.ro))
        below = [e.child.name for e in graph[name].children if e.name == "backing"]
        if not below:
            return found
        (name,) = below


def test_a_chain_is_opened_as_it_was_read(daemon: StorageDaemon, make_image: MakeImage) -> None:
    base, mid, top = chain_of(make_image)
    options = Image(top, format="qcow2").chain_options("disk")
    assert options == chain(
        [Qcow2(file=File(filename=str(path))) for path in (top, mid, base)], node_name="disk"
    )
    node = daemon.add_chain(options)
    assert nodes_of(daemon, "disk") == [
        ("disk", "qcow2", str(top), False),
        ("disk-1", "qcow2", str(mid), True),
        ("disk-2", "qcow2", str(base), True),
    ]
    node.delete()
    assert names(daemon) == set()


def test_a_chain_is_opened_by_one_command_as_well(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    *_, top = chain_of(make_image)
    daemon.add_node(Image(top, format="qcow2").chain_options("disk"))
    assert [(name, is_ro) for name, *_, is_ro in nodes_of(daemon, "disk")] == [
        ("disk", False),
        ("disk-1", True),
        ("disk-2", True),
    ]


def test_what_a_layer_commits_into_becomes_writable(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    *_, mid, top = chain_of(make_image)
    node = daemon.add_chain(Image(top, format="qcow2").chain_options("disk"))
    node.commit(top=daemon.node("disk-1"), base=daemon.node("disk-2"), timeout=20)
    assert [name for name, *_ in nodes_of(daemon, "disk")] == ["disk", "disk-2"]
    assert mid.exists()


def test_a_relative_backing_file_is_looked_for_beside_its_overlay(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    base = make_image("base.qcow2")
    mid = tmp_path / "deep" / "mid.qcow2"
    over("../base.qcow2", mid)
    options = over("deep/mid.qcow2", tmp_path / "top.qcow2").chain_options("disk")
    assert [Path(file).resolve() for file in files(options)] == [tmp_path / "top.qcow2", mid, base]
    daemon.add_chain(options)


def test_a_name_that_looks_like_a_protocol_is_one_of_a_file(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    make_image("a:b,c.qcow2")
    options = over("./a:b,c.qcow2", tmp_path / "top:1.qcow2").chain_options("disk")
    assert isinstance(options, Qcow2)
    assert options.backing == Qcow2(
        node_name="disk-1", file=File(filename=str(tmp_path / "./a:b,c.qcow2")), backing=NULL
    )
    daemon.add_chain(options)


def test_a_backing_file_told_in_json_is_what_it_says(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    raw = make_image("disk.raw", fmt="raw")
    part = {"driver": "raw", "offset": 512, "size": 1 << 20}
    json_name = json.dumps({**part, "file": {"driver": "file", "filename": str(raw)}})
    image = over(f"json:{json_name}", tmp_path / "top.qcow2", format="raw")
    options = image.chain_options("disk")
    assert options == Qcow2(
        node_name="disk",
        file=File(filename=str(tmp_path / "top.qcow2")),
        backing=Raw(node_name="disk-1", offset=512, size=1 << 20, file=File(filename=str(raw))),
    )
    daemon.add_chain(options)
    assert daemon.node("disk-1").query_info().image.virtual_size == 1 << 20


def test_a_backing_file_without_a_file_is_a_node_of_its_own(
    daemon: StorageDaemon, tmp_path: Path
) -> None:
    name = 'json:{"driver": "null-co", "size": 1048576, "read-zeroes": true}'
    options = over(name, tmp_path / "top.qcow2", format="null-co").chain_options("disk")
    assert isinstance(options, Qcow2)
    assert isinstance(options.backing, NullCo)
    daemon.add_chain(options)
    assert daemon.node("disk-1").query_info().drv == "null-co"


def test_a_backing_file_over_nbd_is_told_by_its_options(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    base = make_image("base.raw", fmt="raw", size="2M")
    with NbdServer(Image(base, format="raw"), export_name="x/y", read_only=True) as server:
        address = server.uri.address
        image = over(str(server.uri), tmp_path / "top.qcow2", format="raw")
        options = image.chain_options("disk")
        nbd = Nbd(server=SocketAddressUnix(path=str(address)), export="x/y")
        assert options == chain(
            [Qcow2(file=File(filename=str(image.path))), Raw(file=nbd)], node_name="disk"
        )
        daemon.add_chain(options).delete()


def test_an_external_data_file_is_part_of_its_layer(
    daemon: StorageDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU looks for a relative one where it runs, so the options tell it from where we run."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    told = "data_file=data.raw,data_file_raw=on"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", told, "base.qcow2", "1M")
    options = over("base.qcow2", tmp_path / "top.qcow2").chain_options("disk")
    assert isinstance(options, Qcow2)
    assert isinstance(options.backing, Qcow2)
    assert options.backing.data_file == File(filename=str(tmp_path / "data.raw"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    with StorageDaemon() as other:
        other.add_chain(options)
    daemon.add_chain(options)


def test_encrypted_layers_are_opened_by_their_secrets(
    daemon: StorageDaemon, tmp_path: Path
) -> None:
    luks = Image(tmp_path / "base.luks", format="luks", secret=SECRET)
    luks.create("1M", CreateLuks(iter_time=0.01))
    top = Image(tmp_path / "top.qcow2", format="qcow2", secret=SECRET)
    top.create("1M", CreateQcow2(encrypt=EncryptLuks(iter_time=0.01)), backing=luks, unsafe=True)
    with pytest.raises(UsageError, match=r"^layer 'disk-1', .*base\.luks': it is encrypted"):
        top.chain_options("disk", key_secrets={"disk": "key"})
    options = top.chain_options("disk", key_secrets={"disk": "key", "disk-1": "key"})
    assert options == Qcow2(
        node_name="disk",
        file=File(filename=str(top.path)),
        encrypt=BlockdevQcow2EncryptionLuks(key_secret="key"),
        backing=Luks(node_name="disk-1", file=File(filename=str(luks.path)), key_secret="key"),
    )
    daemon.add_secret(SECRET, id="key")
    daemon.add_chain(options)


def test_an_image_that_was_named_by_options_is_the_top_of_its_chain(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    *_, mid, top = chain_of(make_image)
    file = File(filename=str(top), locking="off")
    options = Image.from_options(Qcow2(file=file, lazy_refcounts=True)).chain_options("disk")
    assert isinstance(options, Qcow2)
    assert options.evolve(backing=None) == Qcow2(node_name="disk", file=file, lazy_refcounts=True)
    assert isinstance(options.backing, Qcow2)
    assert options.backing.file == File(filename=str(mid))
    daemon.add_chain(options)


def test_a_chain_that_a_running_qemu_holds_is_read_with_force_share(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    *_, top = chain_of(make_image)
    image = Image(top, format="qcow2")
    options = image.chain_options("disk")
    daemon.add_chain(options)
    with pytest.raises(ToolError, match="lock"):
        image.chain_options("disk")
    assert image.chain_options("disk", force_share=True) == options


@pytest.mark.parametrize("format", ["vmdk", "qed", "qcow"])
def test_a_chain_of_another_format_is_read_where_it_tells_what_it_is_over(
    daemon: StorageDaemon,
    make_image: MakeImage,
    tmp_path: Path,
    format: Literal["vmdk", "qed", "qcow"],
) -> None:
    """A vmdk is over a vmdk; qed tells that a backing file is raw, qcow nothing at all."""
    below = "vmdk" if format == "vmdk" else "raw"
    base, top = make_image("base", fmt=below), tmp_path / "top"
    run("qemu-img", "create", "-q", "-f", format, "-b", base, "-F", below, top)
    image = Image(top, format=format)
    if format == "qcow":
        with pytest.raises(UsageError, match="does not tell the format"):
            image.chain_options("disk")
        return
    daemon.add_chain(image.chain_options("disk"))
    assert [drv for _, drv, *_ in nodes_of(daemon, "disk")] == [format, below]


def test_a_long_chain_has_names_that_qemu_takes(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    below = make_image("0.qcow2")
    for number in range(1, 13):
        below = over(below, tmp_path / f"{number}.qcow2").path
    options = Image(below, format="qcow2").chain_options("n" * 31)
    daemon.add_chain(options)
    found = [name for name, *_ in nodes_of(daemon, "n" * 31)]
    assert found == ["n" * 31, *("n" * (30 - len(str(i))) + f"-{i}" for i in range(1, 13))]


def test_what_was_read_is_sound_and_can_be_told(make_image: MakeImage) -> None:
    *_, top = chain_of(make_image)
    options = Image(top, format="qcow2").chain_options("disk")
    assert check(options)["node-name"] == "disk"
    assert len(explain(options).splitlines()) == 6
    assert to_python(options).startswith("Qcow2(\n")


# -- bad chains -------------------------------------------------------------------------


def test_a_backing_file_that_is_gone_is_named(make_image: MakeImage) -> None:
    base, _, top = chain_of(make_image)
    base.unlink()
    with pytest.raises(ToolError, match=r"base\.qcow2.*No such file"):
        Image(top, format="qcow2").chain_options("disk")


def test_a_chain_that_loops_is_refused(make_image: MakeImage) -> None:
    base, _, top = chain_of(make_image)
    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", top, "-F", "qcow2", base)
    with pytest.raises(UsageError, match=r"loops: .*top\.qcow2 -> .*mid\.qcow2"):
        Image(top, format="qcow2").chain_options("disk")


LOOPING = {
    "a path": "{}",
    "file:": "file:{}",
    "file: from here": "file:top.qcow2",
    "blkdebug:": "blkdebug::{}",
    "json:": '{{"driver": "qcow2", "file": {{"driver": "file", "filename": "{}"}}}}',
    "json: dotted": '{{"driver": "qcow2", "file.filename": "{}"}}',
    "json: as QEMU takes it": "{{'driver': 'qcow2', 'file.filename': '{}'}}",
    "json: from here": '{{"driver": "qcow2", "file.filename": "top.qcow2"}}',
    "json: without a driver": '{{"file.filename": "{}"}}',
    "json: below a filter": (
        '{{"driver": "qcow2", "file": {{"driver": "blkdebug", "image.filename": "{}"}}}}'
    ),
    "json: as a backing file": (
        '{{"driver": "qcow2", "file.filename": "base.qcow2", "backing": {{"driver": "qcow2",'
        ' "file.filename": "{}"}}}}'
    ),
}


@pytest.mark.parametrize("name", LOOPING)
def test_a_chain_that_loops_by_whatever_name_is_refused(
    make_image: MakeImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _, mid, top = chain_of(make_image)
    text = LOOPING[name].format(top)
    text = f"json:{text}" if text.startswith("{") else text
    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", text, "-F", "qcow2", mid)
    image = Image(top, format="qcow2")
    for verb in (
        image.map,
        image.check,
        lambda: image.start_convert(Image("copy", format="qcow2")),
        lambda: Image.from_options(Qcow2(file=File(filename=str(top)))).map(),
        lambda: Image("new", format="qcow2").create(backing=image),
    ):
        with pytest.raises(UsageError, match="the backing chain loops"):
            verb()
    assert not (tmp_path / "new").exists()


def test_options_without_a_backing_file_end_a_chain(
    make_image: MakeImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, mid, top = chain_of(make_image)
    text = 'json:{"driver": "qcow2", "file.filename": "top.qcow2", "backing": null}'
    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", text, "-F", "qcow2", mid)
    with pytest.raises(ToolError):  # of QEMU, which has it open twice then: it is no loop
        Image(top, format="qcow2").resize("64M")
    assert Image(mid, format="qcow2").map()


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    template = Image(tmp_path / "000", format="qcow2")
    template.create("1M", backing=Image(tmp_path / "001", format="qcow2"), unsafe=True)
    header = template.path.read_bytes()[:4096]
    own = os.fsencode(tmp_path / "001")
    for number in range(520):
        path = tmp_path / f"{number:03}"
        path.write_bytes(header.replace(own, os.fsencode(tmp_path / f"{number + 1:03}")))
        os.truncate(path, 1 << 18)
    with pytest.raises(UsageError, match="has more than 500 files"):
        template.map()


def test_a_backing_format_that_is_not_told_is_not_guessed(make_image: MakeImage) -> None:
    _, mid, top = chain_of(make_image)
    content = mid.read_bytes()
    extension = content.index(b"\xe2\x79\x2a\xca")
    mid.write_bytes(content[:extension] + b"\x12\x34\x56\x78" + content[extension + 4 :])
    with pytest.raises(UsageError, match=r"mid\.qcow2' does not tell the format .*base"):
        Image(top, format="qcow2").chain_options("disk")
    by_options = Image.from_options(Qcow2(file=File(filename=str(top))))
    with pytest.raises(UsageError, match=r"mid\.qcow2' does not tell the format .*base"):
        by_options.chain_options("disk")


def test_an_image_of_another_format_is_refused_by_the_tool(make_image: MakeImage) -> None:
    raw = make_image("disk.raw", fmt="raw")
    with pytest.raises(ToolError, match="qcow2"):
        Image(raw, format="qcow2").chain_options("disk")


def test_a_name_that_no_node_can_have_is_refused_where_it_is_added(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    *_, top = chain_of(make_image)
    for name in ("", "1disk", "n" * 32):
        with pytest.raises(UsageError):
            daemon.add_chain(Image(top, format="qcow2").chain_options(name))
    assert names(daemon) == set()


def test_awaited_chains_are_read_at_once(make_image: MakeImage) -> None:
    *_, top = chain_of(make_image)

    async def main() -> None:
        image = AsyncImage(top, format="qcow2")
        one, two = await asyncio.gather(image.chain_options("a"), image.chain_options("b"))
        assert one.node_name == "a"
        assert two.node_name == "b"
        assert files(one) == files(two)

    asyncio.run(main())
