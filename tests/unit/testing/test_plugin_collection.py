"""What the pytest plugin does before a test runs: no QEMU is asked anything here."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from qemu_blocksdk.testing import pytest_plugin

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.timeout(30)

VARIABLES = (
    *("IMGFMT", "IMGPROTO", "CACHEMODE", "AIOMODE"),
    *("QEMU_PROG", "QEMU_IMG_PROG", "QEMU_IO_PROG", "QEMU_NBD_PROG", "QSD_PROG"),
)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is chosen, and whatever else is installed here is no part of these tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def session(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    """Run pytest with the short names, as most of these tests use them."""
    return plain_session(pytester, "-o", "blocksdk_short_names=true", *words)


def plain_session(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-rs", *words, plugins=[pytest_plugin]
    )


def test_a_matrix_is_run_by_what_stands_on_the_environment_only(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_env(test_env): pass
        def test_plain(): pass
    """.replace("def test_env(", "def test_its_env(")
    )
    options = ("--imgfmt", "qcow2", "--imgfmt", "raw", "--cache-mode", "none", "--imgfmt", "raw")
    found = session(pytester, *options, "--collect-only", "-q")
    assert [line for line in found.outlines if "::" in line] == [
        "test_a_matrix_is_run_by_what_stands_on_the_environment_only.py::test_its_env[qcow2]",
        "test_a_matrix_is_run_by_what_stands_on_the_environment_only.py::test_its_env[raw]",
        "test_a_matrix_is_run_by_what_stands_on_the_environment_only.py::test_plain",
    ]


def test_a_test_gets_its_environment_and_leaves_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import json, pathlib

        def test_one(test_env):
            assert test_env.imgfmt == "qcow2" and test_env.cache_mode == "none"
            assert test_env.test_dir.is_dir() and test_env.sock_dir.is_dir()
            assert len(str(test_env.sock_dir)) < 64
            paths = [str(test_env.test_dir), str(test_env.sock_dir)]
            pathlib.Path("paths").write_text(json.dumps(paths))

        def test_other(test_env):
            before = [pathlib.Path(path) for path in json.loads(pathlib.Path("paths").read_text())]
            assert test_env.test_dir not in before and test_env.sock_dir not in before
            assert not any(path.exists() for path in before)
    """
    )
    session(pytester, "--imgfmt=qcow2", "--cache-mode=none").assert_outcomes(passed=2)


@pytest.mark.parametrize("keep", [(), ("--keep-failed",)])
def test_the_directory_of_a_failed_test_is_kept_on_request_only(
    pytester: pytest.Pytester, keep: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        test_a="""
        def test_failed(test_env):
            (test_env.test_dir / "disk").touch()
            assert False

        def test_passed(test_env):
            (test_env.test_dir / "other").touch()
    """
    )
    done = session(pytester, *keep, f"--basetemp={pytester.path}/base")
    done.assert_outcomes(failed=1, passed=1)
    left = [path for path in pytester.path.rglob("test_dir/*") if path.is_file()]
    kept = pytester.path / "base" / "test_failed0" / "test_dir"
    assert left == ([kept / "disk"] if keep else [])
    assert (f"kept: {kept}" in done.stdout.str()) == bool(keep)


def test_markers_skip_with_their_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.mark.formats("qcow2", "luks")
        def test_a(): pass

        @pytest.mark.not_formats("raw")
        def test_b(): pass

        @pytest.mark.protocols("nbd")
        def test_c(test_env): pass

        @pytest.mark.platforms("win32")
        def test_d(): pass

        @pytest.mark.formats("raw")
        @pytest.mark.not_formats("luks")
        @pytest.mark.protocols("file", "nbd")
        @pytest.mark.platforms("linux")
        def test_e(): pass

        @pytest.mark.formats("raw")
        class TestAll:
            @pytest.mark.formats("qcow2")
            def test_f(self): pass
    """
    )
    done = session(pytester, "--strict-markers")
    done.assert_outcomes(skipped=5, passed=1)
    done.stdout.fnmatch_lines_random(
        [
            "SKIPPED * test_a.py:3: not for image format raw",
            "SKIPPED * test_a.py:6: not for image format raw",
            "SKIPPED * test_a.py:9: not for protocol file",
            "SKIPPED * test_a.py:12: not for platform linux",
        ]
    )


