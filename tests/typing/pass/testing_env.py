"""Environments, paths, time limits, requirements, skips and scripts, as one writes them."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.testing import (
    FilePath,
    Requires,
    TestEnv,
    Timeout,
    file_path,
    skip_for_formats,
    skip_if_unsupported,
    skip_if_user_is_root,
    wait_for,
    why_not,
)
from qemu_blocksdk.testing.runner import main, script_initialize, script_main
from qemu_blocksdk.tools import Programs


def environments() -> None:
    assert_type(TestEnv.from_environ(), TestEnv)
    with TestEnv.temporary(
        imgfmt="luks",
        cache_mode="none",
        aio_mode="io_uring",
        programs=Programs(),
        key_secret=Secret("123456"),
    ) as env:
        assert_type(env, TestEnv)
        assert_type(env.variables(), dict[str, str])
        paths(env)


def paths(env: TestEnv) -> None:
    with FilePath("a.img", env=env) as one:
        assert_type(one, Path)
    with FilePath("a.img", "b.img", env=env, base_dir="somewhere") as two:
        assert_type(two, tuple[Path, ...])
    assert_type(file_path("nbd.sock", env=env, base_dir=env.sock_dir), Path)
    _, second = file_path("a", "b", env=env)
    assert_type(second, Path)


def waits(answers: list[int]) -> None:
    with Timeout(3, "the job") as limit, Timeout(0.5, "its start"):
        assert_type(limit, Timeout)
    assert_type(wait_for(answers.pop, what="an answer", timeout=1), int)
    assert_type(wait_for(lambda: answers or None, what="one", timeout=0.1), list[int] | None)


def requirements(env: TestEnv) -> None:
    needs = Requires(
        formats=["qcow2"],
        not_formats=("raw",),
        driver="quorum",
        member="blockdev-backup.discard-source",
        accelerator="kvm",
        root=False,
    )
    assert_type(why_not(needs, env), str | None)


def formats_of(case: Case) -> Sequence[str]:
    return case.formats


class Case(unittest.TestCase):
    env: TestEnv
    formats = ("vdi", "vmdk")

    @skip_if_unsupported(["quorum"], read_only=True)
    def test_list(self) -> None: ...

    @skip_if_unsupported(formats_of)
    def test_function(self) -> None: ...

    @skip_for_formats(["raw", "luks"])
    def test_format(self) -> None: ...

    @skip_if_user_is_root
    def test_user(self) -> None: ...

    @skip_for_formats(["raw"])
    def measure(self, offset: int, *, length: int = 512) -> int:
        return offset + length


def decorated(case: Case) -> None:
    assert_type(case.test_list(), None)
    assert_type(case.measure(0, length=3), int)


def programs(env: TestEnv) -> None:
    script_initialize(env=env, supported_fmts=["qcow2"], unsupported_protocols=("nbd",))
    script_main(lambda: None, env=env, required_fmts=["quorum"])
    main(env=env, supported_cache_modes=["none"], supported_aio_modes=["native"])
