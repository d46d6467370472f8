"""unittest's base class on a real QEMU: assertions, waits, and what a failed test reports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Image, Node
from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions, File, Raw
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import ConnectionLost, DeadlineExceeded, Unsupported, UsageError
from qemu_blocksdk.testing import QMPTestCase
from tests.live.helpers import ROOT, nothing_left_behind

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20


class Case(QMPTestCase):
    """A VM with two disks; a test here calls what is asserted itself."""

    def runTest(self) -> None:
        """Do nothing: the tests below have their own ideas."""

    def setUp(self) -> None:
        self.vm = self.launch_vm()
        self.disk, self.copy = self.added("disk"), self.added("copy")

    def added(self, name: str) -> Node:
        """Add a disk of 16 MiB."""
        return self.images.add(self.vm, self.images.create(name, 16 * MIB), node_name=name)

    def mirror(self, **more: object) -> None:
        """Start a mirror as iotests' tests do: it is called drive0, and dismisses itself."""
        arguments = {"job-id": "drive0", "device": "disk", "target": "copy", "sync": "full"}
        self.vm.qmp.execute_raw("blockdev-mirror", {**arguments, **more})


@pytest.fixture
def case() -> Iterator[Case]:
    """A case that is set up."""
    made = Case()
    try:
        made.setUp()
        yield made
    finally:
        made.doCleanups()


# -- assertions and waits -----------------------------------------------------------------


def test_a_mirror_is_completed_and_leaves_no_job(case: Case) -> None:
    case.mirror()
    case.complete_and_wait()
    case.assert_no_active_block_jobs()


def test_a_job_of_ours_is_no_active_one_when_its_end_is_told(case: Case) -> None:
    for _ in range(5):
        job = case.disk.start_backup(case.copy, job_id="drive0")
        event = case.wait_until_completed()
        case.assert_qmp(event, "data/type", "backup")
        job.wait(timeout=5)


def test_a_ready_mirror_is_cancelled_to_completion(case: Case) -> None:
    case.mirror()
    case.wait_ready_and_cancel()


def test_a_job_is_cancelled_and_its_end_told(case: Case) -> None:
    case.mirror(speed=1)
    event = case.cancel_and_wait(force=True)
    case.assert_qmp(event, "event", "BLOCK_JOB_CANCELLED")


def test_a_job_that_is_not_there_is_not_cancelled(case: Case) -> None:
    with pytest.raises(AssertionError, match=r"has no 'return', only 'error'(?s:.*)drive0"):
        case.cancel_and_wait()
    with pytest.raises(AssertionError, match="only 'error'"):
        case.complete_and_wait(wait_ready=False)
    with pytest.raises(AssertionError, match="only 'error'"):
        case.pause_job("drive0")


def test_a_job_is_paused_and_stands_still(case: Case) -> None:
    case.disk.io.write(0, 8 * MIB, pattern=1)
    arguments = {"job-id": "drive0", "device": "disk", "target": "copy", "sync": "full"}
    case.vm.qmp.execute_raw("blockdev-backup", {**arguments, "speed": 65536})
    job = case.pause_job("drive0")
    case.assert_qmp(job, "paused", True)
    with pytest.raises(AssertionError, match=r"block jobs are active: {'drive0': 'paused'}"):
        case.assert_no_active_block_jobs()
    case.assert_qmp(case.pause_wait("drive0"), "busy", False)
    case.vm.qmp.execute_raw("block-job-resume", {"device": "drive0"})
    case.cancel_and_wait(force=True)


def test_a_cancelled_job_ends_when_its_requests_are_let_go(case: Case) -> None:
    file = File(filename=str(case.images.create("held", 16 * MIB).path))
    held = case.vm.add_node(Raw(node_name="held", file=Blkdebug(image=file)))
    held.io.write(0, 1 * MIB, pattern=1)
    case.vm.plug(held, device="virtio-blk")
    case.vm.pause_drive("held")
    arguments = {"job-id": "held", "device": "held", "target": "copy", "sync": "full"}
    case.vm.qmp.execute_raw("blockdev-backup", arguments)
    event = case.cancel_and_wait("held", force=True, resume=True)
    case.assert_qmp(event, "event", "BLOCK_JOB_CANCELLED")


def test_a_storage_daemon_is_asked_as_well_but_holds_no_drive(case: Case) -> None:
    daemon = case.launch_storage_daemon()
    case.images.add(daemon, case.images.create("far", MIB), node_name="far")
    case.assert_has_block_node("far")
    with pytest.raises(Unsupported, match="human monitor"):
        case._machine().resume_drive("far")
    case.ask(case.vm)
    with pytest.raises(AssertionError, match="no block node is"):
        case.assert_has_block_node("far")
    case.assert_has_block_node("disk", str(case.env.test_dir / "disk"))


