"""The plugin of pytest: options, markers, what is refused at collection, and reports.

It is loaded by its entry point with every session, so it imports nothing of QEMU before a test
needs it. Only this module and ``fixtures`` import pytest.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, cast, get_args

import pytest

from qemu_blocksdk.errors import BlockSdkError, UsageError

from . import fixtures
from .fixtures import (
    AXES,
    ENV,
    FAILED,
    KEEP,
    MACHINES,
    UPDATE,
    environment_of,
    environments,
    golden_of,
)
from .switches import KEEP_FAILED, UPDATE_GOLDEN

if TYPE_CHECKING:
    from qemu_blocksdk.tools.programs import ProgramName

    from .requirements import Requires

_MARKERS: Final = {
    "formats": "the image formats that the test is for",
    "not_formats": "the image formats that it is not for",
    "protocols": "the protocols that it is for",
    "platforms": "the platforms that it is for, as sys.platform begins",
}
_REQUIRES: Final = ("driver", "command", "member", "accelerator", "quorum", "luks", "root")
_PROGRAMS: Final[Mapping[str, ProgramName]] = {
    "image": "qemu_img",
    "async_image": "qemu_img",
    "vm": "qemu",
    "vm_factory": "qemu",
    "async_vm": "qemu",
    "storage_daemon": "storage_daemon",
    "storage_daemon_factory": "storage_daemon",
    "async_storage_daemon": "storage_daemon",
    "nbd_server": "qemu_nbd",
    "async_nbd_server": "qemu_nbd",
}
"""What a fixture needs."""
_PACKAGE: Final = Path(__file__).parents[1]
_CHECKED: Final = pytest.StashKey[set[object]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("qemu_blocksdk", "QEMU's block layer")
    for option, what in AXES.items():
        group.addoption(
            option, action="append", default=[], metavar="X", help=f"{what}; several: a matrix"
        )
    group.addoption(KEEP, action="store_true", help="leave the directories of tests that failed")
    group.addoption(UPDATE, action="store_true", help="write golden files anew (never in CI)")


def pytest_configure(config: pytest.Config) -> None:
    """Register fixtures and markers; refuse options that cannot be right."""
    config.pluginmanager.register(fixtures, fixtures.__name__)
    for name, what in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}(name, ...): {what}")
    config.addinivalue_line(
        "markers", f"requires({', '.join(_REQUIRES)}): what the test needs of QEMU and its user"
    )
    # Tests of unittest have no fixture: they look there.
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    for option, switch in ((UPDATE, UPDATE_GOLDEN), (KEEP, KEEP_FAILED)):
        if config.getoption(option):
            environment.setenv(switch, "1")
    if any(config.getoption(option) for option in AXES):
        with _refused_as(pytest.UsageError):
            environments(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have what uses ``test_env`` run in each environment of the matrix."""
    if "test_env" in metafunc.fixturenames:
        with _refused_as(pytest.Collector.CollectError):
            matrix = environments(metafunc.config)
        if len(matrix) > 1:
            metafunc.parametrize("test_env", list(matrix.values()), ids=list(matrix), indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, object, object]:
    """Refuse what could never run."""
    made = yield
    for item in _items(made):
        if isinstance(item, pytest.Function):
            with _refused_as(pytest.Collector.CollectError):
                _check(item)
    return made


def _items(made: object) -> list[object]:
    return cast("list[object]", made) if isinstance(made, list) else []


def _check(item: pytest.Function) -> None:
    _needs(item)
    names = set(item.fixturenames)
    if "golden" in names:
        golden_of(item).assert_file()
    if "test_env" not in names:
        return
    env = environment_of(item)
    programs: frozenset[ProgramName] = frozenset(
        program for name, program in _PROGRAMS.items() if name in names
    )
    checked = item.config.stash.setdefault(_CHECKED, set())
    if (env.programs, programs) not in checked:
        from .matrix import assert_directories

        env.programs.require(*programs)
        where = item.config.getoption("basetemp") or os.environ.get("PYTEST_DEBUG_TEMPROOT")
        assert_directories(Path(where or tempfile.gettempdir()).absolute())
        checked.add((env.programs, programs))


def _needs(item: pytest.Item) -> list[Requires]:
    """Return what a test needs, by its markers and fixtures. Raises UsageError."""
    needs = [_needed(mark) for mark in item.iter_markers() if mark.name in (*_MARKERS, "requires")]
    if {"image", "async_image"}.intersection(getattr(item, "fixturenames", ())):
        from qemu_blocksdk.tools import ImageFormat

        from .requirements import Requires

        # It makes files.
        needs.append(Requires(protocols=("file",), formats=get_args(ImageFormat)))
    return needs


def _needed(mark: pytest.Mark) -> Requires:
    """Return what a marker says. Raises UsageError where that makes no sense."""
    from qemu_blocksdk.codec import evolve

    from .requirements import Requires, check

    if mark.name != "requires":
        if mark.kwargs or not mark.args:
            raise UsageError(f"the marker {mark.name} takes names: {mark.name}('...')")
        needed = evolve(Requires(), **{mark.name: mark.args})
    elif mark.args or not mark.kwargs or not mark.kwargs.keys() <= set(_REQUIRES):
        raise UsageError(f"the marker requires takes by keyword: {', '.join(_REQUIRES)}")
    else:
        needed = Requires(**mark.kwargs)
    check(needed)
    return needed


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, with the reason."""
    try:
        for needed in _needs(item):
            from .requirements import why_not

            if (reason := why_not(needed, environment_of(item))) is not None:
                raise pytest.skip.Exception(reason, _use_item_location=True)
    except BlockSdkError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell in the report of a failure what is known of the test's QEMUs."""
    env = item.stash.get(ENV, None)
    if env is not None and call.excinfo is not None and not item.config.option.fulltrace:
        _leave_out_ours(call.excinfo.value)
    report = yield
    if env is None or not report.failed or item.stash[FAILED]:
        return report
    item.stash[FAILED] = True
    if (machines := item.stash.get(MACHINES, None)) is not None:
        report.sections += [(each.title, each.text) for each in machines.describe()]
    if item.config.getoption(KEEP):
        report.sections.append((f"kept: {env.test_dir}", ""))
    return report


def _leave_out_ours(error: BaseException | None) -> None:
    """Take the frames of this package out of what it raised on purpose: the sentence says it."""
    seen = set[int]()
    while isinstance(error, BlockSdkError | AssertionError) and id(error) not in seen:
        seen.add(id(error))
        frames = [frame for frame in _frames(error) if not _is_ours(frame)]
        following = None
        for frame in reversed(frames):
            frame.tb_next = following
            following = frame
        error.__traceback__ = following
        error = error.__cause__


def _frames(error: BaseException) -> Iterator[TracebackType]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


def _is_ours(frame: TracebackType) -> bool:
    return frame.tb_frame.f_code.co_filename.startswith(f"{_PACKAGE}{os.sep}")


@contextlib.contextmanager
def _refused_as(kind: type[Exception]) -> Generator[None]:
    """Turn what is wrong into an error that pytest shows as a sentence."""
    try:
        yield
    except (BlockSdkError, OSError) as error:
        raise kind(str(error)) from error
