"""Secrets reach QEMU and its tools, and show nowhere."""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from qemu_blocksdk import Image, StorageDaemon
from qemu_blocksdk.blockdev import Https, Raw
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import CommandError, ToolError, UsageError
from qemu_blocksdk.tools.creation import CreateLuks, CreateQcow2, EncryptLuks

MIB = 1 << 20
# Of this file alone: another test's secret may be on a command line that is looked at.
WORD = "kingfisher-öß,=:\"'"
SECRET = Secret(WORD)
KINDS: dict[str, tuple[Literal["luks", "qcow2"], CreateLuks | CreateQcow2]] = {
    "luks": ("luks", CreateLuks(hash_alg="sha512", iter_time=0.01)),
    "qcow2": ("qcow2", CreateQcow2(encrypt=EncryptLuks(hash_alg="sha512", iter_time=0.01))),
}


class Watch(threading.Thread):
    """Reads every command line and environment of this machine, over and over."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen = set[bytes]()
        self.rounds = 0
        self._stop_it = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stop_it.is_set():
            for entry in os.listdir("/proc"):  # noqa: PTH208 - fast
                for file in ("cmdline", "environ"):
                    try:
                        self.seen.add(Path("/proc", entry, file).read_bytes())
                    except (OSError, ValueError):
                        continue
            self.rounds += 1

    def end(self) -> set[bytes]:
        """Stop; return what was seen."""
        self._stop_it.set()
        self.join()
        return self.seen


@pytest.fixture
def watch() -> Iterator[Watch]:
    """A watch that runs."""
    watching = Watch()
    watching.start()
    yield watching
    watching.end()


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_shows_nowhere_while_an_image_is_made_and_opened(
    kind: str, tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    format, options = KINDS[kind]
    image = Image(tmp_path / "disk", format=format, secret=SECRET)
    image.create(MIB, options)
    plain = Image(tmp_path / "plain", format="raw")
    plain.path.write_bytes(b"x" * MIB)
    plain.convert(image, options, replace=True)
    assert image.compare(plain).is_equal
    assert image.info().encrypted
    with StorageDaemon() as daemon:
        daemon.add_secret(SECRET, id="sec0")
        node = daemon.add_node(image.options("disk", key_secret="sec0"))
        assert node.query_info().image.virtual_size == MIB
        with pytest.raises(CommandError) as refused:
            daemon.add_secret(SECRET, id="sec0")
    shown = [
        *(caplog.text, repr(SECRET), str(SECRET), f"{SECRET}", repr(image), repr(image.__dict__)),
        *(str(refused.value), repr(refused.value), repr(vars(refused.value))),
    ]
    assert "qemu-img create" in caplog.text
    assert repr(SECRET) == "Secret(***)"
    seen = watch.end()
    assert watch.rounds > 3
    assert any(b"file=/dev/fd/" in words for words in seen)
    for secret in (WORD, WORD[:7]):
        assert not [text for text in shown if secret in text]
        assert not [words for words in seen if secret.encode() in words and b"pytest" not in words]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_secret_opens_nothing(kind: str, tmp_path: Path) -> None:
    format, options = KINDS[kind]
    Image(tmp_path / "disk", format=format, secret=SECRET).create(MIB, options)
    copy = Image(tmp_path / "copy", format="raw")
    for secret, words in ((Secret("xyzzy42"), "Invalid password"), (None, "key-secret")):
        with pytest.raises(ToolError, match=words) as caught:
            Image(tmp_path / "disk", format=format, secret=secret).convert(copy)
        assert "xyzzy42" not in f"{caught.value}{vars(caught.value)}"
    assert not copy.path.exists()


def test_two_secrets_work_in_one_call(tmp_path: Path) -> None:
    one = Image(tmp_path / "one", format="luks", secret=Secret("1"))
    other = Image(tmp_path / "other", format="qcow2", secret=Secret("2"))
    one.create(MIB, CreateLuks(hash_alg="sha512", iter_time=0.01))
    one.convert(other, CreateQcow2(encrypt=EncryptLuks(hash_alg="sha512", iter_time=0.01)))
    assert one.compare(other).is_equal
    third = Image(tmp_path / "third", format="luks", secret=Secret("3"))
    third.create(MIB, CreateLuks(hash_alg="sha512", iter_time=0.01))
    one.convert(third, in_place=True)
    assert one.compare(third).is_equal


def test_an_overlay_of_an_encrypted_image(tmp_path: Path) -> None:
    options = CreateQcow2(encrypt=EncryptLuks(hash_alg="sha512", iter_time=0.01))
    base = Image(tmp_path / "base", format="qcow2", secret=SECRET)
    base.create(MIB, options)
    top = Image(tmp_path / "top", format="qcow2", secret=SECRET)
    top.create(options=options, backing=base)
    assert top.info().virtual_size == MIB
    assert top.info().backing_filename == str(base.path)


def test_an_encrypted_image_is_resized_checked_and_mapped(tmp_path: Path) -> None:
    image = Image(tmp_path / "disk", format="qcow2", secret=SECRET)
    image.create(MIB, CreateQcow2(encrypt=EncryptLuks(hash_alg="sha512", iter_time=0.01)))
    image.resize("2M")
    image.create_snapshot("s")
    image.add_bitmap("b")
    assert image.check().is_clean
    assert image.map()[-1].start + image.map()[-1].length == 2 * MIB
    assert image.measure("luks").required > 2 * MIB


def test_an_encrypted_image_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        Image(os.fsencode(tmp_path) + b"/\xff", format="luks", secret=SECRET)


def test_a_secret_is_a_value() -> None:
    assert Secret("a") == Secret(b"a") != Secret("b")
    assert len({Secret("a"), Secret(b"a")}) == 1
    with pytest.raises(TypeError):
        pickle.dumps(SECRET)


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\0\1key\n")
    assert Secret.from_file(tmp_path / "key").reveal() == b"\0\1key\n"


def test_options_that_hold_a_secret_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="secret") as caught:
        Image.from_options(Raw(file=Https(url="https://me:hunter2@nowhere.invalid/disk")))
    assert "hunter2" not in str(caught.value)