def test_a_server_ends_with_the_test_and_is_in_its_report(case: Case) -> None:
    server = case.launch_nbd_server(case.images.create("far", MIB))
    assert Image.at_uri(server.uri).info().virtual_size == MIB
    assert [each.title for each in case.machines.describe()] == [
        f"qemu-system-x86_64: runs (pid {case.vm.process.pid})",
        f"qemu-nbd: runs (pid {server.process.pid})",
    ]
    case.doCleanups()
    assert not server.is_running


def test_a_vm_that_is_launched_anew_is_asked_anew(case: Case) -> None:
    case.vm.stop()
    with pytest.raises(ConnectionLost):
        case.assert_has_block_node("disk")
    case.vm.launch()
    case.assert_no_active_block_jobs()


def test_who_was_not_launched_by_the_test_is_not_asked(case: Case) -> None:
    other = Case()
    with pytest.raises(UsageError, match="has launched no QEMU"):
        other.assert_no_active_block_jobs()
    with pytest.raises(UsageError, match="was not launched by this test"):
        other.ask(case.vm)
    other.doCleanups()


def test_a_time_limit_says_what_came_instead(case: Case) -> None:
    case.mirror(speed=1)
    with pytest.raises(DeadlineExceeded, match=r"end of block job 'drive0' \(.*created, .*running"):
        case.wait_until_completed(wait=0.2)


def test_the_file_name_that_qemu_makes_is_compared(case: Case) -> None:
    disk: JsonObject = {
        "driver": "raw",
        "file": {"driver": "file", "filename": str(case.env.test_dir / "disk")},
    }
    node = case.vm.add_node(Blkdebug(node_name="bad", image="disk", align=4096))
    name = node.query_info().file
    case.assert_json_filename_equal(name, {"driver": "blkdebug", "align": 4096, "image": disk})
    with pytest.raises(AssertionError, match=r'the file name says .*"align": 4096'):
        case.assert_json_filename_equal(name, {"driver": "blkdebug", "image": disk})


def test_a_failed_job_is_what_was_expected_or_not(case: Case) -> None:
    case.disk.io.write(0, 1 * MIB, pattern=1)
    errors = [BlkdebugInjectErrorOptions(event="none", iotype="read", errno=5)]
    bad = case.vm.add_node(Blkdebug(node_name="bad", image="disk", inject_error=errors))
    case.assert_job_failed(bad.start_mirror(case.copy), "Input/output error", timeout=10)
    with pytest.raises(AssertionError, match="Input/output error, expected 'No space'"):
        case.assert_job_failed(bad.start_mirror(case.copy), "No space", timeout=10)
    with pytest.raises(AssertionError, match="completed, expected 'No space'"):
        case.assert_job_failed(case.disk.start_backup(case.copy), "No space", timeout=10)
    slow = case.disk.start_backup(case.copy, speed=1)
    with pytest.raises(DeadlineExceeded):
        case.assert_job_failed(slow, "No space", timeout=0.1)
    slow.cancel()
    with pytest.raises(AssertionError, match="cancelled, expected"):
        case.assert_job_failed(slow, "No space")


def test_images_are_equal_or_it_is_told_where_not(case: Case) -> None:
    one, other = (Image(case.env.test_dir / name, format="raw") for name in ("disk", "copy"))
    case.disk.io.write(3 * MIB, 1 * MIB, pattern=1)
    case.vm.stop()
    with pytest.raises(AssertionError, match=f"differ in content at byte {3 * MIB}"):
        case.assert_images_equal(one, other)
    case.assert_images_equal(one, one)


# -- the test's environment ---------------------------------------------------------------


def test_the_directories_are_gone_after_the_test(case: Case) -> None:
    folders = [case.env.test_dir, case.env.sock_dir]
    pid = case.vm.process.pid
    case.doCleanups()
    assert not any(folder.exists() for folder in folders)
    assert not Path(f"/proc/{pid}").exists()


def test_the_environment_is_what_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGFMT", "qcow2")
    monkeypatch.setenv("CACHEMODE", "none")
    case = Case()
    assert (case.env.imgfmt, case.env.cache_mode) == ("qcow2", "none")
    assert case.env.output_dir == case.env.test_dir
    case.doCleanups()
    monkeypatch.setenv("IMGFMT", "nonesuch")
    case = Case()
    with pytest.raises(UsageError, match="nonesuch"):
        case.env  # noqa: B018 - asked for
    case.doCleanups()


def test_a_skipped_case_is_told_to_the_runner(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["somewhere/123"])
    with pytest.raises(unittest.SkipTest, match="not today"):
        case.case_skip("not today")
    told = case.env.output_dir / "123.casenotrun"
    assert told.read_text() == "    [case not run] not today\n"


