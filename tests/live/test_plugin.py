"""The fixtures of the pytest plugin with real QEMUs: sessions of pytest of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Toolchain
from qemu_blocksdk.schema import snapshots
from tests.live.helpers import ROOT, wait_until, with_mark

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.timeout(60)

PLUGINS = ("-p", "no:cacheprovider", "-p", "qemu_blocksdk.testing.pytest_plugin", "-rs")
NAMES = ("-o", "blocksdk_short_names=true")


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> Iterator[Path]:
    """The session's own temporary directory, in which nothing is to be left."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)
        wait_until(lambda: list(Path(folder).glob("blocksdk-*")) == [], what="nothing left")
        # pytester's sessions have their tmp_path below its own.
        wait_until(
            lambda: (
                not any(
                    "test_dir" in names
                    for place in (folder, pytester.path)
                    for _, names, _ in os.walk(place)
                )
            ),
            what="no images left",
        )
        assert with_mark(folder) == set()


def session(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*PLUGINS, *NAMES, *words)


def test_each_fixture_gives_what_its_type_says(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import asyncio
        from qemu_blocksdk import VM, Image, NbdServer, Node, StorageDaemon, Toolchain
        from qemu_blocksdk.aio import AsyncImage, AsyncNbdServer, AsyncNode
        from qemu_blocksdk.aio import AsyncStorageDaemon, AsyncVM
        from qemu_blocksdk.testing import Golden, QmpLog, TestEnv, lost_server

        def test_ready(vm, storage_daemon, toolchain, test_env, qmp_log, golden):
            assert isinstance(vm, VM) and vm.is_running
            assert isinstance(storage_daemon, StorageDaemon) and storage_daemon.is_running
            assert isinstance(toolchain, Toolchain) and toolchain.programs == test_env.programs
            assert isinstance(test_env, TestEnv) and isinstance(qmp_log, QmpLog)
            assert isinstance(golden, Golden)

        def test_factories(vm_factory, storage_daemon_factory, image, nbd_server, add_image):
            one, two = vm_factory(), vm_factory(args=("-name", "second"))
            assert one.process.pid != two.process.pid and "second" in two.process.argv
            disk = image("disk", "1M")
            assert isinstance(disk, Image) and disk.info().virtual_size == 1 << 20
            daemon = storage_daemon_factory()
            node = add_image(daemon, disk, node_name="disk")
            assert isinstance(node, Node)
            assert node.query_info().cache.direct and not node.query_info().cache.no_flush
            server = nbd_server(image("other", "1M"))
            assert isinstance(server, NbdServer)
            assert Image.at_uri(server.uri).info().virtual_size == 1 << 20
            with lost_server(server):
                assert not server.is_running

        def test_twins(
            async_vm, async_storage_daemon, async_nbd_server, async_image, async_add_image
        ):
            async def main():
                disk = await async_image("disk", "1M")
                async with async_nbd_server(disk) as server:
                    assert isinstance(server, AsyncNbdServer)
                    assert (await AsyncImage.at_uri(server.uri).info()).virtual_size == 1 << 20
                async with async_vm() as vm:
                    node = await async_add_image(vm, disk, node_name="disk")
                    assert isinstance(disk, AsyncImage) and isinstance(node, AsyncNode)
                async with async_vm() as vm, async_storage_daemon() as daemon:
                    assert isinstance(vm, AsyncVM) and isinstance(daemon, AsyncStorageDaemon)
                    assert vm.is_running and await daemon.query_jobs() == []
                assert not vm.is_running

            asyncio.run(main())
    """
    )
    session(pytester, "--imgfmt=qcow2", "--cache-mode=none").assert_outcomes(passed=3)


def test_a_folder_that_is_there_is_not_removed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import shutil
        import pytest

        @pytest.fixture
        def mine(tmp_path):
            place = tmp_path / "test_dir"
            place.mkdir()
            (place / "file").write_text("mine")
            yield
            assert (place / "file").read_text() == "mine"
            shutil.rmtree(place)

        def test_a(mine, test_env): pass
        """
    )
    done = session(pytester)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines("*FileExistsError*test_dir*")


