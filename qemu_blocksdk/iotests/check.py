"""Runs iotests scripts as QEMU's ``check`` does, which need not be there.

Each has directories and an environment of its own, the one that ``check`` makes; our ``iotests`` is
the first that its Python finds.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from qemu_blocksdk.aio import AsyncToolchain
from qemu_blocksdk.codec import evolve
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.qmp import gather
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.scratch import directory
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.socket_directory import short_directory

from . import ACCELERATOR_VARIABLE
from .outcome import Outcome, Setting, judged, read
from .script import run

PATH: Path = Path(__file__).parent / "path"
"""The directory in which ``import iotests`` finds the drop-in."""

_IMPORTS = re.compile(rb"^[ \t]*(?:import|from)[ \t]+iotests\b", re.MULTILINE)
_NOT_GENERIC = ("bochs", "cloop", "dmg")


def scripts_in(paths: Iterable[Path]) -> list[Path]:
    """Return the scripts that paths stand for: files, and what imports iotests in folders.

    Raises UsageError for what is not there, and a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = list(filter(_is_script, sorted(path.iterdir())))
            if not inside:
                raise UsageError(f"no file in {path} imports iotests")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"no script {path}")
    return found


async def check(
    scripts: Sequence[Path],
    settings: Sequence[Setting],
    *,
    at_once: int,
    timeout: float,
    keep_failed: bool,
    tell: Callable[[Outcome], object],
) -> list[Outcome]:
    """Run each script with each setting, ``timeout`` seconds at most.

    ``tell`` is called with each outcome as it comes; with ``keep_failed``, the files of a script
    that failed stay. Raises UsageError for a format or protocol that the programs lack,
    LaunchError for programs that are not there.
    """
    env, accelerator = await _env(settings)
    turn = asyncio.Semaphore(at_once)

    async def one(script: Path, setting: Setting) -> Outcome:
        async with turn:
            outcome = await _checked(script, setting, env, accelerator, timeout, keep_failed)
        tell(outcome)
        return outcome

    return await gather(one(script, setting) for setting in settings for script in scripts)


def _is_script(path: Path) -> bool:
    return (
        path.is_file()
        and path.name != "iotests.py"
        and ".out" not in path.suffixes
        and _IMPORTS.search(path.read_bytes()) is not None
    )


async def _env(settings: Sequence[Setting]) -> tuple[TestEnv, str]:
    """Make what all scripts have in common, and the accelerator; refuse what the programs lack."""
    programs = Programs.from_environ()
    programs.require("qemu", "qemu_img", "qemu_io", "qemu_nbd")
    words = {name: (str(path), *programs.words(name)[1:]) for name, path in programs.find().items()}
    if "QEMU_OPTIONS" not in os.environ:
        words["qemu"] = (words["qemu"][0], "-nodefaults", "-display", "none")
    toolchain = AsyncToolchain(evolve(programs, **words))
    drivers = await toolchain.query_drivers()
    for setting in settings:
        for kind, word in (("format", setting.imgfmt), ("protocol", setting.imgproto)):
            if word not in drivers:
                raise UsageError(f"qemu-img has no {kind} {word!r}")
    emulator = await toolchain.query_emulator()
    env = TestEnv(
        test_dir=Path(),
        sock_dir=Path(),
        programs=toolchain.programs,
        default_machine=os.environ.get("QEMU_DEFAULT_MACHINE")
        or emulator.default_machine_alias
        or emulator.default_machine
        or "none",
    )
    return env, "qtest" if "qtest" in emulator.accelerators else "tcg"


async def _checked(
    script: Path,
    setting: Setting,
    common: TestEnv,
    accelerator: str,
    timeout: float,
    keep_failed: bool,
) -> Outcome:
    begin = time.monotonic()
    kept: Path | None = None
    scratch = short_directory(prefix="iotests-")
    try:
        test_dir, output_dir = scratch / "test_dir", scratch / "output_dir"
        test_dir.mkdir()
        output_dir.mkdir()
        output = scratch / "output"
        with directory(short=True) as sock_dir:
            env = common.evolve(
                test_dir=test_dir,
                sock_dir=sock_dir,
                output_dir=output_dir,
                sample_img_dir=Path(
                    os.environ.get("SAMPLE_IMG_DIR") or script.parent / "sample_images"
                ),
                imgfmt_generic=setting.imgfmt not in _NOT_GENERIC,
                **vars(setting),
            )
            variables = {**_variables(env, script), ACCELERATOR_VARIABLE: accelerator}
            status = await run(script, variables, output=output, timeout=timeout)
        verdict = judged(
            script,
            env.imgfmt,
            status=status,
            timeout=timeout,
            output=output,
            output_dir=output_dir,
        )
        cases = read(output_dir / f"{script.name}.casenotrun").splitlines()
        if keep_failed and verdict.kind == "fail":
            kept = scratch
    finally:
        if kept is None:
            shutil.rmtree(scratch, ignore_errors=True)
    return Outcome(
        script=script,
        setting=setting,
        verdict=verdict,
        seconds=time.monotonic() - begin,
        cases_not_run=() if verdict.kind == "not run" else tuple(cases),
        kept=kept,
    )


def _variables(env: TestEnv, script: Path) -> dict[str, str]:
    """The environment of a script, as ``check`` makes it."""
    found = env.variables()
    modes = f"--cache {env.cache_mode} --aio {env.aio_mode}"
    io_options = f"{found['QEMU_IO_OPTIONS_NO_FMT']} {modes}".strip()
    form = "--image-opts" if env.imgfmt == "luks" else f"-f {env.imgfmt}"
    path = (str(PATH), str(PATH.parents[2]), os.environ.get("PYTHONPATH"), str(script.parent))
    return {
        **os.environ,
        **found,
        "QEMU_IO_OPTIONS": f"{io_options} {form}",
        "QEMU_IO_OPTIONS_NO_FMT": io_options,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
