"""Time limits of blocks: whatever they do, in any thread, nested, and never outside of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from qemu_blocksdk.errors import DeadlineExceeded, UsageError
from qemu_blocksdk.testing.timeout import Timeout, wait_for

SOON = 0.05
LATE = 20.0


def busy() -> None:
    """Compute for a long time."""
    end = time.monotonic() + LATE
    while time.monotonic() < end:
        pass


def stubborn() -> None:
    """Go on whatever fails."""
    end = time.monotonic() + LATE
    while time.monotonic() < end:
        with contextlib.suppress(Exception):
            time.sleep(0.001)


def wait_for_child() -> None:
    """Wait for a process."""
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            child.wait()
        finally:
            child.kill()


def read_nothing() -> None:
    """Read where nobody writes."""
    ends = os.pipe()
    try:
        os.read(ends[0], 1)
    finally:
        for end in ends:
            os.close(end)


def lock_twice() -> None:
    """Wait for oneself."""
    lock = threading.Lock()
    with lock:
        lock.acquire(timeout=LATE)


@pytest.mark.parametrize(
    "work",
    [
        busy,
        stubborn,
        lambda: time.sleep(LATE),
        lambda: threading.Event().wait(LATE),
        lambda: threading.Event().wait(),
        lock_twice,
        wait_for_child,
        read_nothing,
    ],
    ids=["busy", "stubborn", "sleep", "event", "forever", "lock", "child", "read"],
)
def test_the_main_thread_is_ended_whatever_it_waits_for(work: Callable[[], object]) -> None:
    begin = time.monotonic()
    with (
        pytest.raises(DeadlineExceeded, match=r"^gave up on the moon after 0.05 s$") as raised,
        Timeout(SOON, "the moon"),
    ):
        work()
    assert SOON <= time.monotonic() - begin < LATE / 2
    assert (raised.value.waited_for, raised.value.seconds) == ("the moon", SOON)


def test_another_thread_is_refused_before_its_block_begins() -> None:
    errors = list[BaseException]()

    def limited() -> None:
        try:
            with Timeout(SOON, "the moon"):
                pytest.fail("it began")
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=limited)
    thread.start()
    thread.join()
    assert "use the `timeout` arguments of the calls" in str(errors[0])


class Counted:
    """Counts how often its block ended."""

    def __init__(self) -> None:
        self.ends = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.ends += 1


def count_for_long(counted: Counted) -> None:
    """Run a loop, with the jump back in question, in a ``with``."""
    with Timeout(0.0005, "the moon"), counted:
        number, end = 0, 1 << 60
        while number < end:
            number += 1


def test_a_with_around_a_loop_is_left_wherever_in_the_loop_the_time_ends() -> None:
    # Python 3.13: an exception raised at the jump back of such a loop passes by the `with`.
    counted, rounds = Counted(), 200
    for _ in range(rounds):
        with pytest.raises(DeadlineExceeded):
            count_for_long(counted)
    assert counted.ends == rounds


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with Timeout(SOON, "the moon") as limit:
        assert (limit.seconds, limit.what) == (SOON, "the moon")
    time.sleep(2 * SOON)


def test_no_time_at_all_is_a_limit_as_well() -> None:
    with (
        pytest.raises(DeadlineExceeded, match="gave up on nothing after 0 s"),
        Timeout(0, "nothing"),
    ):
        busy()


def test_where_it_was_is_the_cause() -> None:
    with pytest.raises(DeadlineExceeded) as raised, Timeout(SOON, "the moon"):
        busy()
    trace = None if raised.value.__cause__ is None else raised.value.__cause__.__traceback__
    functions = list[str]()
    while trace is not None:
        functions.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "busy" in functions
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def nested(outer: float, inner: float) -> list[str]:
    """Which limits were exceeded, in their order, of a block in a block."""
    exceeded = list[str]()
    try:
        with Timeout(outer, "outer"):
            try:
                with Timeout(inner, "inner"):
                    busy()
            except DeadlineExceeded as error:
                exceeded.append(error.waited_for)
            busy()
    except DeadlineExceeded as error:
        exceeded.append(error.waited_for)
    return exceeded


def test_of_nested_ones_each_ends_its_own_block() -> None:
    found: list[list[str]] = []
    found.append(nested(20 * SOON, SOON))
    found.append(nested(SOON, LATE))
    assert found == [["inner", "outer"], ["outer"]]


def test_the_outer_one_ends_its_block_also_when_both_run_out() -> None:
    for _ in range(100):
        assert nested(0.001, 0.001)[-1] == "outer"


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns far more often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00002)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_nothing_is_raised_outside_of_the_block() -> None:
    counts = {"in time": 0, "too late": 0}

    for number in range(600):
        end = time.monotonic() + 0.001 + 0.000_01 * (number % 100)
        try:
            with Timeout(0.001, "the moon"):
                while time.monotonic() < end:
                    if number % 2:
                        time.sleep(0.0001)
        except DeadlineExceeded:
            counts["too late"] += 1
        else:
            counts["in time"] += 1
        for _ in range(1000):  # here it would show
            pass
    assert min(counts.values()) > 0, counts


def test_an_error_of_the_block_is_its_own() -> None:
    with pytest.raises(ZeroDivisionError), Timeout(LATE, "the moon"):
        raise ZeroDivisionError


def fail_at_the_end(work: Callable[[], object]) -> None:
    """Do the work; whatever ends it, fail."""
    try:
        work()
    finally:
        raise ZeroDivisionError


def test_what_unwinding_raises_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), Timeout(SOON, "the moon"):
        fail_at_the_end(busy)


def test_one_object_serves_for_blocks_one_after_the_other() -> None:
    limit = Timeout(SOON, "the moon")
    for _ in range(3):
        with limit:
            pass
        with pytest.raises(DeadlineExceeded), limit:
            busy()
    with limit, pytest.raises(UsageError, match=r"^the time limit of the moon runs already$"):
        limit.__enter__()


def test_it_leaves_no_thread_and_no_handler_behind() -> None:
    before = threading.active_count(), signal.getsignal(signal.SIGURG)
    for _ in range(3):
        with Timeout(LATE, "one"), Timeout(LATE, "two"):
            pass
    with pytest.raises(DeadlineExceeded), Timeout(SOON, "the moon"):
        busy()
    assert (threading.active_count(), signal.getsignal(signal.SIGURG)) == before


def test_a_debugger_may_trace_what_runs_afterwards() -> None:
    source = """if True:
        import sys
        from qemu_blocksdk.errors import DeadlineExceeded
        from qemu_blocksdk.testing import Timeout

        try:
            with Timeout(0.01, "the end"):
                try:
                    while True:
                        pass
                finally:
                    sys.stdin.read()
        except DeadlineExceeded:
            sys.settrace(lambda *_: None)
            print((lambda: "traced")())
    """
    # A process of its own: where that hangs, nothing in it can end it.
    done = subprocess.run(
        [sys.executable, "-c", source], input="", capture_output=True, text=True, timeout=20
    )
    assert done.stdout == "traced\n", done.stderr


# -- in coroutines ------------------------------------------------------------------------


def test_a_coroutine_is_ended_at_what_it_awaits() -> None:
    async def limited() -> None:
        async with Timeout(LATE, "the sun"):
            with pytest.raises(DeadlineExceeded, match=r"^gave up on the moon after 0.05 s$"):
                async with Timeout(SOON, "the moon"):
                    await asyncio.Event().wait()

    asyncio.run(limited())


def test_coroutines_side_by_side_have_their_own() -> None:
    async def both_of_them() -> str:
        over = asyncio.Event()

        async def ended() -> None:
            with pytest.raises(DeadlineExceeded, match="the moon"):
                async with Timeout(SOON, "the moon"):
                    await asyncio.Event().wait()
            over.set()

        async def in_time() -> str:
            async with Timeout(LATE, "the sun"):
                await over.wait()
            return "in time"

        _, said = await asyncio.gather(ended(), in_time())
        return said

    assert asyncio.run(both_of_them()) == "in time"


def test_an_error_of_a_coroutine_is_its_own() -> None:
    async def failing() -> None:
        async with Timeout(LATE, "the moon"):
            raise TimeoutError("of the block")

    with pytest.raises(TimeoutError, match="of the block"):
        asyncio.run(failing())


def test_the_form_of_blocking_code_is_refused_in_a_coroutine() -> None:
    async def limited() -> None:
        with Timeout(SOON, "the moon"):
            await asyncio.Event().wait()

    with pytest.raises(UsageError, match=r"^the time limit of the moon .* say 'async with'$"):
        asyncio.run(limited())


@pytest.mark.parametrize("seconds", [-1, -math.inf, math.inf, math.nan, 1e18])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match=r"seconds are no time limit$"):
        Timeout(seconds, "the moon")
    with pytest.raises(UsageError, match=r"seconds are no time limit$"):
        wait_for(lambda: True, what="the moon", timeout=seconds)


def test_waiting_returns_what_the_condition_says_once_it_holds() -> None:
    answers = iter([None, "", "here"])
    assert wait_for(lambda: next(answers), what="an answer", timeout=LATE) == "here"
    assert wait_for(lambda: 1, what="nothing", timeout=0) == 1


def test_waiting_in_vain_says_for_what_and_how_long() -> None:
    calls = list[None]()
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"^gave up on the job after 0.05 s$"):
        wait_for(lambda: calls.append(None), what="the job", timeout=SOON)
    assert time.monotonic() - begin >= SOON
    assert len(calls) > 1


def test_what_the_condition_raises_ends_the_waiting() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: 1 // 0, what="the moon", timeout=LATE)
