"""How a script ended: told by its exit status, what it printed, and the files that it wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from qemu_blocksdk.codec import Value
from qemu_blocksdk.testing.difference import difference
from qemu_blocksdk.tools.words import AioMode, CacheMode

_MUCH = 1 << 20
_RESULTS = re.compile(r"^([.EFsux]+)\n[=-]{70}$", re.MULTILINE)
_RAN = re.compile(r"^Ran (\d+) tests$", re.MULTILINE)


class Setting(Value):
    """What scripts are run with, as in :class:`TestEnv`."""

    imgfmt: str
    imgproto: str
    cache_mode: CacheMode
    aio_mode: AioMode

    def __str__(self) -> str:
        usual = {"file", "writeback", "threads"}
        modes = (self.imgproto, self.cache_mode, self.aio_mode)
        return "-".join([self.imgfmt, *(mode for mode in modes if mode not in usual)])


class Verdict(Value):
    """Whether a script passed; ``what`` says why not, ``report`` shows a difference."""

    kind: Literal["pass", "fail", "not run"]
    what: str = ""
    report: str = ""


class Outcome(Value):
    """How a script ended, after how long.

    ``cases_not_run`` are the lines of its .casenotrun file; ``kept`` is the directory in
    which its files were left.
    """

    script: Path
    setting: Setting
    verdict: Verdict
    seconds: float
    cases_not_run: tuple[str, ...] = ()
    kept: Path | None = None


def judged(
    script: Path,
    imgfmt: str,
    *,
    status: int | None,
    timeout: float,
    output: Path,
    output_dir: Path,
) -> Verdict:
    """Compare a script's output with ``SCRIPT.out.FMT`` or ``SCRIPT.out``, beside it.

    Spaces at the ends of lines do not count, as with QEMU's ``check``, whose reference outputs are
    not strict about them. ``status`` None is a script that took longer than ``timeout`` seconds.
    """
    reason = read(output_dir / f"{script.name}.notrun").strip()
    if reason and status == 0:
        return Verdict(kind="not run", what=reason)
    beside = _reference(script, imgfmt)
    golden = "" if beside is None else read(beside)
    # A script that never stops prints more than fits into the memory.
    found = read(output, most=len(golden) + _MUCH)
    differs = _lines(golden) != _lines(found)
    if status is None:
        what = f"it took longer than {timeout:g} s and was ended"
    elif status != 0:
        what = f"signal {-status}" if status < 0 else f"exit status {status}"
    elif beside is None:
        what = f"there is no reference output {script.name}.out"
    elif differs:
        what = f"its output is not that of {beside.name}"
    else:
        return Verdict(kind="pass")
    return Verdict(kind="fail", what=what, report=difference(golden, found) if differs else "")


def results_are_last(script: Path, imgfmt: str) -> bool:
    """Tell whether a script's reference is the older revision's: unittest's results in one line.

    Where its cases print nothing, the newer one's are as well.
    """
    if (beside := _reference(script, imgfmt)) is None:
        return False
    golden = read(beside)
    results, ran = _RESULTS.search(golden), _RAN.search(golden)
    return results is not None and ran is not None and len(results[1]) == int(ran[1])


def read(path: Path, *, most: int = -1) -> str:
    """Return a file's text, empty for no file; what is not UTF-8 shows as an escape.

    ``most`` is how many characters of it, by default all.
    """
    try:
        with path.open(errors="backslashreplace") as file:
            return file.read(most)
    except FileNotFoundError:
        return ""


def _reference(script: Path, imgfmt: str) -> Path | None:
    beside = [script.with_name(f"{script.name}.out{end}") for end in (f".{imgfmt}", "")]
    return next(filter(Path.is_file, beside), None)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
