"""Asking once: whoever asks, at the same time or later, until the binary is another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qemu_blocksdk.errors import LaunchError
from qemu_blocksdk.objects.binary_cache import BinaryCache


class Oracle:
    """Counts the questions; holds the answers back until it is told to give them."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        await self.may_answer.wait()
        return number


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program on disk."""
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_who_asks_at_the_same_time_shares_the_answer(program: str) -> None:
    async def main() -> None:
        answers, oracle = BinaryCache[int](), Oracle()
        asking = [asyncio.create_task(answers.of(program, oracle)) for _ in range(5)]
        await asyncio.sleep(0)
        oracle.may_answer.set()
        assert await asyncio.gather(*asking) == [1] * 5
        assert await answers.of(program, oracle) == 1
        assert oracle.asked == 1

    asyncio.run(main())


def test_the_next_in_turn_asks_when_the_first_is_cancelled(program: str) -> None:
    async def main() -> None:
        answers, oracle = BinaryCache[int](), Oracle()
        first, second = (asyncio.create_task(answers.of(program, oracle)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        oracle.may_answer.set()
        assert await second == 2
        assert first.cancelled()

    asyncio.run(main())


def test_a_failure_is_not_kept(program: str) -> None:
    async def fail() -> int:
        raise LaunchError("it is Monday", argv=[program])

    async def main() -> None:
        answers, oracle = BinaryCache[int](), Oracle()
        oracle.may_answer.set()
        with pytest.raises(LaunchError, match="Monday"):
            await answers.of(program, fail)
        assert await answers.of(program, oracle) == 1

    asyncio.run(main())


def test_an_answer_outlives_the_event_loop_and_not_the_binary(program: str) -> None:
    answers = BinaryCache[int]()

    async def main() -> int:
        oracle.may_answer.set()
        return await answers.of(program, oracle)

    oracle = Oracle()
    assert asyncio.run(main()) == asyncio.run(main()) == 1
    other = Path(program).with_suffix(".new")
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    other.replace(program)
    assert asyncio.run(main()) == 2


def test_one_file_under_two_names_is_two_programs(program: str) -> None:
    async def main() -> None:
        answers, oracle = BinaryCache[int](), Oracle()
        oracle.may_answer.set()
        other = Path(program).with_name("other")
        other.symlink_to(program)
        assert [await answers.of(each, oracle) for each in (program, str(other))] == [1, 2]

    asyncio.run(main())


def test_what_was_told_is_not_asked_for(program: str) -> None:
    async def main() -> None:
        answers, oracle = BinaryCache[int](), Oracle()
        answers.store(program, 7)
        assert await answers.of(program, oracle) == 7
        assert oracle.asked == 0

    asyncio.run(main())


def test_a_program_that_is_not_there_is_asked_each_time() -> None:
    async def main() -> None:
        answers, oracle = BinaryCache[int](), Oracle()
        oracle.may_answer.set()
        answers.store("program-of-nowhere", 7)
        assert [await answers.of("program-of-nowhere", oracle) for _ in range(2)] == [1, 2]

    asyncio.run(main())
