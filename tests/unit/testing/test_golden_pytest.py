"""Golden files in pytest: a session of its own, with the plugin, for each test here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.timeout(30)

TEST = """
    import pytest

    class TestDisk:
        @pytest.mark.parametrize("fmt", ["qcow2", "a/b"])
        def test_create(self, golden, fmt):
            golden.check(f"{fmt}\\n")

    def test_both(golden):
        golden.check("1\\n")
        golden.check("2\\n", name="second", fmt="raw")
"""


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("UPDATE_GOLDEN", raising=False)
    # Whatever else is installed here is no part of these tests.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def session(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    """Run pytest in a process of its own, as a user does."""
    plugin = "qemu_blocksdk.testing.pytest_plugin"
    names = ("-o", "blocksdk_short_names=true")
    return pytester.runpytest_subprocess("-p", plugin, "-p", "no:cacheprovider", *names, *words)


def golden_files(pytester: pytest.Pytester) -> dict[str, str]:
    return {path.name: path.read_text() for path in pytester.path.glob("*.out")}


def test_a_session_fails_without_files_updates_them_and_then_passes(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_disk=TEST)
    missing = session(pytester)
    missing.assert_outcomes(failed=3)
    missing.stdout.fnmatch_lines(
        ["*no golden file *test_both.out: *pytest --blocksdk-update-golden, makes*"]
    )
    assert golden_files(pytester) == {}

    session(pytester, "--update-golden").assert_outcomes(passed=3)
    files = golden_files(pytester)
    (odd,) = (name for name in files if "~" in name)
    assert files == {
        "test_disk.TestDisk.test_create-qcow2.out": "qcow2\n",
        odd: "a/b\n",
        "test_disk.test_both.out": "1\n",
        "test_disk.test_both+second.out": "2\n",
    }
    session(pytester).assert_outcomes(passed=3)


def test_a_difference_is_shown_and_updated_only_on_request(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_disk="def test_a(golden): golden.check('1\\n')")
    (pytester.path / "test_disk.test_a.out").write_text("0\n")
    different = session(pytester)
    different.assert_outcomes(failed=1)
    different.stdout.fnmatch_lines(["*--- golden", "*+++ found", "*-0", "*+1"])
    assert golden_files(pytester) == {"test_disk.test_a.out": "0\n"}
    session(pytester, "--update-golden").assert_outcomes(passed=1)
    assert golden_files(pytester) == {"test_disk.test_a.out": "1\n"}


def test_the_files_are_beside_the_test_wherever_pytest_runs(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("tests")
    (folder / "test_disk.py").write_text("def test_a(golden): golden.check('1')")
    pytester.chdir()
    session(pytester, "--update-golden", "--rootdir", str(folder)).assert_outcomes(passed=1)
    assert (folder / "test_disk.test_a.out").read_text() == "1"


def test_a_test_of_unittest_is_updated_like_others(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        test_disk="""
        import unittest
        from qemu_blocksdk.testing import WithGolden

        class TestDisk(WithGolden, unittest.TestCase):
            def test_a(self):
                self.golden.check("1")

        def test_b(golden):
            golden.check("2")
        """
    )
    files = {"test_disk.TestDisk.test_a.out": "1", "test_disk.test_b.out": "2"}
    session(pytester, "--update-golden").assert_outcomes(passed=2)
    assert golden_files(pytester) == files
    session(pytester).assert_outcomes(passed=2)
    for path in pytester.path.glob("*.out"):
        path.unlink()
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    session(pytester).assert_outcomes(passed=2)
    assert golden_files(pytester) == files


def test_the_option_ends_with_its_session(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_disk="def test_a(golden): golden.check('1')")
    plugin = ("-p", "qemu_blocksdk.testing.pytest_plugin", "-p", "no:cacheprovider")
    pytester.runpytest_inprocess(
        *plugin, "-o", "blocksdk_short_names=true", "--update-golden"
    ).assert_outcomes(passed=1)
    assert "UPDATE_GOLDEN" not in os.environ


def test_ci_refuses_to_update(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(test_disk="def test_a(golden): golden.check('1')")
    refused = session(pytester, "--update-golden")
    refused.assert_outcomes(failed=1)
    refused.stdout.fnmatch_lines(["*not updated where CI is set*"])
    assert golden_files(pytester) == {}


def test_the_option_is_explained(pytester: pytest.Pytester) -> None:
    session(pytester, "--help").stdout.fnmatch_lines(
        ["*--blocksdk-update-golden*", "*golden files*"]
    )


def test_nothing_but_the_plugin_loads_pytest() -> None:
    program = "import sys, qemu_blocksdk.testing; print('pytest' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
