"""Files of tests as programs: what they print, where, and their exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.testing.scripts import Scripts

RULE = "-" * 70

CASES = """
class Cases(unittest.TestCase):
    env = env

    def test_pass(self) -> None:
        pass

    @unittest.skip("for a reason")
    def test_skip(self) -> None:
        raise AssertionError

    @skips.skip_for_formats(["qcow2"])
    def test_format(self) -> None:
        raise AssertionError
"""
FAILING = """
class Failing(unittest.TestCase):
    def test_fail(self) -> None:
        self.fail("on purpose")
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """A folder of scripts."""
    return Scripts(tmp_path)


def test_cases_print_no_time_and_no_count_of_what_is_skipped(scripts: Scripts) -> None:
    done = scripts.run(f"{CASES}\nrunner.main(env=env, supported_fmts=['qcow2'])")
    assert done.returncode == 0
    assert done.stdout == f"...\n{RULE}\nRan 3 tests\n\nOK\n"
    assert done.stderr == ""


def test_a_single_case_is_counted_like_several(scripts: Scripts) -> None:
    done = scripts.run(f"{CASES}\nrunner.main(env=env)", "Cases.test_pass")
    assert done.stdout == f".\n{RULE}\nRan 1 tests\n\nOK\n"


def test_a_failure_is_shown_and_is_the_exit_status(scripts: Scripts) -> None:
    done = scripts.run(f"{FAILING}\nrunner.main(env=env)")
    assert done.returncode == 1
    assert done.stdout.startswith("F\n======")
    assert "AssertionError: on purpose" in done.stdout
    assert done.stdout.endswith(f"{RULE}\nRan 1 tests\n\nFAILED (failures=1)\n")


def test_with_d_the_cases_are_named(scripts: Scripts) -> None:
    done = scripts.run(f"{CASES}\nrunner.main(env=env)\n", "-d")
    assert done.stdout == (
        "test_format (__main__.Cases.test_format) ... skipped"
        " 'test_format (__main__.Cases.test_format): Skipped for format qcow2'\n"
        "test_pass (__main__.Cases.test_pass) ... ok\n"
        "test_skip (__main__.Cases.test_skip) ... skipped 'for a reason'\n"
        f"\n{RULE}\nRan 3 tests\n\nOK\n"
    )


def test_warnings_of_the_cases_do_not_show(scripts: Scripts) -> None:
    source = """
class Cases(unittest.TestCase):
    def test_leak(self) -> None:
        open("/dev/null")
"""
    done = scripts.run(f"{source}\nrunner.main(env=env)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("supported", "reason"),
    [
        ("supported_fmts=['raw']", "not suitable for this image format: qcow2"),
        ("unsupported_fmts=['qcow2']", "not suitable for this image format: qcow2"),
        ("supported_protocols=['nbd']", "not suitable for this protocol: file"),
        ("unsupported_protocols=['file']", "not suitable for this protocol: file"),
        ("supported_platforms=['win32']", "not suitable for this OS: linux"),
        ("supported_cache_modes=['writeback']", "not suitable for this cache mode: none"),
        ("supported_aio_modes=['threads']", "not suitable for this aio mode: native"),
        ("required_fmts=['vdi']", "formats ['vdi'] are not whitelisted"),
    ],
)
@pytest.mark.parametrize(
    "begin",
    [
        "runner.main(env=env, {})",
        "runner.script_main(lambda: print('it ran'), env=env, {})",
        "runner.script_initialize(env=env, {}); print('it ran')",
    ],
    ids=["main", "script_main", "script_initialize"],
)
def test_what_cannot_run_here_does_not(
    begin: str, supported: str, reason: str, scripts: Scripts
) -> None:
    done = scripts.run(f"{CASES}\n{begin.format(supported)}")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"WARNING:qemu.iotests:001 not run: {reason}\n"
    assert scripts.left() == {"001.notrun": f"{reason}\n"}


def test_a_qemu_without_virtio_blk_runs_nothing(tmp_path: Path) -> None:
    scripts = Scripts(tmp_path, qemu="")
    done = scripts.run(f"{CASES}\nrunner.main(env=env)")
    assert done.stdout == ""
    assert scripts.left() == {"001.notrun": "Missing virtio-blk in QEMU binary\n"}


@pytest.mark.parametrize(
    "begin",
    ["runner.script_initialize(env=env)\ntest()", "runner.script_main(test, env=env)"],
    ids=["initialize", "main"],
)
def test_a_script_logs_to_stdout(begin: str, scripts: Scripts) -> None:
    source = """
def test() -> None:
    log("one")
    print("two")
    log({"b": 1, "a": [None]})
"""
    done = scripts.run(f"{source}\n{begin}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 'one\ntwo\n{"a": [null], "b": 1}\n'


def test_a_script_logs_by_the_logger_that_it_names(scripts: Scripts) -> None:
    done = scripts.run(
        "import logging\n"
        "own = logging.getLogger('qemu.iotests.diff_io')\n"
        "runner.script_main(lambda: log('text', logger=own), env=env, logger=own)"
    )
    assert (done.stdout, done.stderr) == ("text\n", "")


def test_what_a_script_raises_is_its_end(scripts: Scripts) -> None:
    done = scripts.run("runner.script_main(lambda: 1 // 0, env=env)")
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: integer division or modulo by zero\n")


def test_the_d_is_taken_off_the_command_line(scripts: Scripts) -> None:
    done = scripts.run(
        "debug = runner.execute_setup_common(env=env)\nprint(debug, sys.argv[1:])", "-d", "x"
    )
    assert done.stdout == "True ['x']\n"
    assert "DEBUG" in done.stderr
