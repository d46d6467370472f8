"""What a test needs: what can be told without QEMU, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qemu_blocksdk.errors import LaunchError, UsageError
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.requirements import Requires, why_not
from qemu_blocksdk.tools import Programs

ENV = TestEnv(
    test_dir=Path(),
    sock_dir=Path(),
    imgfmt="qcow2",
    programs=Programs.in_directory("nowhere"),
)


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        (Requires(), None),
        (Requires(formats=["raw", "qcow2"]), None),
        (Requires(formats=["raw", "luks"]), "not for image format qcow2"),
        (Requires(not_formats=["raw"]), None),
        (Requires(not_formats=("raw", "qcow2")), "not for image format qcow2"),
        (Requires(formats=["qcow2"], not_formats=["qcow2"]), "not for image format qcow2"),
        (Requires(protocols=["file", "nbd"]), None),
        (Requires(protocols=["nbd", "fuse"]), "not for protocol file"),
        (Requires(platforms=["linux"]), None),
        (Requires(platforms=["darwin", "win32"]), "not for platform linux"),
        (Requires(formats=["raw"], protocols=["nbd"]), "not for image format qcow2"),
    ],
)
def test_the_environment_alone_tells_and_nothing_is_asked(
    requires: Requires, reason: str | None
) -> None:
    assert why_not(requires, ENV) == reason


def test_root_is_needed_or_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for uid, needs, cannot in ((0, None, "cannot run as root"), (1000, "needs root", None)):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        assert why_not(Requires(root=True), ENV) == needs
        assert why_not(Requires(root=False), ENV) == cannot


@pytest.mark.parametrize(
    ("requires", "complaint"),
    [
        (
            Requires(formats=["qcow3"]),
            "^formats: 'qcow3' is none of bochs, .*, vpc; did you mean 'qcow'",
        ),
        (Requires(not_formats=["file"]), "^not_formats: 'file' is none of "),
        (Requires(protocols=["qcow2"]), "^protocols: 'qcow2' is none of "),
        (Requires(platforms=["linux2"]), "^platforms: 'linux2' is none of "),
        (Requires(formats="raw"), "^formats is a list of names, not 'raw'$"),
        (Requires(accelerator="warp"), "^accelerator: 'warp' is none of qtest, tcg, kvm$"),  # type: ignore[arg-type]
        (Requires(driver=""), "^driver: a name is wanted, not ''$"),
        (Requires(command=""), "^command: a name is wanted, not ''$"),
        (
            Requires(member="discard-source"),
            "^member: 'discard-source' has no command: write 'COMMAND.discard-source'",
        ),
    ],
)
def test_nonsense_is_refused_in_one_sentence(requires: Requires, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        why_not(requires, ENV)


@pytest.mark.parametrize(
    "requires",
    [
        Requires(driver="quorum"),
        Requires(quorum=True),
        Requires(command="blockdev-add"),
        Requires(accelerator="tcg"),
        Requires(luks=True),
    ],
)
def test_a_program_that_is_missing_is_an_error_and_no_reason(requires: Requires) -> None:
    with pytest.raises(LaunchError, match="qemu-"):
        why_not(requires, ENV)


def test_a_test_of_luks_needs_luks_that_works() -> None:
    luks = ENV.evolve(imgfmt="luks")
    with pytest.raises(LaunchError, match="qemu-img"):
        why_not(Requires(formats=["luks", "raw"]), luks)
    assert why_not(Requires(not_formats=["raw"]), luks) is None
