"""What takes long: progress, cancelling, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from qemu_blocksdk import Image
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.errors import DeadlineExceeded, ToolError
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.progress import ToolProgress
from tests.live.helpers import ROOT, Script, wait_until, with_mark

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A raw image that holds 64 MiB."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(MIB) * 64)
    return path


def fractions(readings: list[ToolProgress]) -> list[float]:
    """The fractions, which must not go down, as time must not."""
    found = [reading.fraction for reading in readings]
    assert found == sorted(found)
    assert [r.elapsed for r in readings] == sorted(r.elapsed for r in readings)
    return found


def test_progress_is_told_until_the_end(source: Path, tmp_path: Path) -> None:
    copy = Image(tmp_path / "copy", format="qcow2")
    # At a rate, so that it does not end before a reader looks. It has begun before that, though.
    operation = Image(source, format="raw").start_convert(copy, rate="128M")
    seen = fractions(list(operation.progress()))
    assert seen[0] < seen[-1] == 1.0
    assert len(seen) > 5
    assert operation.is_over
    assert operation.wait() is None
    assert copy.info().virtual_size == 64 * MIB


def test_a_sparse_image_of_2_gib_is_watched_and_stays_sparse(tmp_path: Path) -> None:
    source, copy = (Image(tmp_path / name, format="raw") for name in ("source", "copy"))
    source.create("2G")
    with source.path.open("r+b") as file:
        for number in range(16):
            file.seek(number << 27)
            file.write(os.urandom(MIB))
    seen = fractions(list(source.start_convert(copy, rate="64M").progress()))
    assert len(seen) > 5
    assert copy.path.stat().st_size == 2 << 30
    assert copy.path.stat().st_blocks * 512 < 32 * MIB
    assert source.compare(copy).is_equal


def test_a_callback_sees_it_in_the_callers_thread(source: Path, tmp_path: Path) -> None:
    readings: list[ToolProgress] = []
    image = Image(source, format="raw")

    def see(reading: ToolProgress) -> None:
        # A blocking call from within would lock up the SDK's own loop.
        assert image.info().virtual_size == 64 * MIB
        readings.append(reading)

    image.convert(Image(tmp_path / "copy", format="qcow2"), rate="128M", on_progress=see)
    assert fractions(readings)[-1] == 1.0


def test_the_awaiting_face_does_the_same(source: Path, tmp_path: Path) -> None:
    async def main() -> list[ToolProgress]:
        readings: list[ToolProgress] = []
        copy = AsyncImage(tmp_path / "copy", format="qcow2")
        operation = await AsyncImage(source, format="raw").start_convert(copy)
        await operation.run(on_progress=readings.append)
        found = await copy.compare(AsyncImage(source, format="raw"))
        assert found.is_equal
        return readings

    assert fractions(asyncio.run(main()))[-1] == 1.0


def test_a_cancelled_copy_leaves_nothing(source: Path, tmp_path: Path) -> None:
    operation = Image(source, format="raw").start_convert(
        Image(tmp_path / "copy", format="qcow2"), rate="8M"
    )
    assert next(operation.progress()).fraction < 1.0
    operation.cancel()
    assert operation.is_over
    assert list(tmp_path.iterdir()) == [source]


def test_leaving_the_block_cancels(source: Path, tmp_path: Path) -> None:
    with Image(source, format="raw").start_convert(
        Image(tmp_path / "copy", format="qcow2"), rate="8M"
    ) as operation:
        assert next(operation.progress()).fraction < 1.0
    assert operation.is_over
    assert list(tmp_path.iterdir()) == [source]


def test_what_is_not_over_in_time_is_cancelled(source: Path, tmp_path: Path) -> None:
    readings: list[ToolProgress] = []
    for on_progress in (None, readings.append):
        operation = Image(source, format="raw").start_convert(
            Image(tmp_path / "copy", format="qcow2"), rate="8M"
        )
        with pytest.raises(DeadlineExceeded, match="the copy of"):
            operation.run(timeout=0.2, on_progress=on_progress)
        assert operation.is_over
        assert list(tmp_path.iterdir()) == [source]


def test_waiting_in_vain_leaves_it_at_work(source: Path, tmp_path: Path) -> None:
    with Image(source, format="raw").start_convert(
        Image(tmp_path / "copy", format="qcow2"), rate="8M"
    ) as operation:
        with pytest.raises(DeadlineExceeded):
            operation.wait(timeout=0.1)
        assert not operation.is_over


def test_what_a_callback_raises_ends_it(source: Path, tmp_path: Path) -> None:
    def refuse(_: ToolProgress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Image(source, format="raw").convert(
            Image(tmp_path / "copy", format="qcow2"), rate="8M", on_progress=refuse
        )
    assert list(tmp_path.iterdir()) == [source]


def test_a_failure_is_told_to_whoever_waits(tmp_path: Path) -> None:
    missing, copy = (Image(tmp_path / name, format="raw") for name in ("missing", "copy"))
    operation = missing.start_convert(copy)
    for _ in range(2):
        with pytest.raises(ToolError, match="No such file"):
            operation.wait()
    with pytest.raises(ToolError, match="No such file"):
        list(operation.progress())
    assert list(tmp_path.iterdir()) == []


def test_progress_that_comes_in_pieces_is_read(tmp_path: Path) -> None:
    tool = tmp_path / "fake-img"
    tool.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        "printf '    (12.'; sleep 0.1; printf '50/100%%)\\r'; sleep 0.1\n"
        "printf '    (50.00/100%%)\\r    (75.00/100%%)\\r'; sleep 0.1; echo x > \"$last\"\n"
    )
    tool.chmod(0o755)
    image = Image(tmp_path / "a", format="raw", programs=Programs(qemu_img=[str(tool)]))
    target = Image(tmp_path / "b", format="raw")
    assert fractions(list(image.start_convert(target).progress())) == [0.0, 0.125, 0.75, 1.0]


CONVERTING = """
import sys
from qemu_blocksdk import Image
source, folder = sys.argv[1:]
copy = Image(folder + "/copy", format="qcow2")
operation = Image(source, format="raw").start_convert(copy, rate="8M")
try:
    for step in operation.progress():
        print(step.fraction, flush=True)
    print("completed")
