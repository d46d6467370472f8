"""Images on disk, as far as the first objects need them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from qemu_blocksdk import Image
from qemu_blocksdk.errors import ToolError, UsageError


def _info(path: Path) -> dict[str, object]:
    text = subprocess.check_output(["qemu-img", "info", "--output=json", str(path)])
    info: dict[str, object] = json.loads(text)
    return info


def test_a_relative_backing_file_is_the_callers_and_not_the_overlays_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    Image(tmp_path / "base", format="qcow2").create(1 << 20)
    Image(tmp_path / "other" / "base", format="qcow2").create(5 << 20)
    monkeypatch.chdir(tmp_path)
    Image("other/overlay", format="qcow2").create(backing=Image("base", format="qcow2"))
    info = _info(tmp_path / "other" / "overlay")
    assert info["virtual-size"] == 1 << 20
    assert info["backing-filename"] == str(tmp_path / "base")


@pytest.mark.parametrize("name", ["a,b=c", "nbd:x", "json:{}", "-o", "with space", "new\nline"])
def test_a_name_is_never_taken_for_more(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image, copy = Image(name, format="raw"), Image(f"{name}.copy", format="qcow2")
    image.create(1 << 20)
    image.convert(copy)
    assert (tmp_path / name).stat().st_size == 1 << 20
    assert image.is_equal(copy)


def test_images_that_differ_are_not_equal(tmp_path: Path) -> None:
    one, other = (Image(tmp_path / name, format="raw") for name in ("one", "other"))
    one.path.write_bytes(b"1" * 4096)
    other.path.write_bytes(b"2" * 4096)
    assert not one.is_equal(other)


def test_a_negative_size_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="size of -5"):
        Image(tmp_path / "image", format="raw").create(-5)


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NUL"):
        Image("a\0b", format="raw").create(512)


def test_a_missing_image_is_told_in_the_tools_words(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="No such file") as caught:
        Image(tmp_path / "nowhere", format="raw").convert(Image(tmp_path / "copy", format="raw"))
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)