# -- what a failed test reports -----------------------------------------------------------


def reported(part: Callable[[], object], case: QMPTestCase) -> str:
    """What unittest says of a case in which this is done."""
    setattr(case, case._testMethodName, part)
    result = unittest.TestResult()
    case.run(result)
    assert len(result.failures + result.errors) == 1
    return (result.failures + result.errors)[0][1]


def test_a_subtest_reports_like_a_test() -> None:
    case = Case()

    def two_parts() -> None:
        with case.subTest(number=1):
            case.fail("the first")

    report = reported(two_parts, case)
    assert "AssertionError: the first\n---- " in report
    assert "disk [raw]" in report


def test_a_failing_setup_reports_like_a_test() -> None:
    class Unready(Case):
        def setUp(self) -> None:
            super().setUp()
            self.fail("not ready")

    report = reported(lambda: None, Unready())
    assert "AssertionError: not ready\n---- " in report


def test_a_test_without_a_qemu_reports_none() -> None:
    class Bare(QMPTestCase):
        def runTest(self) -> None: ...

    case = Bare()
    report = reported(lambda: case.fail("alone"), case)
    assert report.endswith("AssertionError: alone\n")
    assert "env" not in vars(case)


def test_a_failing_teardown_reports_like_a_test() -> None:
    class Untidy(Case):
        def tearDown(self) -> None:
            self.fail("untidy")

    report = reported(lambda: None, Untidy())
    assert "AssertionError: untidy\n---- " in report
    assert "disk [raw]" in report


@pytest.mark.parametrize("keep", ["1", ""])
def test_the_directory_of_a_failed_test_is_kept_on_request_only(
    keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP_FAILED", keep)
    failed, passed = Case(), Case()
    report = reported(lambda: failed.fail("look"), failed)
    passed.run(unittest.TestResult())
    kept, gone = failed.env.test_dir, passed.env.test_dir
    assert (f"---- kept: {kept}" in report) == kept.exists() == bool(keep)
    assert not gone.exists()
    if keep:
        assert {path.name for path in kept.iterdir()} == {"disk", "copy"}
        shutil.rmtree(kept)


def test_a_skipped_test_has_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()
    result = unittest.TestResult()
    monkeypatch.setattr(case, "runTest", lambda: case.skipTest("not today"))
    case.run(result)
    assert [reason for _, reason in result.skipped] == ["not today"]


def test_a_defect_of_the_test_itself_keeps_its_traceback() -> None:
    case = Case()
    report = reported(lambda: case.vm.qmp.execute_raw("x", {"y": object()}), case)
    assert "JSON" in report
    assert "qmp/session.py" not in report
    report = reported(lambda: int("x"), Case())
    assert "ValueError: invalid literal" in report


def run(script: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a suite as its user does, with nothing left behind."""
    with tempfile.TemporaryDirectory() as folder, nothing_left_behind(Path(folder)):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", str(script), *words],
            env={**os.environ, "TMPDIR": folder, "PYTHONPATH": str(ROOT), **environ},
            cwd=script.parent,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert list(Path(folder).iterdir()) == []
    return done


@pytest.mark.parametrize("imgfmt", ["raw", "qcow2", "luks"])
def test_the_example_passes_in_every_format(imgfmt: str) -> None:
    done = run(ROOT / "examples" / "unittest_suite.py", IMGFMT=imgfmt)
    assert done.returncode == 0, done.stderr
    skipped = "" if imgfmt == "qcow2" else r" \(skipped=1\)"
    assert re.search(rf"^Ran 8 tests(?s:.*)^OK{skipped}$", done.stderr, re.M), done.stderr


def shown_in(page: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of each report of the page, by the test that they are of."""
    for block in re.findall(r"```text\n(.*?)```", page, re.S):
        test = re.search(r"test_\w+", block)
        assert test is not None
        yield test[0], [line for line in block.splitlines() if line.strip() not in ("...", "")]


def test_five_failures_report_what_the_page_shows() -> None:
    done = run(ROOT / "tests" / "live" / "failing_case.py", UPDATE_GOLDEN="")
    assert "FAILED (failures=3, errors=2)" in done.stderr
    reports = {
        re.findall(r"test_\w+", one)[0]: one
        for one in re.split(r"^=+\n", done.stderr, flags=re.M)[1:]
    }
    shown = dict(shown_in((ROOT / "docs" / "unittest.md").read_text()))
    assert shown.keys() == reports.keys()
    for test, lines in shown.items():
        report = re.sub(r"#block\d+", "#block", re.sub(r"pid \d+", "pid PID", reports[test]))
        found = iter(report.splitlines())
        for line in lines:
            # Each further one below the one before it.
            assert any(line == one for one in found), f"{test}: {line!r} is not in\n{report}"
