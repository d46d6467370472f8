"""What a test needs, held against the binaries: they are asked, and each once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Toolchain
from qemu_blocksdk.errors import LaunchError, UsageError
from qemu_blocksdk.testing import notrun
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.requirements import Requires, why_not
from qemu_blocksdk.tools import Programs
from tests.live.helpers import run

pytestmark = pytest.mark.timeout(30)

EMULATOR = "qemu-system-x86_64"


@pytest.fixture
def env() -> Iterator[TestEnv]:
    """An environment with the programs in PATH."""
    with TestEnv.temporary(imgfmt="qcow2") as made:
        yield made


def counted(folder: Path, program: str) -> Path:
    """The program, by a script that leaves a line in ``log`` at each launch."""
    path = folder / program
    path.write_text(f'#!/bin/sh\necho >> {folder}/log\nexec {shutil.which(program)} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "requires",
    [
        Requires(driver="qcow2"),
        Requires(driver="blkdebug", command="blockdev-mirror"),
        Requires(command="human-monitor-command"),
        Requires(member="blockdev-mirror.copy-mode.write-blocking"),
        Requires(member="blockdev-add.qcow2.data-file"),
        Requires(event="JOB_STATUS_CHANGE"),
        Requires(quorum=True),
        Requires(luks=True),
        Requires(accelerator="tcg"),
    ],
)
def test_what_this_qemu_has_is_not_in_the_way(requires: Requires, env: TestEnv) -> None:
    assert why_not(requires, env) is None


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        (Requires(driver="qcow9"), "driver: no known QEMU has 'qcow9'; did you mean 'qcow'"),
        (
            Requires(command="blockdev-bakup"),
            "command: no known QEMU has 'blockdev-bakup'; did you mean 'blockdev-backup'",
        ),
        (Requires(event="SHUTDWON"), "event: no known QEMU has 'SHUTDWON'; did you mean"),
        (
            Requires(member="blockdev-backup.sync.seldom"),
            "member: no known QEMU has 'blockdev-backup.sync.seldom'$",
        ),
    ],
)
def test_a_name_that_no_qemu_has_is_refused(requires: Requires, message: str, env: TestEnv) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        why_not(requires, env)


def test_what_only_the_newer_qemu_has_decides_by_the_binary(
    env: TestEnv, qemu_version: tuple[int, int]
) -> None:
    found = why_not(Requires(member="blockdev-backup.discard-source"), env)
    assert found == (
        None
        if qemu_version >= (9, 1)
        else f"{EMULATOR} has no member 'blockdev-backup.discard-source'"
        " (known to storage-daemon-10.0, system-10.0, storage-daemon-11.1, system-11.1)"
    )


def test_an_accelerator_has_to_start_here(env: TestEnv) -> None:
    accelerators = Toolchain().query_emulator().accelerators
    for name in ("qtest", "kvm"):
        found = why_not(Requires(accelerator=name), env)
        if name not in accelerators:
            assert found == (
                f"cannot run with accelerator {name}: this QEMU has no accelerator '{name}'"
            )
        elif name == "kvm" and not Path("/dev/kvm").exists():
            assert found is not None
            assert found.startswith("cannot run with accelerator kvm: ")
        else:
            assert found is None


def test_an_accelerator_that_does_not_start_is_told_in_qemus_words(
    env: TestEnv, tmp_path: Path
) -> None:
    broken = tmp_path / "qemu-broken"
    broken.write_text(
        "#!/bin/sh\n"
        'case "$*" in *"-accel kvm"*) echo "qemu-broken: no access to KVM" >&2; exit 1;; esac\n'
        f'exec {shutil.which(EMULATOR)} "$@"\n'
    )
    broken.chmod(0o755)
    programs = Programs(qemu=(str(broken),))
    found = why_not(Requires(accelerator="kvm"), env.evolve(programs=programs))
    if "kvm" in Toolchain(programs).query_emulator().accelerators:
        assert found is not None
        assert "no access to KVM" in found
    assert why_not(Requires(accelerator="tcg"), env.evolve(programs=programs)) is None


def test_without_an_emulator_the_storage_daemon_is_asked(env: TestEnv, tmp_path: Path) -> None:
    alone = env.evolve(programs=Programs(qemu=(str(tmp_path / "missing"),)))
    assert why_not(Requires(driver="qcow2", command="block-export-add"), alone) is None
    found = why_not(Requires(command="device_add"), alone)
    assert found is not None
    assert found.startswith("qemu-storage-daemon has no command 'device_add' (known to system-")
    with pytest.raises(LaunchError, match="missing"):
        why_not(Requires(accelerator="tcg"), alone)


def test_a_binary_is_asked_once_whatever_is_needed_of_it(env: TestEnv, tmp_path: Path) -> None:
    emulator, qemu_img = counted(tmp_path, EMULATOR), counted(tmp_path, "qemu-img")
    asked = env.evolve(programs=Programs(qemu=(str(emulator),), qemu_img=(str(qemu_img),)))
    for _ in range(3):
        for requires in (
            Requires(driver="quorum", quorum=True, luks=True),
            Requires(command="blockdev-add"),
            Requires(member="blockdev-add.qcow2.file"),
        ):
            why_not(requires, asked)
    assert (tmp_path / "log").read_text() == "\n" * 2


@pytest.mark.parametrize("program", ["qemu", "storage_daemon"])
def test_a_program_tells_its_schema_also_when_nothing_else_is_asked(
    program: str, tmp_path: Path
) -> None:
    name = EMULATOR if program == "qemu" else "qemu-storage-daemon"
    toolchain = Toolchain(Programs(**{program: (str(counted(tmp_path, name)),)}))
    for _ in range(2):
        if program == "qemu":
            schema = toolchain.query_schema()
            assert schema.has_command("device_add")
        else:
            schema = toolchain.query_schema("storage_daemon")
            assert not schema.has_command("device_add")
        assert schema.has_command("blockdev-add")
    assert (tmp_path / "log").read_text() == "\n"


def test_scripts_are_told_of_real_programs_what_they_ask(env: TestEnv) -> None:
    notrun.verify_image_format(["qcow2"], env=env)
    notrun.verify_image_format(env=env.evolve(imgfmt="luks"))
    notrun.verify_formats(["qcow2", "raw", "blkdebug"], env=env)
    notrun.verify_virtio_blk(env=env)
    notrun.verify_virtio_scsi_pci_or_ccw(env=env)
    assert notrun.supports_quorum(env=env) == ("quorum" in run("qemu-img", "--help"))
    for line, read_only in enumerate((False, True)):
        shown = run(EMULATOR, "-drive", "format=help").splitlines()[line]
        told = notrun.supported_formats(env=env, read_only=read_only)
        assert told == shown.partition(":")[2].split()
