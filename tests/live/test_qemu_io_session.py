"""A session of qemu-io: requests that end later, ends of all kinds, answers of all kinds."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from qemu_blocksdk import Image, QemuIo, StorageDaemon
from qemu_blocksdk.aio import AsyncImage, AsyncQemuIo
from qemu_blocksdk.blockdev import Blkdebug, File, Qcow2
from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, ToolError, UsageError
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.qemu_io import IoFailure, IoResult
from tests.live.helpers import MakeImage, Script, nothing_left_behind, wait_until, with_mark

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def target(tmp_path: Path) -> Image:
    """A raw image of 1 MiB of zeroes."""
    (tmp_path / "image").write_bytes(bytes(1 << 20))
    return Image(tmp_path / "image", format="raw")


@pytest.fixture
def debugged(make_image: MakeImage) -> Image:
    """A qcow2 image on blkdebug, of which 1 MiB is written."""
    path = make_image(write="-P 7 0 1M")
    debug = Blkdebug(image=File(filename=str(path)))
    return Image.from_options(Qcow2(file=debug))


# -- requests that end later ------------------------------------------------------------------


def test_what_became_of_asynchronous_requests_is_told_by_the_flush(target: Image) -> None:
    with QemuIo(target) as io:
        io.aio_write(0, 512, 512, pattern=1)
        io.aio_flush()
        io.aio_read(0, 1024, pattern=1)
        io.aio_read(512, 1024, pattern=1)
        io.aio_read(0, 512)
        io.aio_read(1 << 30, 512, pattern=1)
        ended = io.aio_flush()
        assert io.aio_flush() == ()
    results = {(e.offset, e.bytes_asked): e for e in ended if isinstance(e, IoResult)}
    found = {key: result.pattern_matches for key, result in results.items()}
    assert found == {(0, 1024): True, (512, 1024): False, (0, 512): None}
    failures = [e for e in ended if isinstance(e, IoFailure)]
    assert failures == [IoFailure(operation="read", error="Input/output error")]


def test_only_a_time_that_can_be_right_is_told(target: Image) -> None:
    with QemuIo(target) as io:
        io.aio_write(0, 512)
        io.aio_write_zeroes(512, 512)
        times = {e.offset: e.elapsed for e in io.aio_flush() if isinstance(e, IoResult)}
    assert times[512] is None
    assert times[0] is not None
    assert times[0] < 10


def test_an_answer_is_its_own_while_requests_end(target: Image) -> None:
    with QemuIo(target) as io:
        for number in range(50):
            io.aio_write(512 * number, 512, pattern=number)
            io.aio_read(1 << 40, 512)
            assert io.length() == 1 << 20
            with pytest.raises(ToolError, match="readv failed"):
                io.readv(1 << 40, 512)
            assert io.read_data(1000 * 512, 20) == bytes(20)
        ended = io.aio_flush()
    assert len([e for e in ended if isinstance(e, IoResult)]) == 50
    assert len([e for e in ended if isinstance(e, IoFailure)]) == 50


def test_a_suspended_request_goes_on_when_it_is_resumed(debugged: Image) -> None:
    with QemuIo(debugged) as io:
        io.break_at("read_aio", "A")
        io.aio_read(0, 512, pattern=7)
        io.wait_break("A", timeout=5)
        assert io.read(512, 512, pattern=7).pattern_matches is True
        io.resume("A")
        (ended,) = io.aio_flush()
        assert isinstance(ended, IoResult)
        assert ended.pattern_matches is True
        for verb in (io.resume, io.remove_break):
            with pytest.raises(ToolError, match="No such file"):
                verb("A")
        with pytest.raises(ToolError, match="Could not set breakpoint"):
            io.break_at("nonsense", "B")  # type: ignore[arg-type]  # that is it


def test_a_breakpoint_that_was_removed_suspends_nothing(debugged: Image) -> None:
    with QemuIo(debugged) as io:
        io.break_at("read_aio", "A")
        io.remove_break("A")
        io.aio_read(0, 512)
        assert len(io.aio_flush()) == 1


def test_a_suspended_request_is_not_waited_for_for_ever(debugged: Image, tmp_path: Path) -> None:
    with QemuIo(debugged, timeout=0.3) as io:
        io.break_at("read_aio", "A")
        io.aio_read(0, 512)
        with pytest.raises(DeadlineExceeded, match="aio_flush"):
            io.aio_flush()
        assert with_mark(str(tmp_path)) == set()
        with pytest.raises(ToolError, match="has ended") as caught:
            io.length()
        assert isinstance(caught.value.__cause__, DeadlineExceeded)


def test_leaving_with_a_suspended_request_ends_in_time(debugged: Image, tmp_path: Path) -> None:
    io = QemuIo(debugged, timeout=0.3)
    io.open()
    io.break_at("read_aio", "A")
    io.aio_read(0, 512)
    with pytest.raises(DeadlineExceeded, match="the end of qemu-io"):
        io.close()
    assert with_mark(str(tmp_path)) == set()


def test_a_breakpoint_that_nobody_set_is_waited_for_as_long_as_asked(target: Image) -> None:
    with QemuIo(target) as io, pytest.raises(DeadlineExceeded, match="wait_break A") as caught:
        io.wait_break("A", timeout=0.1)
    assert caught.value.seconds == 0.1


# -- beginnings -------------------------------------------------------------------------------


def test_what_cannot_be_opened_is_told_in_the_tools_words(tmp_path: Path, target: Image) -> None:
    cases = {
        "No such file": Image(tmp_path / "nowhere", format="raw"),
        "not in qcow2 format": Image(tmp_path / "image", format="qcow2"),
        "Failed to connect": Image.at_uri(f"nbd+unix:///?socket={tmp_path}/sock"),
    }
    for words, case in cases.items():
        with nothing_left_behind(), pytest.raises(ToolError, match=words) as caught:
            QemuIo(case).open()
        assert caught.value.exit_status == 1
        assert str(tmp_path) in caught.value.argv[-1]
    with pytest.raises(ToolError, match="Invalid cache option"):
        QemuIo(target, cache="bogus").open()  # type: ignore[arg-type]  # that is it
    missing = Programs(qemu_io=("no-such-program",))
    with pytest.raises(LaunchError):
        QemuIo(Image(target.path, format="raw", programs=missing)).open()


def test_a_locked_image_is_read_by_force_only(make_image: MakeImage, daemon: StorageDaemon) -> None:
    path = make_image()
    daemon.add_node(Qcow2(node_name="disk", file=File(filename=str(path))))
    locked = Image(path, format="qcow2")
    with pytest.raises(ToolError, match="lock"):
        QemuIo(locked).open()
    with QemuIo(locked, read_only=True, force_share=True) as io:
        assert io.length() == 16 << 20


def test_a_session_is_used_while_it_is_open_and_can_be_opened_again(target: Image) -> None:
    io = QemuIo(target)
    with pytest.raises(UsageError, match="not open"):
        io.length()
    for _ in range(2):
        with io:
            assert io.length() == 1 << 20
            with pytest.raises(UsageError, match="open already"):
                io.open()
            assert io.length() == 1 << 20
        with pytest.raises(UsageError, match="not open"):
            io.read(0, 512)
    io.close()


# -- ends -------------------------------------------------------------------------------------


def test_the_death_of_qemu_io_is_noticed_at_once(target: Image, tmp_path: Path) -> None:
    killed: list[float] = []

    def kill() -> None:
        (pid,) = with_mark(str(tmp_path))
        killed.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)

    with QemuIo(target) as io:
        timer = threading.Timer(0.2, kill)
        timer.start()
        with pytest.raises(ToolError, match="signal 9") as caught:
            io.wait_break("A")
        assert time.monotonic() - killed[0] < 0.1
        timer.join()
        assert caught.value.exit_status == -signal.SIGKILL
        assert "\n" not in str(caught.value)
        with pytest.raises(ToolError, match="signal 9"):
            io.length()


def test_a_death_that_no_command_met_is_told_on_leaving(target: Image, tmp_path: Path) -> None:
    io = QemuIo(target)
    io.open()
    (pid,) = with_mark(str(tmp_path))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ToolError, match="signal 9"):
        io.close()


@pytest.mark.parametrize(("command", "number"), [("abort", 6), ("sigraise 15", 15)])
def test_a_command_that_ends_qemu_io_tells_how(target: Image, command: str, number: int) -> None:
    with QemuIo(target) as io, pytest.raises(ToolError) as caught:
        io.raw(command)
    assert caught.value.exit_status == -number


def test_an_error_in_the_block_is_not_hidden_by_that_of_leaving(debugged: Image) -> None:
    def fail() -> None:
        with QemuIo(debugged, timeout=0.2) as io:
            io.break_at("read_aio", "A")
            io.aio_read(0, 512)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_cancelling_a_command_ends_the_session(target: Image, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncQemuIo(AsyncImage(tmp_path / "image", format="raw")) as io:
            waiting = asyncio.create_task(io.wait_break("A"))
            next_one = asyncio.create_task(io.length())
            await asyncio.wait([waiting, next_one], timeout=0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert with_mark(str(tmp_path)) == set()
            with pytest.raises(ToolError, match="has ended"):
                await next_one

    asyncio.run(main())


def test_commands_of_many_tasks_have_their_own_answers(target: Image, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(1 << 16)
    (tmp_path / "image").write_bytes(content)

    async def main() -> list[bytes]:
        async with AsyncQemuIo(AsyncImage(tmp_path / "image", format="raw")) as io:
            return await asyncio.gather(*(io.read_data(i * 512, 512) for i in range(128)))

    assert b"".join(asyncio.run(main())) == content


_INTERRUPTED = """
import sys
from qemu_blocksdk import Image, QemuIo
from qemu_blocksdk.errors import ToolError