except KeyboardInterrupt:
    operation.cancel()
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_the_tool_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Script(tmp_path, CONVERTING, str(source), str(folder)) as script:
        script.line()
        script.line()
        assert with_mark(str(folder)) - {script.pid}
        script.interrupt()
        assert script.finish().splitlines()[-1] == "interrupted"
    assert list(folder.iterdir()) == []
    assert with_mark(str(folder)) == set()


RUNNING = CONVERTING.replace(
    """    for step in operation.progress():
        print(step.fraction, flush=True)
""",
    """    said = []
    def say(step):
        if not said:
            said.append(step)
            print("in run", flush=True)
    operation.run(on_progress=say)
""",
).replace("    operation.cancel()\n", "    assert operation.is_over\n")


def test_ctrl_c_in_run_has_unwound_when_it_shows(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Script(tmp_path, RUNNING, str(source), str(folder)) as script:
        script.line()
        wait_until(lambda: bool(with_mark(str(folder)) - {script.pid}), what="qemu-img")
        script.interrupt()
        assert script.finish() == "interrupted\n"
    assert list(folder.iterdir()) == []


def test_a_killed_program_leaves_no_tool_and_no_image(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Script(tmp_path, CONVERTING, str(source), str(folder)) as script:
        script.line()
        script.line()
        script.kill()
        wait_until(lambda: not with_mark(str(folder)), what="the end of qemu-img")
    assert not (folder / "copy").exists()


FORGETTING = """
import sys
from qemu_blocksdk import Backup, Disk, Image, StorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Raw
folder = sys.argv[1]
never = Raw(file=NullCo(size=1 << 20, latency_ns=10**11), node_name="never")
Image.from_options(never).start_convert(Image(folder + "/copy", format="raw"))
daemon = StorageDaemon()
daemon.launch()
Disk(daemon, daemon.add_node(never)).start_move(Image(folder + "/moved", format="raw"))
print("end")
"""


def test_what_nobody_waits_for_leaves_nothing_and_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "script.py").write_text(FORGETTING)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", folder],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": tempfile.gettempdir()},
    )
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr
    assert list(folder.iterdir()) == []
    assert done.stderr.count("was not over at the end of the program") == 2, done.stderr
    assert with_mark(str(folder)) == set()


def test_what_nobody_awaits_leaves_nothing_and_is_reported(source: Path, tmp_path: Path) -> None:
    async def main() -> None:
        copy = AsyncImage(tmp_path / "copy", format="qcow2")
        await AsyncImage(source, format="raw").start_convert(copy, rate="8M")

    with pytest.warns(RuntimeWarning, match="the copy of .* was not over"):
        asyncio.run(main())
    assert list(tmp_path.iterdir()) == [source]
