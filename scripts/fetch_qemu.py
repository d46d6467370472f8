"""Unpack a QEMU of Debian's backports under .cache/, without installing it.

    python -m scripts.fetch_qemu VERSION

.cache/qemu-VERSION holds the trees of the packages, and bin/ with the programs to put in
front of PATH. apt does the work (addresses, signatures, dependencies) with a state of its
own, so nothing of the machine changes and no root is needed. A QEMU of another Debian
release comes with all its libraries, the C library included, from the same archive; the
machine's debian-archive-keyring has to know the keys of that release. The folder gets its
name only when it is complete. Exit status 2: this machine cannot have it; 1: it failed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.apt_sources import machine_sources, with_backports

# The Debian release whose backports have each version.
RELEASES = {"10.0": "bookworm", "11.1": "trixie"}
CACHE = Path(__file__).resolve().parent.parent / ".cache"
PACKAGES = (
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "qemu-block-extra",
    "qemu-utils",
    "seabios",
    "ipxe-qemu",
)


class Refusal(Exception):
    """The reason to give up, as shown to the person, and the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run(*argv: str | Path, advice: str) -> str:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise Refusal(f"{tail}\n{argv[0]} failed: {advice}")
    return done.stdout


def download(part: Path, release: str, machine: str) -> list[Path]:
    """Fetch the packages and what they depend on, but for what the machine itself has.

    Of another release than the machine's, all dependencies are fetched.
    """
    state = part / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    sources = state / "backports.sources"
    try:
        sources.write_text(with_backports(machine_sources(Path("/etc/apt")), machine, release))
    except LookupError as error:
        raise Refusal(str(error), 2) from error
    (state / "status").touch()
    apt: list[str | Path] = ["apt-get", "-q"]
    for option in (
        f"Dir::Etc::SourceList={sources}",
        "Dir::Etc::SourceParts=/dev/null",
        *([f"Dir::State::Status={state / 'status'}"] if release != machine else []),
        f"Dir::State::Lists={state / 'lists'}",
        f"Dir::Cache={state / 'cache'}",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",
        "Debug::NoLocking=1",
    ):
        apt += ["-o", option]
    suite = f"{release}-backports"
    update = ("update", "-o", "APT::Update::Error-Mode=any")
    keys = f"does its debian-archive-keyring know the keys of {release}?"
    run(*apt, *update, advice=f"does the machine reach the archive, and {keys}")
    # --reinstall: also what the machine has in the very version of the suite.
    options = ("-y", "--download-only", "--reinstall", "--no-install-recommends", "-t", suite)
    run(*apt, "install", *options, *PACKAGES, advice=f"does {suite} have what QEMU needs?")
    return sorted((state / "cache/archives").glob("*.deb"))


def make_bin(part: Path) -> None:
    """Write bin/: a script for each program that starts it with the libraries of the tree.

    A C library belongs to its own dynamic loader, so where the tree has one, the script starts
    the program through that loader, and no variable reaches the children of QEMU. QEMU finds
    its modules and firmware by itself, in the `qemu-bundle` beside what /proc/self/exe names.
    """
    (part / "bin").mkdir()
    programs = part / "usr/bin"
    folders = [*part.glob("usr/lib/*-linux-*"), *part.glob("usr/lib/*-linux-*/ceph")]
    libraries = ":".join(moved(part, folder) for folder in folders)
    start = f"export LD_LIBRARY_PATH={libraries}\nexec"
    for loader in part.glob("usr/lib*/ld-linux*.so.*"):
        shutil.copy(loader, programs / "ld.so")
        start = f"exec {moved(part, programs / 'ld.so')} --library-path {libraries}"
    for program in sorted(programs.glob("qemu-*")):
        script = part / "bin" / program.name
        # exec: the caller's child has to be QEMU itself, to be signalled and waited for.
        script.write_text(f'#!/bin/sh\n{start} {moved(part, program)} "$@"\n')
        script.chmod(0o755)
    (programs / "qemu-bundle").symlink_to("../..")


def moved(part: Path, path: Path) -> str:
    """Spell a path of the tree for a script in bin/, so that the tree can be anywhere."""
    return f'"${{0%/*}}/../{path.relative_to(part)}"'


def fetch(version: str) -> None:
    target = CACHE / f"qemu-{version}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise Refusal("it comes from Debian's backports, and this system has no apt-get", 2)
        os_release = Path("/etc/os-release").read_text()
        codename = re.search(r'^VERSION_CODENAME="?(\w+)"?$', os_release, re.MULTILINE)
        if codename is None:
            raise Refusal("/etc/os-release names no VERSION_CODENAME", 2)
        print(f"fetching QEMU {version} into {target.relative_to(CACHE.parent)}", file=sys.stderr)
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        for package in download(part, RELEASES[version], codename[1]):
            run("dpkg-deb", "-x", package, part, advice="is the disk full?")
        make_bin(part)
        shutil.rmtree(part / "apt")
        check(part / "bin", version)
        part.rename(target)


def check(programs: Path, version: str) -> None:
    """Refuse a QEMU of another version, or one that does not run or find its firmware here."""
    for name in ("qemu-img", "qemu-storage-daemon", "qemu-system-x86_64"):
        said = run(programs / name, "--version", advice="it does not run on this machine")
        if f"version {version}." not in said:
            raise Refusal(f"the backports have another version: {said.splitlines()[0]}", 2)
    said = run(programs / "qemu-system-x86_64", "-L", "help", advice="where is its firmware?")
    if not any((Path(line) / "bios-256k.bin").exists() for line in said.splitlines()):
        raise Refusal(f"no bios-256k.bin in: {' '.join(said.split())}")


if __name__ == "__main__":
    os.umask(0o022)
    if len(sys.argv) != 2 or sys.argv[1] not in RELEASES:
        sys.exit(f"usage: python -m scripts.fetch_qemu {'|'.join(RELEASES)}")
    try:
        fetch(sys.argv[1])
    except (Refusal, OSError) as error:
        print(f"QEMU {sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(error.status if isinstance(error, Refusal) else 1)
