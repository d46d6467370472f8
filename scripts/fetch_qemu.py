"""Fetch QEMU 10.0 from the backports of this machine's own Debian archive, uninstalled.

Lives under .cache/qemu-10.0: the packages' trees unpacked, and bin/ with what to put in
front of PATH. apt does the work (addresses, signatures, dependencies) with a state of its
own, so that nothing of the machine's changes and no root is needed. The folder gets its
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

VERSION = "10.0"
CACHE = Path(__file__).resolve().parent.parent / ".cache"
TARGET = CACHE / f"qemu-{VERSION}"
PACKAGES = (
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    # Not for their own sake: QEMU 10.0 looks through the audio drivers at start, and where it
    # has no such module of its own it tries the installed QEMU's, and complains of its version.
    "qemu-system-modules-opengl",
    "qemu-system-modules-spice",
    "qemu-utils",
    "seabios",
    "ipxe-qemu",
)
FIRMWARE = ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")


class Refusal(Exception):
    """What to tell the person, and the exit status to tell it with."""

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


def download(part: Path, codename: str) -> list[Path]:
    """Have apt fetch the packages, with what they need and the machine lacks."""
    state = part / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    sources = state / "backports.sources"
    try:
        sources.write_text(with_backports(machine_sources(Path("/etc/apt")), codename))
    except LookupError as error:
        raise Refusal(str(error), 2) from error
    apt: list[str | Path] = ["apt-get", "-q"]
    for option in (
        f"Dir::Etc::SourceList={sources}",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State::Lists={state / 'lists'}",
        f"Dir::Cache={state / 'cache'}",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",
        "Debug::NoLocking=1",
    ):
        apt += ["-o", option]
    suite = f"{codename}-backports"
    run(*apt, "update", "-o", "APT::Update::Error-Mode=any", advice="is the archive reachable?")
    # --reinstall: also what the machine has in the very version of the suite.
    options = ("-y", "--download-only", "--reinstall", "--no-install-recommends", "-t", suite)
    run(*apt, "install", *options, *PACKAGES, advice=f"does {suite} have what QEMU needs?")
    return sorted((state / "cache/archives").glob("*.deb"))


def make_bin(part: Path) -> None:
    """Write bin/: a script for each program that tells it where its belongings are now.

    Debian's QEMU 10.0 is built to look for firmware and modules in /usr only, where the
    installed QEMU has its own, of another version.
    """
    (part / "bin").mkdir()
    modules = next(part.glob("usr/lib/*-linux-*/qemu"))
    libraries = sorted({path.parent for path in part.glob("usr/lib/*/lib*.so.*")})
    settings = f"export QEMU_MODULE_DIR={moved(part, modules)}\n"
    if libraries:
        settings += f"export LD_LIBRARY_PATH={':'.join(moved(part, p) for p in libraries)}\n"
    firmware = [part / folder for folder in FIRMWARE]
    for program in sorted(part.glob("usr/bin/qemu-*")):
        argv = [moved(part, program)]
        if program.name.startswith("qemu-system-"):
            argv += [f"-L {moved(part, folder)}" for folder in firmware]
        script = part / "bin" / program.name
        # exec: the caller's child has to be QEMU itself, to be signalled and waited for.
        script.write_text(f'#!/bin/sh\n{settings}exec {" ".join(argv)} "$@"\n')
        script.chmod(0o755)


def moved(part: Path, path: Path) -> str:
    """Spell a path of the tree for a script in bin/, so that the tree can be anywhere."""
    return f'"${{0%/*}}/../{path.relative_to(part)}"'


def main() -> None:
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if TARGET.exists():
            return
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise Refusal("it comes from Debian's backports, and this system has no apt-get", 2)
        release = Path("/etc/os-release").read_text()
        codename = re.search(r'^VERSION_CODENAME="?(\w+)"?$', release, re.MULTILINE)
        if codename is None:
            raise Refusal("/etc/os-release names no VERSION_CODENAME", 2)
        print(f"fetching QEMU {VERSION} into {TARGET.relative_to(CACHE.parent)}", file=sys.stderr)
        part = TARGET.with_name(f"{TARGET.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        for package in download(part, codename[1]):
            run("dpkg-deb", "-x", package, part, advice="is the disk full?")
        make_bin(part)
        shutil.rmtree(part / "apt")
        check(part / "bin")
        part.rename(TARGET)


def check(programs: Path) -> None:
    """Refuse a QEMU of another version, or one that does not run or find its firmware here."""
    for name in ("qemu-img", "qemu-storage-daemon", "qemu-system-x86_64"):
        said = run(programs / name, "--version", advice="it does not run on this machine")
        if f"version {VERSION}." not in said:
            raise Refusal(f"the backports have another version: {said.splitlines()[0]}", 2)
    said = run(programs / "qemu-system-x86_64", "-L", "help", advice="where is its firmware?")
    if not any((Path(line) / "bios-256k.bin").exists() for line in said.splitlines()):
        raise Refusal(f"no bios-256k.bin in: {' '.join(said.split())}")


if __name__ == "__main__":
    os.umask(0o022)
    try:
        main()
    except (Refusal, OSError) as error:
        print(f"QEMU {VERSION}: {error}", file=sys.stderr)
        sys.exit(error.status if isinstance(error, Refusal) else 1)
