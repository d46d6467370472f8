"""Images of strangers: every verb that takes ``untrusted`` reads that one file."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Image, NbdServer, QemuIo
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import (
    BlockSdkError,
    LaunchError,
    SandboxUnavailable,
    ToolError,
    UsageError,
)
from qemu_blocksdk.tools import TlsPsk, target, untrusted
from qemu_blocksdk.tools.probe import ImageProbe, probe
from qemu_blocksdk.tools.run import Limits
from tests.live import greedy_images
from tests.live.hostile_images import IMAGES, MARK, NOT_REACHED, World, world
from tests.live.test_sandbox import without_landlock
from tests.live.tls import keys as keys

PAGE = Path(__file__).parents[2] / "docs" / "images.md"
Verb = Callable[[Image, World], object]


def copied(image: Image, format: str, w: World) -> bytes:
    copy = Image(w.folder / "copy", format="raw" if format == "raw" else "qcow2")
    image.convert(copy, untrusted=True, replace=True, timeout=20)
    return copy.path.read_bytes()


def dumped(image: Image, w: World) -> bytes:
    copy = Image(w.folder / "copy", format="raw")
    image.dd(copy, block_size=65536, untrusted=True, replace=True, timeout=20)
    return copy.path.read_bytes()


def read_by_qemu_io(image: Image) -> bytes:
    with QemuIo(image, read_only=True, untrusted=True) as io:
        return io.read_data(0, 65536)


def read_by_qemu_nbd(image: Image) -> bytes:
    with (
        NbdServer(image, read_only=True, untrusted=True) as server,
        QemuIo(Image.at_uri(server.uri), read_only=True) as io,
    ):
        return io.read_data(0, 65536)


def good(w: World) -> Image:
    path = w.folder / "good"
    path.write_bytes(w.qcow2())
    return Image(path, format="qcow2")


VERBS: dict[str, Verb] = {
    "info": lambda i, _: i.info(untrusted=True),
    "snapshots": lambda i, _: i.snapshots(untrusted=True),
    "check": lambda i, _: i.check(untrusted=True, timeout=20),
    "map": lambda i, _: i.map(untrusted=True, timeout=20),
    "measure": lambda i, _: i.measure("qcow2", untrusted=True, timeout=20),
    "compare": lambda i, w: i.compare(good(w), untrusted=True, timeout=20),
    "compare, as the second": lambda i, w: good(w).compare(i, untrusted=True, timeout=20),
    "convert to raw": lambda i, w: copied(i, "raw", w),
    "convert to qcow2": lambda i, w: copied(i, "qcow2", w),
    "dd": lambda i, w: dumped(i, w),
    "bench": lambda i, _: i.bench(count=4, buffer_size=65536, untrusted=True, timeout=20),
    "qemu-io": lambda i, _: read_by_qemu_io(i),
    "qemu-io, one command": lambda i, _: (
        QemuIo(i, read_only=True, untrusted=True).run_commands("read -v 0 64k").stdout
    ),
    "qemu-nbd": lambda i, _: read_by_qemu_nbd(i),
    "convert, appended": lambda i, w: good(w).convert(
        Image(w.folder / "copy", format="raw"), append=[i], untrusted=True, replace=True, timeout=20
    ),
}
READ_HEADERS_ONLY = ("info", "snapshots")
BLIND = ("info", "map", "compare", "convert to raw", "dd", "qemu-io", "qemu-nbd")
"""Each way to run the tool, where the refusals that come before are switched off."""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world, in the current folder."""
    monkeypatch.chdir(tmp_path)
    with world(tmp_path) as made:
        yield made


def made(w: World, name: str) -> Image:
    """The image of that name."""
    content = IMAGES[name](w)
    path = w.folder / "image"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    format = name.partition(":")[0]
    return Image(path, format=format)  # type: ignore[type-var] # pyright: ignore[reportArgumentType]


