"""Environments, paths, time limits, requirements, skips and scripts that cannot be."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from pathlib import Path

from qemu_blocksdk.testing import (
    FilePath,
    Requires,
    TestEnv,
    Timeout,
    file_path,
    skip_for_formats,
    skip_if_unsupported,
    wait_for,
    why_not,
)
from qemu_blocksdk.testing.runner import main, script_main


def environments(folder: Path) -> None:
    TestEnv.temporary(imgfmt=5)  # error: Argument "imgfmt" to "temporary" of "TestEnv" has incompatible type "int"
    TestEnv.temporary(cache_mode="fast")  # error: Argument "cache_mode" to "temporary" of "TestEnv" has incompatible type
    TestEnv.temporary(format="raw")  # error: Unexpected keyword argument "format"
    TestEnv.temporary(test_dir=folder)  # error: Unexpected keyword argument "test_dir"
    TestEnv(test_dir=folder)  # error: Missing named argument "sock_dir"


def paths(env: TestEnv) -> None:
    FilePath("a.img")  # error: No overload variant
    FilePath(env=env)  # error: No overload variant
    file_path("a", env)  # error: No overload variant
    with FilePath("a", "b", env=env) as path:
        path.touch()  # error: "tuple[Path, ...]" has no attribute "touch"
    for name in file_path("one", env=env):  # error: "Path" has no attribute "__iter__"
        print(name)


def waits() -> None:
    Timeout("3", "the job")  # error: Argument 1 to "Timeout" has incompatible type "str"
    Timeout(3)  # error: Missing positional argument "what"
    wait_for(True, what="it", timeout=1)  # error: Argument 1 to "wait_for" has incompatible type "bool"
    wait_for(lambda: True, "it", 1)  # error: Too many positional arguments


def requirements(env: TestEnv) -> None:
    Requires(accelerator="warp")  # error: Argument "accelerator" to "Requires" has incompatible type
    Requires(version="7.2")  # error: Unexpected keyword argument "version"
    Requires(quorum="yes")  # error: Argument "quorum" to "Requires" has incompatible type "str"
    why_not(Requires())  # error: Missing positional argument "env"


class Other(unittest.TestCase): ...


def formats_of(case: Other) -> Sequence[str]:
    return []


class Case(unittest.TestCase):
    @skip_for_formats(5)  # error: Argument 1 to "skip_for_formats" has incompatible type "int"
    def test_format(self) -> None: ...

    def test_user(self) -> None: ...

    @skip_for_formats(["raw"])
    def measure(self, offset: int) -> int:
        return offset


def decorated(case: Case) -> None:
    skip_if_unsupported(formats_of)(Case.test_user)  # error: Argument 1 has incompatible type
    case.measure("0")  # error: Argument 1 to "measure" of "Case" has incompatible type "str"


def programs(env: TestEnv) -> None:
    main(supported_fmts=["raw"])  # error: Missing named argument "env"
    main(env=env, supported_formats=["raw"])  # error: Unexpected keyword argument "supported_formats"
    script_main(5, env=env)  # error: Argument 1 to "script_main" has incompatible type "int"