with QemuIo(Image(sys.argv[1], format="raw")) as io:
    print("waiting", flush=True)
    try:
        io.wait_break("A")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    try:
        io.length()
    except ToolError as error:
        print("ended", flush=True)
"""


def test_ctrl_c_ends_a_command_and_leaves_nothing(target: Image, tmp_path: Path) -> None:
    with Script(tmp_path, _INTERRUPTED, str(target.path)) as script:
        assert script.line() == "waiting"
        time.sleep(0.1)  # into the wait; before it would do as well, but is another test
        script.interrupt()
        assert script.line() == "interrupted"
        assert with_mark(str(target.path)) == {script.pid}
        assert script.finish() == "ended\n"


def test_qemu_io_does_not_outlive_us(target: Image, tmp_path: Path) -> None:
    with Script(tmp_path, _INTERRUPTED, str(target.path)) as script:
        assert script.line() == "waiting"
        wait_until(lambda: len(with_mark(str(target.path))) == 2, what="qemu-io and the script")
        script.kill()
        wait_until(lambda: not with_mark(str(target.path)), what="the end of qemu-io")


# -- what qemu-io cannot be made to print -----------------------------------------------------

_ANSWERING = """
import sys
print("qemu-io: I am another", file=sys.stderr, flush=True)
print("a banner", flush=True)
print("odd> ", end="", flush=True)
for line in sys.stdin:
    if line.startswith("help"):
        print(f"command {line.split()[1]} not found")
    elif line == "tell\\n":
        print("odd> odd> command x not found", flush=True)
        print("odd> ", end="", flush=True)
        print("odd> the end")
    elif line == "hang up\\n":
        import os, time
        os.close(1)
        time.sleep(60)
    elif line == "quit\\n":
        break
    print("odd> ", end="", flush=True)