def assert_alone(w: World, image: Image, verbs: dict[str, Verb]) -> None:
    """Fail where a verb reaches something else, or shows what is in there."""
    w.touched()
    for name, verb in verbs.items():
        result: object = None
        with contextlib.suppress(BlockSdkError):
            result = verb(image, w)
        assert not w.touched(), name
        assert MARK not in (result if isinstance(result, bytes) else repr(result).encode()), name
        copy = w.folder / "copy"
        assert not copy.exists() or MARK not in copy.read_bytes(), name
        copy.unlink(missing_ok=True)
        assert not list(w.folder.glob(".blocksdk-*")), name


@pytest.mark.parametrize("name", IMAGES)
def test_every_verb_reads_one_file(name: str, there: World) -> None:
    assert_alone(there, made(there, name), VERBS)


@pytest.mark.parametrize("name", IMAGES)
def test_the_kernel_alone_keeps_every_verb_to_one_file(
    name: str, there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if nobody here had seen any of it, nor said that there is no backing file.
    to_name = target.json_name

    def blind(options: JsonObject) -> str:
        return to_name({key: value for key, value in options.items() if key != "backing"})

    def sees_nothing(*_: object, **__: object) -> JsonObject:
        return {}

    monkeypatch.setattr(untrusted, "json_name", blind)
    monkeypatch.setattr(untrusted, "_without_others", sees_nothing)
    assert_alone(there, made(there, name), {verb: VERBS[verb] for verb in BLIND})


@pytest.mark.parametrize("name", IMAGES)
def test_info_alone_sees_what_the_kernel_cannot_enforce(
    name: str, there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_landlock(monkeypatch)
    image = made(there, name)
    assert_alone(there, image, {verb: VERBS[verb] for verb in READ_HEADERS_ONLY})


@pytest.mark.parametrize("name", sorted(set(IMAGES) - set(NOT_REACHED)))
def test_each_image_is_hostile(name: str, there: World) -> None:
    # That the table is worth its name: QEMU alone reaches what these refer to.
    image = made(there, name)
    there.touched()
    argv = ["qemu-img", "convert", "-f", image.format, "-O", "raw", str(image.path), "copy"]
    subprocess.run(argv, capture_output=True, timeout=20, check=False)
    assert there.touched()
    assert probe(image.path).dangers


@pytest.mark.parametrize("verb", [name for name in VERBS if name not in READ_HEADERS_ONLY])
def test_what_reads_data_is_refused_where_the_kernel_cannot_enforce_it(
    verb: str, there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_landlock(monkeypatch)
    with pytest.raises(SandboxUnavailable, match="lacks Landlock"):
        VERBS[verb](good(there), there)
    assert not (there.folder / "copy").exists()


def test_a_good_image_is_read_by_every_verb(there: World) -> None:
    data = os.urandom(65536)
    (there.folder / "data").write_bytes(data.ljust(1 << 20, b"\0"))
    raw = Image(there.folder / "data", format="raw")
    for format in ("qcow2", "vmdk", "vdi", "vhdx", "qed", "qcow", "parallels", "vpc"):
        image = Image(there.folder / "image", format=format)
        raw.convert(image, replace=True)
        info = image.info(untrusted=True)
        assert (info.format, info.filename) == (format, str(image.path))
        assert any(entry.data for entry in image.map(untrusted=True))
        assert image.measure("raw", untrusted=True).required >= 1 << 20
        assert image.compare(raw, untrusted=True).is_equal or format == "vpc"
        assert copied(image, "raw", there)[:65536] == data
        assert dumped(image, there)[:65536] == data
        assert read_by_qemu_io(image) == data
        assert read_by_qemu_nbd(image) == data
        assert image.bench(count=4, untrusted=True).count == 4
        if format in ("qcow2", "vdi", "vhdx", "qed", "parallels"):
            assert image.check(untrusted=True).is_clean
    copy = Image(there.folder / "image", format="vmdk")
    operation = raw.start_convert(copy, untrusted=True, replace=True)
    assert "the copy of" in repr(operation)
    operation.run(timeout=20)


def in_row(start: str) -> set[str]:
    """The names that the page's table has in the row that begins so."""
    (row,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {start}")]
    return set(re.findall(r"`([^`]*)`", row.rpartition(" | ")[2]))


def test_the_page_says_of_every_verb_whether_it_trusts_an_image() -> None:
    starts = {name for name in dir(Image) if name.startswith("start_")}
    names = {name for name in dir(Image) if not name.startswith("_")} - starts
    safe = in_row("takes `untrusted=True`")
    others = [in_row("never opens"), in_row("reads the header"), in_row("trusts")]
    said = [name for row in (safe, *others) for name in row]
    assert sorted(said) == sorted(names | {"QemuIo", "NbdServer", "NbdServer.fork"})
    takes = {name for name in names if "untrusted" in signature_of(getattr(Image, name))}
    assert takes == safe - {"QemuIo", "NbdServer"}
    for start in starts:
        takes_it = "untrusted" in signature_of(getattr(Image, start))
        assert takes_it == (start.removeprefix("start_") in takes)
    for door in (QemuIo, NbdServer):
        assert door.__name__ in safe
        assert "untrusted" in signature_of(door)
    # And each of them is walked here.
    walked = {name.partition(",")[0].partition(" ")[0] for name in VERBS}
    assert {{"qemu-io": "QemuIo", "qemu-nbd": "NbdServer"}.get(w, w) for w in walked} == safe


def signature_of(member: object) -> set[str]:
    return set(inspect.signature(member).parameters) if callable(member) else set()


def test_what_could_write_an_untrusted_image_is_refused(there: World) -> None:
    image = good(there)
    for door in (
        lambda: QemuIo(image, untrusted=True),
        lambda: QemuIo(image, read_only=True, snapshot=True, untrusted=True),
        lambda: NbdServer(image, untrusted=True),
        lambda: NbdServer(image, read_only=True, snapshot=True, untrusted=True),
    ):
        with pytest.raises(UsageError, match="is untrusted: give read_only=True"):
            door()
    server = NbdServer(image, address=there.folder / "own", read_only=True, untrusted=True)
    with pytest.raises(UsageError, match="of an untrusted image: launch"):
        server.fork()


def test_an_untrusted_image_is_served_over_tls(there: World, keys: Path) -> None:
    alice = TlsPsk(directory=keys, username="alice")
    server_keys = TlsPsk(directory=keys)
    with NbdServer(good(there), read_only=True, untrusted=True, tls=server_keys) as server:
        remote = Image.at_uri(server.uri, tls=alice)
        assert remote.info().virtual_size == 1 << 20


TIME = r"used up its [12] s of processor time \(killed by signal 24\)"
OUTPUT = r"wrote more than its 67108864 bytes \(killed by signal 25\)"
MEMORY = r"annot allocate memory"
GREEDY = (
    (greedy_images.compressed, "check", OUTPUT),
    (greedy_images.compressed, "map", TIME),
    (greedy_images.compressed, "convert to raw", TIME),
    (greedy_images.compressed, "convert to qcow2", TIME),
    (greedy_images.compressed, "dd", TIME),
    (greedy_images.alternating, "map", OUTPUT),
    (greedy_images.zeros, "measure", TIME),
    (greedy_images.slow_key, "compare", TIME),
    (greedy_images.slow_key, "qemu-io", TIME),
    (greedy_images.large_map, "info", MEMORY),
    (greedy_images.large_map, "convert to qcow2", MEMORY),
    (greedy_images.large_map, "qemu-io", MEMORY),
    (greedy_images.large_map, "qemu-nbd", MEMORY),
)


@pytest.mark.parametrize(("make", "verb", "limit"), GREEDY)
def test_a_greedy_image_is_stopped(
    make: Callable[[Path], Image],
    verb: str,
    limit: str,
    there: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def a_second(limits: Limits, _: int) -> Limits:
        return limits.evolve(cpu_time=1)

    monkeypatch.setattr(Limits, "for_files", a_second)
    image = make(there.folder / "greedy")
    with pytest.raises((ToolError, LaunchError), match=limit):
        VERBS[verb](image, there)
    assert not (there.folder / "copy").exists()


def test_a_backing_file_is_refused_where_its_data_counts(there: World) -> None:
    image = made(there, "qcow2: a backing file")
    assert image.info(untrusted=True).backing_filename == str(there.foreign)
    assert image.check(untrusted=True).is_clean
    with pytest.raises(UsageError, match=r"has a backing file: .*foreign; an untrusted image"):
        image.map(untrusted=True)


def test_what_is_no_file_by_its_path_is_refused(there: World) -> None:
    image = Image.at_uri("nbd://localhost/x")
    for verb in VERBS.values():
        with pytest.raises(UsageError, match="an untrusted image is one file"):
            verb(image, there)
    with pytest.raises(UsageError, match="an untrusted image is one file"):
        good(there).start_convert(image, untrusted=True)
    with pytest.raises(UsageError, match="not compared"):
        good(there).start_convert(image, backing=good(there), untrusted=True)


def test_an_encrypted_image_and_an_encrypted_copy(there: World) -> None:
    from qemu_blocksdk import Secret
    from qemu_blocksdk.tools import CreateQcow2, EncryptAes

    key = Secret("a key of 16 char")
    vault = Image(there.folder / "vault", format="qcow2", secret=key)
    vault.create("1M", CreateQcow2(encrypt=EncryptAes()))
    assert vault.info(untrusted=True).encrypted
    copy = Image(there.folder / "copy", format="qcow2", secret=key)
    vault.convert(copy, CreateQcow2(encrypt=EncryptAes()), untrusted=True, timeout=20)
    assert vault.compare(copy, untrusted=True, timeout=20).is_equal


def test_a_copy_in_place_writes_its_target_only(there: World) -> None:
    disk = good(there)
    source = Image(there.folder / "source", format="raw")
    source.path.write_bytes(bytes(1 << 20))
    before = {path: path.stat().st_mtime_ns for path in (source.path, there.foreign)}
    source.convert(disk, untrusted=True, in_place=True, timeout=20)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    disk.path.write_bytes(there.qcow2(str(there.foreign)))
    there.touched()
    with pytest.raises(ToolError, match="Permission denied"):
        source.convert(disk, untrusted=True, in_place=True, timeout=20)
    assert not there.touched()


def test_a_target_of_several_files_is_made(there: World) -> None:
    from qemu_blocksdk.tools.creation import CreateVmdk

    flat = Image(there.folder / "flat.vmdk", format="vmdk")
    good(there).convert(flat, CreateVmdk(subformat="monolithicFlat"), untrusted=True)
    assert (there.folder / "flat-flat.vmdk").exists()


def test_an_error_has_the_names_of_the_user(there: World) -> None:
    image = Image(there.foreign, format="qcow2")
    for verb in ("info", "check", "map", "compare", "convert to raw", "dd", "qemu-io", "qemu-nbd"):
        with pytest.raises((ToolError, LaunchError)) as caught:
            VERBS[verb](image, there)
        assert str(there.foreign) in str(caught.value)
        assert "/proc/self" not in str(caught.value)
        assert "json:" not in str(caught.value)


def test_a_probe_sees_nothing_where_there_is_nothing(there: World) -> None:
    assert probe(good(there).path) == ImageProbe(format="qcow2", virtual_size=1 << 20)


def test_an_image_is_not_copied_over_itself(there: World) -> None:
    image = good(there)
    (there.folder / "same").symlink_to(image.path)
    for path in (image.path, there.folder / "same"):
        itself = Image(path, format="qcow2")
        with pytest.raises(UsageError, match="which is read here"):
            image.start_convert(itself, untrusted=True, replace=True)