def test_markers_count_for_tests_of_unittest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import unittest
        import pytest

        @pytest.mark.formats("qcow2")
        class TestA(unittest.TestCase):
            def test_a(self): raise RuntimeError

        class TestB(unittest.TestCase):
            @pytest.mark.formats("qcow3")
            def test_b(self): raise RuntimeError
    """
    )
    done = session(pytester)
    done.assert_outcomes(skipped=1, errors=1)
    done.stdout.fnmatch_lines(["formats: 'qcow3' is none of *"])
    assert "RuntimeError" not in done.stdout.str()


@pytest.mark.parametrize(
    ("option", "reason"),
    [("--imgproto=nbd", "protocol nbd"), ("--imgfmt=bochs", "image format bochs")],
)
def test_where_no_image_can_be_made_its_tests_skip(
    pytester: pytest.Pytester, option: str, reason: str
) -> None:
    pytester.makepyfile(test_a="def test_a(image): pass")
    done = session(pytester, option)
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(f"SKIPPED * not for {reason}")


REFUSED = {
    "@pytest.mark.formats('qcow3')": "formats: 'qcow3' is none of bochs, *",
    "@pytest.mark.formats": "the marker formats takes names: formats('...')",
    "@pytest.mark.formats(fmt='raw')": "the marker formats takes names: formats('...')",
    "@pytest.mark.protocols(5)": "protocols: 5 is none of *",
    "@pytest.mark.requires('qcow2')": "the marker requires takes by keyword: driver, *",
    "@pytest.mark.requires()": "the marker requires takes by keyword: driver, *",
    "@pytest.mark.requires(drivers='x')": "the marker requires takes by keyword: driver, *",
    "@pytest.mark.requires(driver=5)": "driver: a name is wanted, not 5",
    "@pytest.mark.requires(member='speed')": "member: 'speed' has no command: write *",
    "@pytest.mark.requires(command='blockdev-mirorr')": (
        "command: no known QEMU has 'blockdev-mirorr'; did you mean 'blockdev-mirror'[?]"
    ),
    "@pytest.mark.requires(driver='qcow3')": "driver: no known QEMU has 'qcow3'; did you *",
    "@pytest.mark.requires(driver='discard')": "driver: no known QEMU has 'discard'*",
    "@pytest.mark.requires(event='BLOCK_JOB_REDY')": (
        "event: no known QEMU has 'BLOCK_JOB_REDY'; did you mean 'BLOCK_JOB_READY'[?]"
    ),
    "@pytest.mark.requires(member='blockdev-backup.discard-sorce')": (
        "member: no known QEMU has 'blockdev-backup.discard-sorce';"
        " did you mean 'blockdev-backup.discard-source'[?]"
    ),
    "@pytest.mark.requires(member='blockdev-bakup.speed')": (
        "member: no known QEMU has 'blockdev-bakup.speed'; did you mean 'blockdev-backup'[?]"
    ),
    "@pytest.mark.requires(command='zzz')": "command: no known QEMU has 'zzz'",
    "@pytest.mark.requires(accelerator='xen')": "accelerator: 'xen' is none of *",
    "@pytest.mark.requires(luks='yes')": "luks is True or False, not 'yes'",
}


@pytest.mark.parametrize("mark", REFUSED)
def test_a_marker_that_makes_no_sense_is_refused_at_collection(
    pytester: pytest.Pytester, mark: str
) -> None:
    pytester.makepyfile(test_a=f"import pytest\n{mark}\ndef test_a(): pass")
    done = session(pytester)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    at = next(n for n, line in enumerate(done.outlines) if "ERROR collecting" in line)
    assert done.outlines[at + 2].startswith("!!!!")  # one line, and no traceback
    done.stdout.fnmatch_lines([REFUSED[mark]])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--imgfmt=qcow3",), "ERROR: image format: 'qcow3' is none of *"),
        (("--qemu=nowhere",), "ERROR: --blocksdk-qemu: there is no program *nowhere"),
        (
            ("--aio-mode=native", "--cache-mode=writeback"),
            "ERROR: aio mode native needs cache mode none or directsync, not writeback",
        ),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_sentence(
    pytester: pytest.Pytester, words: tuple[str, ...], sentence: str
) -> None:
    pytester.makepyfile(test_a="def test_a(): pass")
    done = session(pytester, *words)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert len(list(filter(None, done.errlines))) == 1
    done.stderr.fnmatch_lines([sentence])


def test_a_program_that_a_test_needs_is_missed_at_collection(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEMU_IMG_PROG", "/nowhere/qemu-img")
    monkeypatch.setenv("QSD_PROG", "/nowhere/qsd")
    pytester.makepyfile(test_a="def test_a(image, storage_daemon): pass", test_b="def test_b(): 1")
    done = session(pytester)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.re_match_lines([r"no program '/nowhere/q.*'; no program '/nowhere/q.*'$"])
    # Who does not need it is not bothered.
    session(pytester, "test_b.py").assert_outcomes(passed=1)


def test_a_directory_without_room_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a="def test_a(test_env): pass")
    done = session(pytester, "--basetemp=/proc/tests")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["/proc has room for 0.0 MiB, and tests need 16 MiB"])


def test_sockets_do_not_need_a_temporary_directory_with_a_short_name(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(pytester.mkdir("x" * 200)))
    pytester.makepyfile(test_a="def test_a(test_env): assert len(str(test_env.sock_dir)) < 60")
    session(pytester).assert_outcomes(passed=1)


def test_a_golden_file_that_is_a_directory_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a="class TestA:\n    def test_a(self, golden): pass")
    pytester.mkdir("test_a.TestA.test_a.out")
    done = session(pytester)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["the golden file *test_a.TestA.test_a.out is a directory"])


def test_a_long_report_ends_in_the_line_of_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import contextlib
        from qemu_blocksdk.errors import UsageError
        from qemu_blocksdk.testing import TestEnv

        def test_enter():
            with TestEnv.temporary(imgfmt="qcow3"):
                pass

        @contextlib.contextmanager
        def mine():
            with TestEnv.temporary(imgfmt="qcow4") as env:
                yield env

        def test_nested():
            with contextlib.ExitStack() as stack:
                stack.enter_context(mine())
        """
    )
    done = session(pytester, "--tb=long")
    done.assert_outcomes(failed=2)
    text = done.stdout.str()
    ends = [line for line in done.outlines if line.endswith(": UsageError")]
    assert ends == ["test_a.py:6: UsageError", "test_a.py:11: UsageError"]
    first, second = text.split("_ test_nested _")
    assert "contextlib.py" not in first
    assert "stack.enter_context(mine())" in second
    assert "qemu_blocksdk/testing" not in text
    assert "qemu_blocksdk/testing" in session(pytester, "--full-trace").stdout.str()