def test_the_log_has_what_the_test_said_without_what_differs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        def test_log(vm, image, add_image, qmp_log):
            node = add_image(vm, image("disk", "1M"), node_name="disk")
            node.delete()
            assert "execute" in qmp_log.lines()[0] and "blockdev-add" in qmp_log.lines()[0]
            assert '"TEST_DIR/disk"' in qmp_log.text() and '"IMGFMT"' in qmp_log.text()
            assert len(qmp_log.lines()) == 4
            qmp_log.clear()
            assert qmp_log.text() == ""

        def test_two(vm_factory, qmp_log):
            vm_factory().qmp.execute_raw("query-status")
            vm_factory().qmp.execute_raw("query-jobs")
            assert [line for line in qmp_log.lines() if "execute" in line] == [
                '{"execute": "query-status"}', '{"execute": "query-jobs"}'
            ]
    """
    )
    session(pytester, "--imgfmt=qcow2").assert_outcomes(passed=2)


def test_a_test_that_cannot_run_is_skipped_as_the_binary_says(pytester: pytest.Pytester) -> None:
    here = Toolchain().query_schema()
    known = [snapshots.load(name) for name in snapshots.available()]
    absent = next(
        name
        for schema in known
        for name in schema
        if schema.has_command(name) and not here.has_command(name)
    )
    pytester.makepyfile(
        test_a=f"""
        import pytest

        @pytest.mark.requires(driver="qcow2", command="blockdev-mirror", accelerator="tcg")
        @pytest.mark.requires(event="JOB_STATUS_CHANGE", member="blockdev-mirror.copy-mode")
        def test_a(): pass

        @pytest.mark.requires(command="{absent}")
        def test_b(vm): pass
    """
    )
    done = session(pytester)
    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines_random(
        [f"SKIPPED * test_a.py:7: qemu-system-x86_64 has no command '{absent}' (known to *"]
    )


def test_a_name_that_only_this_qemu_has_is_no_mistake(pytester: pytest.Pytester) -> None:
    """The conftest stands for a QEMU that is newer than all snapshots."""
    pytester.makeconftest(
        """
        from qemu_blocksdk.schema import snapshots

        snapshots.available = tuple
        """
    )
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.mark.requires(command="blockdev-mirror")
        def test_a(): pass
    """
    )
    session(pytester).assert_outcomes(passed=1)


JOBS = """
    def test_jobs(storage_daemon, image, add_image, qmp_log, golden):
        source = add_image(storage_daemon, image("disk", "1M"), node_name="source")
        target = add_image(storage_daemon, image("copy", "1M"), node_name="target")
        qmp_log.clear()
        for name, start in {"backup": source.start_backup, "mirror": source.start_mirror}.items():
            job = start(target)
            job.run(timeout=20)
            golden.check(qmp_log.text(events=False) + f"{job.id}\\n", name=name)
"""