"""


def _program(folder: Path, source: str) -> Programs:
    (folder / "program.py").write_text(source)
    return Programs(qemu_io=(sys.executable, str(folder / "program.py")))


def test_no_text_is_taken_for_the_end_of_an_answer(target: Image, tmp_path: Path) -> None:
    with QemuIo(Image(target.path, format="raw", programs=_program(tmp_path, _ANSWERING))) as io:
        for _ in range(20):
            assert io.raw("tell") == "odd> odd> command x not found\nodd> odd> the end\n"


def test_what_is_said_before_the_first_command_is_no_failure_of_it(
    target: Image, tmp_path: Path
) -> None:
    with QemuIo(Image(target.path, format="raw", programs=_program(tmp_path, _ANSWERING))) as io:
        io.flush()
        with pytest.raises(ToolError, match="failed at 'length'"):
            io.length()


def test_a_program_that_stops_talking_is_not_waited_for_for_ever(
    target: Image, tmp_path: Path
) -> None:
    programs = _program(tmp_path, _ANSWERING)
    with (
        QemuIo(Image(target.path, format="raw", programs=programs)) as io,
        pytest.raises(DeadlineExceeded, match="hang up"),
    ):
        io.raw("hang up", timeout=0.3)


def test_a_program_that_never_asks_for_a_command_is_ended(target: Image, tmp_path: Path) -> None:
    silent = _program(tmp_path, "import time; time.sleep(60)")
    with nothing_left_behind(), pytest.raises(DeadlineExceeded, match="to be ready"):
        QemuIo(Image(target.path, format="raw", programs=silent), timeout=0.3).open()


def test_the_child_of_a_fork_leaves_the_session_to_its_parent(target: Image) -> None:
    with QemuIo(target) as io:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                io.length()
            except UsageError:
                status = 0
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert io.length() == 1 << 20
