"""The set-up behind the Makefile, as far as it can be seen without installing anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.apt_sources import parse_deb822, parse_list, with_backports
from scripts.fetch_qemu import make_bin

ROOT = Path(__file__).resolve().parents[2]

DEB822 = """\
# The distribution
Types: deb deb-src
URIs: file:/srv/debian
# a comment inside
Suites: bookworm bookworm-updates
components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEabc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: file:/srv/security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: file:/srv/off
Suites: bookworm
Components: main

Types: deb
URIs: file:/srv/other
Suites: nodistro
Components: main
"""


def test_one_line_sources_keep_what_says_whom_to_trust() -> None:
    text = """\
# deb file:/srv/commented bookworm main
deb-src file:/srv/debian bookworm main
deb [arch=amd64 signed-by=/srv/key.gpg] file:/srv/debian bookworm main contrib # why
deb file:/srv/plain bookworm-updates main
"""
    assert parse_list(text) == [
        {
            "URIs": "file:/srv/debian",
            "Suites": "bookworm",
            "Components": "main contrib",
            "Signed-By": "/srv/key.gpg",
        },
        {"URIs": "file:/srv/plain", "Suites": "bookworm-updates", "Components": "main"},
    ]


def test_a_key_inside_a_deb822_source_survives() -> None:
    first = parse_deb822(DEB822)[0]
    assert first["Components"] == "main"
    assert first["Signed-By"].splitlines()[1:3] == [" -----BEGIN PGP PUBLIC KEY BLOCK-----", " ."]
    assert parse_deb822(with_backports([first], "bookworm"))[0]["Signed-By"] == first["Signed-By"]


def test_disabled_sources_and_other_archives_are_left_out() -> None:
    written = with_backports(parse_deb822(DEB822), "bookworm")
    assert [(s["URIs"], s["Suites"]) for s in parse_deb822(written)] == [
        ("file:/srv/debian", "bookworm bookworm-updates bookworm-backports"),
        ("file:/srv/security", "bookworm-security"),
    ]


def test_a_machine_without_the_suite_is_told_so() -> None:
    with pytest.raises(LookupError, match="no apt source of this machine has the suite trixie"):
        with_backports(parse_deb822(DEB822), "trixie")


def test_a_moved_program_is_the_started_process_and_knows_its_place(tmp_path: Path) -> None:
    part = tmp_path / "part"
    programs = part / "usr/bin"
    programs.mkdir(parents=True)
    (part / "usr/lib/some-linux-gnu/qemu").mkdir(parents=True)
    fake = programs / "qemu-system-fake"
    fake.write_text('#!/bin/sh\necho "$$" "$QEMU_MODULE_DIR" "$@"\n')
    fake.chmod(0o755)
    make_bin(part)
    moved = part.rename(tmp_path / "moved here")

    argv = [str(moved / "bin/qemu-system-fake"), "-S"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        said, _ = child.communicate(timeout=10)

    place = f"{moved}/bin/../usr"
    firmware = f"-L {place}/share/qemu -L {place}/share/seabios -L {place}/lib/ipxe/qemu"
    assert said == f"{child.pid} {place}/lib/some-linux-gnu/qemu {firmware} -S\n"


def system_without_apt(tmp_path: Path, *programs: str) -> subprocess.CompletedProcess[str]:
    """Run the set-up, in a folder of its own, where only `programs` are installed."""
    (tmp_path / "bin").mkdir()
    basics = ("sh", "cat", "cksum", "cut", "dirname", "mkdir", "sort", "tr")
    for name in basics:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    for name in programs:
        (tmp_path / "bin" / name).symlink_to("/bin/true")
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/setup.sh", tmp_path / "scripts")
    return subprocess.run(
        ["sh", "scripts/setup.sh", "bare"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_without_apt_each_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    # Not the programs that may be in /usr/sbin, where the set-up looks as well.
    done = system_without_apt(tmp_path, "qemu-img", "qemu-system-x86_64", "setpriv")
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert {"qemu-io: qemu-utils", "qemu-nbd: qemu-utils"} < set(lines)
    assert {"qemu-storage-daemon: qemu-system-common", "python3.11: python3-venv"} < set(lines)
    assert not any(line.startswith(("qemu-img:", "setpriv:")) for line in lines)
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("value", ["9.9", "", "10.0 system"])
def test_a_qemu_that_is_not_known_is_refused(value: str) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "test", f"QEMU={value}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert f"QEMU='{value}' is not known here" in done.stderr
