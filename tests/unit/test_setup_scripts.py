"""The set-up behind the Makefile, as far as it can be seen without installing anything."""

from __future__ import annotations

import os
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
    written = with_backports([first], "bookworm", "bookworm")
    assert parse_deb822(written)[0]["Signed-By"] == first["Signed-By"]


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_disabled_sources_and_other_archives_are_left_out(release: str) -> None:
    written = with_backports(parse_deb822(DEB822), "bookworm", release)
    assert [(s["URIs"], s["Suites"]) for s in parse_deb822(written)] == [
        ("file:/srv/debian", f"{release} {release}-updates {release}-backports"),
        ("file:/srv/security", f"{release}-security"),
    ]


def test_backports_that_the_machine_has_are_named_once() -> None:
    stanzas = [{"URIs": "file:/srv/debian", "Suites": "bookworm bookworm-backports"}]
    written = with_backports(stanzas, "bookworm", "trixie")
    assert parse_deb822(written)[0]["Suites"] == "trixie trixie-backports"


def test_a_machine_without_the_suite_is_told_so() -> None:
    with pytest.raises(LookupError, match="no apt source of this machine has the suite trixie"):
        with_backports(parse_deb822(DEB822), "trixie", "trixie")


@pytest.mark.parametrize("loader", [False, True])
def test_a_moved_program_is_the_started_process_and_has_its_libraries(
    tmp_path: Path, loader: bool
) -> None:
    part = tmp_path / "part"
    programs = part / "usr/bin"
    programs.mkdir(parents=True)
    (part / "usr/lib/some-linux-gnu").mkdir(parents=True)
    program = programs / "qemu-fake"
    program.write_text('#!/bin/sh\necho "$$" "$LD_LIBRARY_PATH" "$0" "$@"\n')
    program.chmod(0o755)
    if loader:
        (part / "usr/lib64").mkdir()
        shutil.copy(program, part / "usr/lib64/ld-linux-some.so.2")
    make_bin(part)
    moved = part.rename(tmp_path / "moved here")
    assert (moved / "usr/bin/qemu-bundle/usr/lib/some-linux-gnu").is_dir()

    argv = [str(moved / "bin/qemu-fake"), "-S"]
    env = {"PATH": os.environ["PATH"]}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as child:
        said, _ = child.communicate(timeout=10)

    place = f"{moved}/bin/../usr"
    libraries = f"{place}/lib/some-linux-gnu"
    if loader:
        # No variable: a child of QEMU must not get a C library without its own loader.
        argv_of_loader = f"{place}/bin/ld.so --library-path {libraries} {place}/bin/qemu-fake"
        assert said == f"{child.pid}  {argv_of_loader} -S\n"
    else:
        assert said == f"{child.pid} {libraries} {place}/bin/qemu-fake -S\n"


def set_up_in(
    tmp_path: Path, *programs: str, extra: str = "bare"
) -> subprocess.CompletedProcess[str]:
    """Run the set-up, in a folder of its own, where only `programs` are installed."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    basics = ("sh", "cat", "cksum", "cut", "dirname", "grep", "mkdir", "sort", "tr")
    for name in basics:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    for name in programs:
        (tmp_path / "bin" / name).symlink_to("/bin/true")
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/setup.sh", tmp_path / "scripts")
    return subprocess.run(
        ["sh", "scripts/setup.sh", extra],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_without_apt_each_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    # Not the programs that may be in /usr/sbin, where the set-up looks as well.
    done = set_up_in(tmp_path, "qemu-img", "qemu-system-x86_64", "setpriv")
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert {"qemu-io: qemu-utils", "qemu-nbd: qemu-utils"} < set(lines)
    assert {"qemu-storage-daemon: qemu-system-common", "python3.11: python3-venv"} < set(lines)
    assert not any(line.startswith(("qemu-img:", "setpriv:")) for line in lines)
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("extra", "more"), [("bare", ""), ("test", "qemu-block-extra ")])
def test_who_is_not_root_learns_which_packages_to_ask_for(
    tmp_path: Path, extra: str, more: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "bin/id").chmod(0o755)
    there = ("qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon", "qemu-system-x86_64")
    others = ("setpriv", "mke2fs", "dot", "openssl", "losetup")
    done = set_up_in(tmp_path, *there, *others, "apt-get", extra=extra)
    assert done.returncode == 2, done.stderr
    asked = done.stderr.replace("linux-libc-dev ", "")  # which may be there or not
    assert f"ask root for: apt-get install python3-venv {more}\n" in asked


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