def test_a_golden_file_of_typed_jobs_passes_again(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(test_a=JOBS)
    session(pytester, "--update-golden").assert_outcomes(passed=1)
    for name, count in (("backup", 1), ("mirror", 2)):
        text = (pytester.path / f"test_a.test_jobs+{name}.out").read_text()
        assert f"blocksdk-ID{count}" in text
        assert f"blocksdk-ID{count + 1}" not in text
    for _ in range(2):
        session(pytester).assert_outcomes(passed=1)


def test_qemus_of_several_places_make_a_matrix(
    pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    places = [tmp_path_factory.mktemp("q") for _ in range(2)]
    for place in places:
        for name in ("qemu-storage-daemon", "qemu-img"):
            (place / name).write_text(f'#!/bin/sh\nexec {name} "$@"\n')
            (place / name).chmod(0o755)
    pytester.makepyfile(
        test_a="""
        def test_a(storage_daemon):
            print(storage_daemon.process.argv[0])
    """
    )
    done = session(pytester, *(f"--qemu={place}" for place in places), "-rP", "-v")
    done.assert_outcomes(passed=2)
    for place in places:
        done.stdout.fnmatch_lines_random(
            [f"test_a.py::test_a?{place.name}? PASSED*", f"{place}/qemu-storage-daemon"]
        )


def test_a_program_that_is_no_qemu_is_told_in_a_sentence(
    pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("q") / "qemu-storage-daemon"
    place.write_text("#!/bin/sh\necho qemu: out of order\nexit 3\n")
    place.chmod(0o755)
    pytester.makepyfile(
        test_a="""
        def test_fixture(storage_daemon): pass
        def test_factory(storage_daemon_factory):
            storage_daemon_factory()
    """
    )
    done = session(pytester, f"--qemu={place.parent}")
    done.assert_outcomes(failed=1, errors=1)
    done.stdout.fnmatch_lines(
        [
            "*_ ERROR at setup of test_fixture _*",
            f"{place} ended before it was ready (exit status 3): qemu: out of order",
            f"command line: {place} --chardev *",
            "*_ test_factory _*",
            ">       storage_daemon_factory()",
            f"E       *LaunchError: {place} ended before it was ready *",
        ]
    )


def test_an_image_has_a_name_in_the_tests_directory(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import pytest
        from qemu_blocksdk.errors import UsageError

        @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "x" * 300])
        def test_a(name, image):
            with pytest.raises(UsageError):
                image(name, "1M")
    """
    )
    session(pytester).assert_outcomes(passed=6)


def test_two_workers_do_not_meet(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.mark.parametrize("number", range(10))
        def test_a(number, storage_daemon, image, add_image, nbd_server):
            node = add_image(storage_daemon, image("disk", "1M"), node_name="disk")
            with storage_daemon.start_nbd_server() as server, server.export(node):
                nbd_server(image("other", "1M"))
    """
    )
    session(pytester, "-p", "xdist", "-n", "2").assert_outcomes(passed=10)


FAILING = """
    import asyncio, os, signal, pytest, time

    def test_hung(storage_daemon, vm):
        vm.kill()
        storage_daemon.process.send_signal(signal.SIGSTOP)
        assert False

    def test_coroutine(async_storage_daemon, image):
        async def main():
            async with async_storage_daemon() as daemon:
                await daemon.add_node(image("disk", "1M", format="raw").options("disk"))
                assert False
        asyncio.run(main())

    def test_server(nbd_server, image):
        nbd_server(image("disk", "1M")).process.kill()
        assert False

    def test_coroutine_of_a_server(async_nbd_server, image):
        async def main():
            async with async_nbd_server(image("disk", "1M")):
                assert False
        asyncio.run(main())

    def test_passed(vm): pass
"""


def test_the_report_has_each_program_hung_dead_or_left(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a=FAILING)
    done = session(pytester)
    done.assert_outcomes(failed=4, passed=1)
    done.stdout.fnmatch_lines(
        [
            "*- qemu-storage-daemon: is stopped (pid *) -*",
            "  not known: no answer within 2 s",
            "*- qemu-system-x86_64: killed by SIGKILL -*",
            "*_ test_coroutine _*",
            "*- qemu-storage-daemon: runs (pid *) -*",
            "  disk ?raw?",
            "*_ test_server _*",
            "*- qemu-nbd: killed by SIGKILL -*",
            "  qemu-nbd * TEST_DIR/disk",
            "*_ test_coroutine_of_a_server _*",
            "*- qemu-nbd: runs (pid *) -*",
        ]
    )
    assert done.stdout.str().count("command line:") == 5


def test_the_directory_of_a_failed_case_of_unittest_is_kept_on_request(
    pytester: pytest.Pytester, outside: Path
) -> None:
    pytester.makepyfile(
        test_a="""
        from qemu_blocksdk.testing import QMPTestCase

        class TestA(QMPTestCase):
            def test_failed(self):
                self.images.create("disk", "1M")
                self.fail("look")
    """
    )
    session(pytester).assert_outcomes(failed=1)
    assert list(outside.glob("blocksdk-*")) == []
    done = session(pytester, "--keep-failed")
    (kept,) = outside.glob("blocksdk-*")
    done.stdout.fnmatch_lines([f"E       ---- kept: {kept}"])
    assert [path.name for path in kept.iterdir()] == ["disk"]
    shutil.rmtree(kept)


def test_a_test_that_is_run_again_is_told_of_again(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                runtestprotocol(item, nextitem=nextitem)
            return True
    """
    )
    pytester.makepyfile(test_a="def test_a(storage_daemon): assert False")
    text = session(pytester).stdout.str()
    assert text.count("- qemu-storage-daemon: runs (pid ") == 2


def test_no_secret_is_in_a_report(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGKEYSECRET", "open-sesame")
    pytester.makepyfile(
        test_a="""
        def test_a(storage_daemon, test_env, qmp_log):
            storage_daemon.add_secret(test_env.key_secret, id="key")
            print(test_env, qmp_log.text())
            assert False
    """
    )
    text = session(pytester, "-l").stdout.str()
    assert "object-add" in text
    assert "open-sesame" not in text
    assert "b3Blbi1zZXNhbWU" not in text


@pytest.mark.parametrize("limit", ["signal", "thread"])
def test_nothing_is_left_when_a_time_limit_ends_a_test(
    pytester: pytest.Pytester, limit: str
) -> None:
    pytester.makepyfile(
        test_a="""
        def test_a(vm, storage_daemon, image):
            image("disk", "1M")
            with storage_daemon.qmp.events() as events:
                events.get()
    """
    )
    words = ("-p", "pytest_timeout", "--timeout=1.5", f"--timeout-method={limit}")
    done = session(pytester, *words)
    assert done.ret == 1
    if limit == "signal":
        done.stdout.fnmatch_lines(["*Timeout*", "*- qemu-storage-daemon: runs (pid *) -*"])


def test_nothing_is_left_when_a_teardown_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.fixture
        def broken(vm):
            yield
            raise RuntimeError("in the teardown")

        def test_a(broken, storage_daemon): pass
        def test_b(vm): pass
    """
    )
    done = session(pytester)
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(
        ["*RuntimeError: in the teardown", "*- qemu-system-x86_64: ended with exit status 0 -*"]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_by_a_session_that_is_interrupted(
    pytester: pytest.Pytester, number: signal.Signals
) -> None:
    path = pytester.makepyfile(
        test_a="""
        import pathlib

        def test_a(vm, storage_daemon, image, nbd_server):
            nbd_server(image("disk", "1M"))
            pathlib.Path("ready").write_text(f"{vm.process.pid} {storage_daemon.process.pid}")
            with storage_daemon.qmp.events() as events:
                events.get()
    """
    )
    popen = subprocess.Popen(
        [sys.executable, "-m", "pytest", *PLUGINS, *NAMES, path],
        stdout=subprocess.DEVNULL,
        cwd=path.parent,
    )
    ready = path.parent / "ready"
    try:
        wait_until(lambda: ready.exists() and " " in ready.read_text(), what="QEMUs", timeout=20)
        popen.send_signal(number)
        popen.wait(timeout=20)
    finally:
        popen.kill()
        popen.wait()
    pids = [Path(f"/proc/{pid}") for pid in ready.read_text().split()]
    wait_until(lambda: not any(pid.exists() for pid in pids), what="the end of the QEMUs")


COROUTINE = """
    import pytest

    @pytest.mark.{marker}
    async def test_twins(async_vm, async_storage_daemon, image):
        disk = image("disk", "1M", format="raw")
        async with async_vm() as vm, async_storage_daemon() as daemon:
            for qemu in (vm, daemon):
                await (await qemu.add_node(disk.options("disk").as_read_only())).delete()

    @pytest.mark.{marker}
    async def test_failure(async_storage_daemon):
        async with async_storage_daemon() as daemon:
            await daemon.qmp.execute_raw("burn")
"""


@pytest.mark.parametrize(
    ("marker", "plugin"), [("asyncio", "pytest_asyncio.plugin"), ("anyio", "anyio.pytest_plugin")]
)
def test_the_twins_serve_whichever_plugin_runs_coroutines(
    pytester: pytest.Pytester, marker: str, plugin: str
) -> None:
    pytest.importorskip(plugin.partition(".")[0])
    pytester.makeconftest(
        "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    )
    pytester.makepyfile(test_a=COROUTINE.format(marker=marker))
    done = session(pytester, "-p", plugin)
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*CommandError: burn: *", "*- qemu-storage-daemon: runs (pid *) -*"])
