"""The plugin beside other people's: nothing of ours is in the way of their names."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.timeout(60)

OURS = "qemu_blocksdk.testing.pytest_plugin"
NAMES = (
    *("golden", "test_env", "toolchain", "image", "add_image", "async_image", "async_add_image"),
    *("vm_factory", "vm", "storage_daemon_factory", "storage_daemon", "nbd_server", "async_vm"),
    *("async_storage_daemon", "async_nbd_server", "qmp_log"),
)
THEIRS = """
    import pytest

    def pytest_addoption(parser):
        for name in ("qemu", "imgfmt", "imgproto", "cache-mode", "aio-mode"):
            parser.addoption(f"--{name}", default="theirs")
        parser.addoption("--keep-failed", action="store_true")
        parser.addoption("--update-golden", action="store_true")

    def pytest_configure(config):
        for name in ("requires", "formats", "not_formats", "protocols", "platforms"):
            config.addinivalue_line("markers", f"{name}(anything): theirs")

    def pytest_runtest_setup(item):
        if (mark := item.get_closest_marker("requires")) and "nothing" in mark.args:
            pytest.skip("by their marker")
""" + "".join(
    f"""
    @pytest.fixture
    def {name}():
        return "their {name}"
"""
    for name in NAMES
)
SUITE = f"""
    import pytest

    @pytest.mark.requires("a database", "anything")
    @pytest.mark.formats(json=True)
    @pytest.mark.not_formats
    @pytest.mark.protocols("http")
    @pytest.mark.platforms("moon")
    def test_markers(): pass

    @pytest.mark.requires("nothing")
    def test_their_marker_skips(): raise RuntimeError

    def test_fixtures({", ".join(NAMES)}):
        assert [{", ".join(NAMES)}] == [f"their {{name}}" for name in {NAMES!r}]

    def test_options(pytestconfig):
        assert pytestconfig.getoption("--qemu") == "their qemu"
        assert pytestconfig.getoption("--imgfmt") == "theirs"
        assert pytestconfig.getoption("--keep-failed")
        assert pytestconfig.getoption("--update-golden")

    @pytest.mark.blocksdk_formats("raw")
    @pytest.mark.blocksdk_requires(root=None, driver="file")
    def test_both(blocksdk_golden, blocksdk_test_env, golden):
        assert golden == "their golden"
        assert blocksdk_test_env.imgfmt == "raw"

    @pytest.mark.blocksdk_formats("qcow2")
    def test_ours_skips(): raise RuntimeError
"""
OPTIONS = ("--qemu=their qemu", "--keep-failed", "--update-golden", "--strict-markers", "-rs")
STRICT = ("-W", "error", "--strict-config", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def only_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("CI", "IMGFMT", "UPDATE_GOLDEN", "KEEP_FAILED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["ours first", "theirs first", "conftest", "xdist"])
def plugins(request: pytest.FixtureRequest, pytester: pytest.Pytester) -> tuple[str, ...]:
    """Their plugin and ours, loaded in each order."""
    order: str = request.param
    if order in ("conftest", "xdist"):
        pytester.makeconftest(THEIRS)
        return ("-p", OURS, *(("-p", "xdist", "-n", "2") if order == "xdist" else ()))
    pytester.makepyfile(their_plugin=THEIRS)
    pytester.syspathinsert()
    names = (OURS, "their_plugin") if order == "ours first" else ("their_plugin", OURS)
    return tuple(word for name in names for word in ("-p", name))


def test_a_suite_with_names_like_ours_runs_as_without_us(
    pytester: pytest.Pytester, plugins: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_a=SUITE)
    done = pytester.runpytest_subprocess(*STRICT, *plugins, *OPTIONS)
    done.assert_outcomes(passed=4, skipped=2)
    done.stdout.fnmatch_lines_random(
        ["SKIPPED * by their marker", "SKIPPED * not for image format raw"]
    )


def test_a_suite_runs_without_our_plugin(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the entry point, as our plugin is loaded where the package is installed."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    pytester.makeconftest(THEIRS)
    pytester.makepyfile(
        test_a="""
        def test_plugin(pytestconfig):
            assert not pytestconfig.pluginmanager.has_plugin(
                "qemu_blocksdk.testing.pytest_plugin"
            )
            assert not pytestconfig.pluginmanager.has_plugin("qemu_blocksdk.testing.fixtures")

        def test_vm(vm):
            assert vm == "their vm"
        """
    )
    done = pytester.runpytest_subprocess("-p", f"no:{OURS}", "-p", "no:asyncio")
    done.assert_outcomes(passed=2)
    helped = pytester.runpytest_subprocess("-p", f"no:{OURS}", "--help").stdout.str()
    assert "blocksdk" not in helped
    assert "--blocksdk-qemu" in pytester.runpytest_subprocess("--help").stdout.str()


def test_a_failure_is_reported_without_the_plugin_that_prints(pytester: pytest.Pytester) -> None:
    """That plugin has the option ``--full-trace``."""
    pytester.makepyfile(test_a="def test_a(): assert False")
    pytester.makeconftest(
        """
        def pytest_runtest_logreport(report):
            if report.failed:
                print("failed:", report.longrepr.reprcrash.message)
        """
    )
    done = pytester.runpytest_subprocess(*STRICT, "-p", "no:terminal", "-s", "-p", OURS)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["failed: assert False"])
    assert "INTERNALERROR" not in done.stdout.str() + done.stderr.str()


def test_short_names_are_off_unless_the_ini_file_has_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a="def test_a(test_env): pass")
    loaded = (*STRICT, "-p", OURS)
    pytester.runpytest_subprocess(*loaded).assert_outcomes(errors=1)
    done = pytester.runpytest_subprocess(*loaded, "--imgfmt=raw")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    pytester.makeini("[pytest]\nblocksdk_short_names = true\naddopts = --imgfmt=qcow2")
    pytester.runpytest_subprocess(*loaded).assert_outcomes(passed=1)


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")])
def test_short_and_long_names_are_the_same(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    pytester.makeini("[pytest]\nblocksdk_short_names = true")
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.mark.formats("raw", "qcow2")
        @pytest.mark.blocksdk_not_formats("qcow2")
        def test_a(test_env, blocksdk_test_env):
            assert test_env is blocksdk_test_env and test_env.cache_mode == "none"
        """
    )
    formats = ("--imgfmt=raw", "--blocksdk-imgfmt=qcow2", "--blocksdk-cache-mode=none")
    done = pytester.runpytest_subprocess(
        *STRICT, "-p", OURS, *workers, "--strict-markers", *formats, "-rs"
    )
    done.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("name", ["test_env", "blocksdk_test_env"])
def test_an_override_of_the_environment_counts_for_all_fixtures(
    pytester: pytest.Pytester, name: str
) -> None:
    pytester.makeini("[pytest]\nblocksdk_short_names = true")
    pytester.makepyfile(
        test_a=f"""
        import pytest
        from qemu_blocksdk.tools import Programs

        @pytest.fixture
        def {name}({name}):
            return {name}.evolve(programs=Programs(qemu_img=("mine",)))

        def test_a(toolchain, blocksdk_toolchain):
            for each in (toolchain, blocksdk_toolchain):
                assert each.programs.qemu_img == ("mine",)
        """
    )
    pytester.runpytest_subprocess(*STRICT, "-p", OURS).assert_outcomes(passed=1)
