"""Scripts that cannot run here, and say so: files, lines and exit statuses, byte for byte."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing import notrun
from qemu_blocksdk.testing.env import TestEnv
from tests.unit.testing.scripts import Scripts


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """A folder of scripts."""
    return Scripts(tmp_path)


def test_a_script_that_is_not_run_ends_well_and_leaves_the_reason(scripts: Scripts) -> None:
    done = scripts.run("notrun.notrun('no luck', env=env)\nprint('it went on')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scripts.left() == {"001.notrun": "no luck\n"}


def test_the_reason_is_logged_once_logging_is_set_up(scripts: Scripts) -> None:
    done = scripts.run("import logging; logging.basicConfig()\nnotrun.notrun('no luck', env=env)")
    assert done.stderr == "WARNING:qemu.iotests:001 not run: no luck\n"


def test_the_last_reason_replaces_the_one_of_an_earlier_run(scripts: Scripts) -> None:
    for reason in ("a long reason", "short"):
        scripts.run(f"notrun.notrun({reason!r}, env=env)")
    assert scripts.left() == {"001.notrun": "short\n"}


def test_cases_that_are_not_run_are_listed_and_the_script_goes_on(scripts: Scripts) -> None:
    done = scripts.run(
        "for reason in ('one', 'two'): notrun.case_notrun(reason, env=env)\nprint('on')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")
    assert scripts.left() == {"001.casenotrun": "    [case not run] one\n    [case not run] two\n"}


def test_a_reason_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    env = TestEnv(test_dir=tmp_path, sock_dir=tmp_path, output_dir=tmp_path / "missing")
    with pytest.raises(UsageError, match=r"^cannot say why .* does not run: .*No such file"):
        notrun.notrun("no luck", env=env)
    with pytest.raises(UsageError, match=r"^cannot say why .* does not run: .*No such file"):
        notrun.case_notrun("no luck", env=env)


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("image_format(['raw', 'qcow2'], env=env)", None),
        ("image_format(env=env)", None),
        ("image_format(['generic'], env=env)", None),
        ("image_format(unsupported=['raw'], env=env)", None),
        ("image_format(['raw', 'vdi'], env=env)", "not suitable for this image format: qcow2"),
        ("image_format([], ['qcow2'], env=env)", "not suitable for this image format: qcow2"),
        (
            "image_format(['generic'], ['qcow2'], env=env)",
            "not suitable for this image format: qcow2",
        ),
        ("protocol(['file', 'nbd'], env=env)", None),
        ("protocol(['generic'], env=env)", None),
        ("protocol(unsupported=['nbd'], env=env)", None),
        ("protocol(['nbd'], env=env)", "not suitable for this protocol: file"),
        ("protocol(unsupported=['file'], env=env)", "not suitable for this protocol: file"),
        ("platform(env=env)", None),
        ("platform(['lin', 'darwin'], env=env)", None),
        ("platform(['darwin'], env=env)", f"not suitable for this OS: {sys.platform}"),
        ("platform(['linux'], ['linux'], env=env)", f"not suitable for this OS: {sys.platform}"),
        ("cache_mode(['none', 'writeback'], env=env)", None),
        ("cache_mode(['writeback'], env=env)", "not suitable for this cache mode: none"),
        ("aio_mode(['native'], env=env)", None),
        ("aio_mode(['threads'], env=env)", "not suitable for this aio mode: native"),
        ("formats(['qcow2', 'luks'], env=env)", None),
        (
            "formats(['vdi', 'qcow2', 'bochs', 'vdi'], env=env)",
            "formats ['vdi', 'bochs'] are not whitelisted",
        ),
        ("virtio_blk(env=env)", None),
        ("virtio_scsi_pci_or_ccw(env=env)", None),
        ("quorum(env=env)", "quorum support missing"),
        ("working_luks(env=env)", None),
    ],
)
def test_each_check_says_what_it_misses(check: str, reason: str | None, tmp_path: Path) -> None:
    scripts = Scripts(tmp_path, qemu_img="echo '[]'")  # which is the map of an image, too
    done = scripts.run(f"notrun.verify_{check}\nprint('it ran')")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == ("it ran\n" if reason is None else "")
    assert scripts.left() == ({} if reason is None else {"001.notrun": f"{reason}\n"})


def test_a_format_that_is_not_generic_has_to_be_named(scripts: Scripts) -> None:
    for names, runs in (("['generic']", False), ("['generic', 'qcow2']", True)):
        done = scripts.run(
            f"notrun.verify_image_format({names}, env=env)\nprint('it ran')",
            IMGFMT_GENERIC="false",
        )
        assert done.stdout == ("it ran\n" if runs else "")


def test_luks_has_to_work_for_a_test_of_it(scripts: Scripts) -> None:
    scripts.run("notrun.verify_image_format(env=env)", IMGFMT="luks")
    assert "this cipher is not supported" in scripts.left()["001.notrun"]


def test_a_qemu_without_the_devices_is_told(tmp_path: Path) -> None:
    scripts = Scripts(tmp_path, qemu="echo 'name \"nvme\"'")
    scripts.run("notrun.verify_virtio_blk(env=env)")
    assert scripts.left() == {"001.notrun": "Missing virtio-blk in QEMU binary\n"}
    scripts.run("notrun.verify_virtio_scsi_pci_or_ccw(env=env)")
    assert scripts.left() == {
        "001.notrun": "Missing virtio-scsi-pci or virtio-scsi-ccw in QEMU binary\n"
    }


def test_a_program_is_asked_once(scripts: Scripts) -> None:
    scripts.run("for _ in range(3): notrun.verify_formats(['raw'], env=env)")
    assert scripts.launches() == ["qemu"]


def test_what_is_only_whitelisted_for_reading_is_told_apart(scripts: Scripts) -> None:
    done = scripts.run(
        "print(*notrun.supported_formats(env=env))\n"
        "print(*notrun.supported_formats(env=env, read_only=True))\n"
        "print(notrun.supports_quorum(env=env))"
    )
    assert done.stdout == "file luks qcow2 raw\nbochs file luks qcow2 raw\nFalse\n"


def test_protocols_both_supported_and_not_are_refused(tmp_path: Path) -> None:
    env = TestEnv(test_dir=tmp_path, sock_dir=tmp_path)
    with pytest.raises(UsageError, match="either the supported or the unsupported"):
        notrun.verify_protocol(["file"], ["nbd"], env=env.evolve(imgproto="file"))