def test_options_markers_and_fixtures_are_explained(pytester: pytest.Pytester) -> None:
    options = session(pytester, "--help").stdout.str()
    for option in ("--qemu", "--imgfmt", "--imgproto", "--cache-mode", "--aio-mode"):
        assert f"{option}=X" in options
    markers = session(pytester, "--markers")
    markers.stdout.fnmatch_lines(["@pytest.mark.formats(name, ...): the image formats that *"])
    fixtures = session(pytester, "--fixtures").stdout.str()
    for name in (
        *(
            "toolchain",
            "test_env",
            "image",
            "add_image",
            "storage_daemon",
            "storage_daemon_factory",
        ),
        *("vm", "vm_factory", "nbd_server", "qmp_log", "golden", "async_vm"),
    ):
        assert f"\n{name} -- " in fixtures


def test_a_session_that_does_not_use_it_loads_nothing_of_qemu() -> None:
    plugin = pytest_plugin.__name__
    program = f"import sys, {plugin}\nprint(*(n for n in sys.modules if n.startswith('qemu')))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert set(loaded) == {
        "qemu_blocksdk",
        "qemu_blocksdk.errors",
        "qemu_blocksdk.lazy",
        "qemu_blocksdk.redaction",
        "qemu_blocksdk.testing",
        "qemu_blocksdk.testing.fixtures",
        "qemu_blocksdk.testing.short_fixtures",
        "qemu_blocksdk.testing.switches",
        "qemu_blocksdk.terminal",
        plugin,
    }
