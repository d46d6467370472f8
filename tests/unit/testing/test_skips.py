"""Cases that are skipped: by a list, by a function of the case, by the format, for root."""

from __future__ import annotations

import io
import os
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.skips import (
    skip_for_formats,
    skip_if_unsupported,
    skip_if_user_is_root,
)
from qemu_blocksdk.tools import Programs
from tests.unit.testing.scripts import Scripts

ran = list[str]()


def wanted_by(case: Cases) -> Sequence[str]:
    """The formats that a case wants."""
    return case.wanted


class Cases(unittest.TestCase):
    """Cases of each kind; ``env`` is set by the tests."""

    __test__ = False  # they are run here
    env: TestEnv
    wanted: Sequence[str] = ("raw",)

    @skip_if_unsupported(["raw", "vdi", "vmdk"])
    def test_list(self) -> None:
        """It says so."""
        ran.append("list")

    @skip_if_unsupported(wanted_by)
    def test_function(self) -> None:
        ran.append("function")

    @skip_if_unsupported(["bochs"], read_only=True)
    def test_read_only(self) -> None:
        ran.append("read_only")

    @skip_for_formats(["raw", "qcow2"])
    def test_format(self) -> None:
        ran.append("format")

    @skip_if_user_is_root
    def test_user(self) -> None:
        ran.append("user")


class NoEnv(unittest.TestCase):
    """A case without an environment."""

    __test__ = False

    @skip_for_formats(["raw"])
    def test_format(self) -> None:
        """Never run."""


@pytest.fixture
def env(tmp_path: Path) -> Iterator[TestEnv]:
    """The environment of the cases, with programs that answer."""
    scripts = Scripts(tmp_path)
    ran.clear()
    Cases.env = TestEnv(
        test_dir=tmp_path,
        sock_dir=tmp_path,
        output_dir=scripts.output,
        imgfmt="qcow2",
        programs=Programs(qemu=(str(tmp_path / "qemu"),)),
    )
    yield Cases.env
    del Cases.env


def result(name: str, cases: type[unittest.TestCase] = Cases) -> unittest.TestResult:
    """Run one case."""
    runner = unittest.TextTestRunner(stream=io.StringIO())
    return runner.run(cases(name))


def told(env: TestEnv) -> str:
    """What the runner was told."""
    return "".join(path.read_text() for path in env.output_dir.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_list", "formats ['vdi', 'vmdk'] are not whitelisted"),
        ("test_format", "Skipped for format qcow2"),
    ],
)
def test_a_case_is_skipped_and_the_runner_is_told(name: str, reason: str, env: TestEnv) -> None:
    found = result(name)
    [(case, why)] = found.skipped
    assert why == f"{case}: {reason}"
    assert told(env) == f"    [case not run] {case}: {reason}\n"
    assert ran == []
    assert found.wasSuccessful()


@pytest.mark.parametrize("name", ["test_function", "test_read_only"])
def test_a_case_that_can_run_does(name: str, env: TestEnv) -> None:
    found = result(name)
    assert (found.testsRun, found.skipped, found.errors) == (1, [], [])
    assert ran == [name.removeprefix("test_")]
    assert told(env) == ""


def test_another_format_is_not_skipped(env: TestEnv) -> None:
    Cases.env = env.evolve(imgfmt="vdi")
    assert result("test_format").skipped == []
    assert ran == ["format"]


@pytest.mark.usefixtures("env")
def test_a_function_of_the_case_is_asked_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cases, "wanted", ("raw", "cloop"))
    [(_, why)] = result("test_function").skipped
    assert why.endswith("formats ['cloop'] are not whitelisted")
    assert ran == []


def test_root_is_left_out_which_passes(env: TestEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    found = result("test_user")
    assert (found.wasSuccessful(), found.skipped, ran) == (True, [], [])
    assert told(env).endswith("Cases.test_user): cannot be run as root\n")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    result("test_user")
    assert ran == ["user"]


def test_an_environment_that_is_given_wins_over_the_cases(env: TestEnv) -> None:
    calls = list[str]()

    @skip_for_formats(["luks"], env=env.evolve(imgfmt="luks"))
    def function(_: Cases) -> None:
        calls.append("ran")

    with pytest.raises(unittest.SkipTest, match="Skipped for format luks"):
        function(Cases("test_list"))
    assert calls == []


def test_functions_keep_their_name_documentation_and_result(env: TestEnv) -> None:
    assert Cases.test_list.__name__ == "test_list"
    assert Cases.test_list.__doc__ == "It says so."
    assert unittest.TestLoader().getTestCaseNames(Cases) == [
        "test_format",
        "test_function",
        "test_list",
        "test_read_only",
        "test_user",
    ]

    @skip_for_formats()
    def add(_: Cases, one: int, *, two: int) -> int:
        return one + two

    assert add(Cases("test_list"), 1, two=2) == 3


def test_a_case_without_an_environment_is_an_error_that_says_so() -> None:
    [(_, trace)] = result("test_format", NoEnv).errors
    assert UsageError.__name__ in trace
    assert "has no TestEnv: neither as its env, nor given to the decorator" in trace


def test_nothing_required_asks_nobody(env: TestEnv, tmp_path: Path) -> None:
    @skip_if_unsupported()
    def function(_: Cases) -> str:
        return "ran"

    assert function(Cases("test_list")) == "ran"
    assert not (tmp_path / "launches").exists()
