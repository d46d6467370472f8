"""unittest's base class for coroutines on a real QEMU: its objects, and what a failure reports."""

from __future__ import annotations

import unittest
from pathlib import Path

import pytest

from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.testing import AsyncQMPTestCase
from tests.live.helpers import nothing_left_behind

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20


class Case(AsyncQMPTestCase):
    """A VM with a disk; the tests below run what is here by its name."""

    __test__ = False

    async def asyncSetUp(self) -> None:
        self.vm = await self.launch_vm()
        image = await self.images.create("disk", 16 * MIB)
        self.disk = await self.images.add(self.vm, image, node_name="disk")

    async def backup(self) -> None:
        daemon = await self.launch_storage_daemon()
        image = await self.images.create("copy", 16 * MIB)
        server = await self.launch_nbd_server(await self.images.create("far", MIB))
        assert (await AsyncImage.at_uri(server.uri).info()).virtual_size == MIB
        await (await self.images.add(daemon, image, node_name="copy")).delete()
        target = await self.images.add(self.vm, image, node_name="copy")
        job = await self.disk.start_backup(target)
        assert (await job.run(timeout=30)).outcome == "completed"
        self.assert_qmp({"return": await self.vm.qmp.execute_raw("query-jobs")}, "return", [])
        assert self.env.imgfmt == image.format
        self.pids = [each.process.pid for each in (self.vm, daemon, server)]

    async def fails(self) -> None:
        await self.vm.qmp.execute_raw("burn")

    async def fails_twice(self) -> None:
        for number in range(2):
            with self.subTest(number=number):
                self.fail("a part")

    async def passes(self) -> None:
        assert self.vm.is_running


class Unready(Case):
    """One that fails before its test begins."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.fail("not ready")


class Untidy(Case):
    """One that fails after its test."""

    async def asyncTearDown(self) -> None:
        self.fail("untidy")


def run(case: Case) -> list[str]:
    """Run a test; return the reports of its failures."""
    result = unittest.TestResult()
    with nothing_left_behind():
        case.run(result)
    assert result.testsRun == 1
    return [report for _, report in result.failures + result.errors]


@pytest.mark.parametrize("imgfmt", ["raw", "qcow2", "luks"])
def test_coroutines_have_images_and_programs_that_end_with_the_test(
    imgfmt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGFMT", imgfmt)
    case = Case("backup")
    assert run(case) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in case.pids)
    assert not case.env.test_dir.exists()


@pytest.mark.parametrize(
    ("case", "error"),
    [
        (Case("fails"), "CommandError: burn: "),
        (Unready("passes"), "AssertionError: not ready"),
        (Untidy("passes"), "AssertionError: untidy"),
    ],
    ids=["test", "setup", "teardown"],
)
def test_a_failure_reports_the_qemus_as_they_run(case: Case, error: str) -> None:
    (report,) = run(case)
    _, _, told = report.partition(error)
    for line in ("---- qemu-system-x86_64: runs (pid ", "  disk [raw]\n", "  <- greeting of QEMU "):
        assert told.count(line) == 1, report
    assert "qmp/session.py" not in report


def test_each_part_of_a_test_that_fails_is_told() -> None:
    assert [report.splitlines()[-1] for report in run(Case("fails_twice"))] == [
        "AssertionError: a part"
    ] * 2
