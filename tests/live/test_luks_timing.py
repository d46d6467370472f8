"""QEMU 7.2 fails to make LUKS by chance: what makes it is repeated, and nothing else is.

A program in qemu-img's place fails twice for sure, where the real one does so by luck.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Image, Secret
from qemu_blocksdk.errors import ToolError
from qemu_blocksdk.tools import AmendLuks, AmendQcow2, CreateLuks, Programs

pytestmark = pytest.mark.timeout(60)

_CHANCE = "Unable to get accurate CPU usage"
_KEY = Secret("old")


def _failing_twice(folder: Path, command: str, words: str) -> Programs:
    """A qemu-img whose ``command`` says something and fails, the first two times."""
    path, tried = folder / "qemu-img", folder / "tried"
    path.write_text(
        f"""#!/bin/sh
if [ "$1" = {command} ]; then
    echo >> {tried}
    if [ $(wc -l < {tried}) -le 2 ]; then
        echo "qemu-img: {words}" >&2
        exit 1
    fi
fi
exec {shutil.which("qemu-img")} "$@"
"""
    )
    path.chmod(0o755)
    return Programs(qemu_img=[str(path)])


def _create(folder: Path, programs: Programs) -> None:
    image = Image(folder / "new.luks", format="luks", secret=_KEY, programs=programs)
    image.create("1M", CreateLuks(hash_alg="sha512", iter_time=0.01))
    assert image.info().encrypted


def _convert(folder: Path, programs: Programs) -> None:
    plain = Image(folder / "plain", format="raw", programs=programs)
    plain.create("1M")
    target = Image(folder / "copy.luks", format="luks", secret=_KEY, programs=programs)
    plain.convert(target, CreateLuks(hash_alg="sha512", iter_time=0.01))
    assert target.info().encrypted


def _amend(folder: Path, programs: Programs) -> None:
    _create(folder, Programs())
    image = Image(folder / "new.luks", format="luks", secret=_KEY, programs=programs)
    change = AmendLuks(state="active", new_secret=Secret("new"), iter_time=0.01)
    image.amend(change)
    opened = Image(folder / "new.luks", format="luks", secret=Secret("new"))
    opened.convert(Image(folder / "plain", format="raw"))


def _measure(folder: Path, programs: Programs) -> None:
    plain = Image(folder / "plain", format="raw", programs=programs)
    plain.create("1M")
    assert plain.measure("luks").required > 1 << 20


@pytest.mark.parametrize(
    ("command", "make"),
    [("create", _create), ("convert", _convert), ("amend", _amend), ("measure", _measure)],
)
def test_what_makes_luks_is_repeated_when_its_timing_failed(
    command: str, make: Callable[[Path, Programs], None], tmp_path: Path
) -> None:
    make(tmp_path, _failing_twice(tmp_path, command, _CHANCE))
    assert (tmp_path / "tried").read_text().count("\n") >= 3


def test_another_failure_is_not_repeated(tmp_path: Path) -> None:
    programs = _failing_twice(tmp_path, "amend", "No such luck")
    image = Image(tmp_path / "disk.qcow2", format="qcow2", programs=programs)
    image.create("1M")
    with pytest.raises(ToolError, match="No such luck"):
        image.amend(AmendQcow2(lazy_refcounts=True))
    assert (tmp_path / "tried").read_text() == "\n"
