"""The pytest plugin: options, markers, checks at collection, and reports.

pytest loads it with every session, by its entry point, also where no test needs it. So all its
names begin with ``blocksdk``, unless the ini option ``blocksdk_short_names`` adds the short
ones, and it imports nothing about QEMU before a test needs that. Only this module,
``fixtures`` and ``short_fixtures`` import pytest.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypedDict, Unpack, cast, get_args

import pytest

from qemu_blocksdk.errors import BlockSdkError, UsageError

from . import fixtures, short_fixtures
from .fixtures import (
    AXES,
    ENV,
    ENVIRONMENT,
    FAILED,
    KEEP,
    MACHINES,
    UPDATE,
    environment_of,
    environments,
    golden_of,
    option_of,
)
from .switches import KEEP_FAILED, UPDATE_GOLDEN

if TYPE_CHECKING:
    from qemu_blocksdk.tools.programs import ProgramName

    from .requirements import Requires

_PREFIX: Final = "blocksdk_"
_SHORT_NAMES: Final = "blocksdk_short_names"
_MARKERS: Final = {
    "formats": "the image formats that the test is for",
    "not_formats": "the image formats that the test is not for",
    "protocols": "the protocols that the test is for",
    "platforms": "the platforms that the test is for, as sys.platform begins",
}
_REQUIRES: Final = (
    *("driver", "command", "event", "member", "accelerator", "quorum", "luks", "root"),
)
_PROGRAMS: Final[Mapping[str, ProgramName]] = {
    "blocksdk_image": "qemu_img",
    "blocksdk_async_image": "qemu_img",
    "blocksdk_vm": "qemu",
    "blocksdk_vm_factory": "qemu",
    "blocksdk_async_vm": "qemu",
    "blocksdk_storage_daemon": "storage_daemon",
    "blocksdk_storage_daemon_factory": "storage_daemon",
    "blocksdk_async_storage_daemon": "storage_daemon",
    "blocksdk_nbd_server": "qemu_nbd",
    "blocksdk_async_nbd_server": "qemu_nbd",
}
"""The program that a fixture needs."""
_PACKAGE: Final = Path(__file__).parents[1]
_CALLERS: Final = tuple(
    str(Path(contextlib.__file__).with_name(name))
    for name in ("asyncio", "concurrent", "contextlib.py", "functools.py", "threading.py")
)
_CHECKED: Final = pytest.StashKey[set[object]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, with their prefix."""
    parser.addini(
        _SHORT_NAMES,
        "markers, options and fixtures of qemu_blocksdk also without the prefix 'blocksdk'",
        type="bool",
        default=False,
    )
    _add_options(parser, "--blocksdk-")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Add the short names of the options. Before this hook, pytest has not read the ini file."""
    if early_config.getini(_SHORT_NAMES):
        _add_options(parser, "--")


def _add_options(parser: pytest.Parser, prefix: str) -> None:
    group = parser.getgroup("qemu_blocksdk", "QEMU's block layer")

    def add(name: str, **settings: Unpack[_Settings]) -> None:
        dest = f"{_PREFIX}{name.replace('-', '_')}"
        group.addoption(f"{prefix}{name}", dest=dest, **settings)

    for name, what in AXES.items():
        add(name, action="append", default=[], metavar="X", help=f"{what}; several: a matrix")
    add(KEEP, action="store_true", default=False, help="keep the directories of tests that failed")
    add(UPDATE, action="store_true", default=False, help="write the golden files (never in CI)")


class _Settings(TypedDict, total=False):
    action: str
    default: object
    metavar: str
    help: str


def pytest_configure(config: pytest.Config) -> None:
    """Register fixtures and markers; refuse invalid options."""
    config.pluginmanager.register(fixtures, fixtures.__name__)
    if config.getini(_SHORT_NAMES):
        config.pluginmanager.register(short_fixtures, short_fixtures.__name__)
    for prefix in _prefixes(config):
        for name, what in _MARKERS.items():
            config.addinivalue_line("markers", f"{prefix}{name}(name, ...): {what}")
        config.addinivalue_line(
            "markers",
            f"{prefix}requires({', '.join(_REQUIRES)}): what the test needs of QEMU and its user",
        )
    # Tests of unittest have no fixtures; they read environment variables.
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    for option, switch in ((UPDATE, UPDATE_GOLDEN), (KEEP, KEEP_FAILED)):
        if option_of(config, option):
            environment.setenv(switch, "1")
    if any(option_of(config, option) for option in AXES):
        with _refused_as(pytest.UsageError):
            environments(config)


def _prefixes(config: pytest.Config) -> tuple[str, ...]:
    """Return what our names begin with, in this session."""
    return (_PREFIX, "") if config.getini(_SHORT_NAMES) else (_PREFIX,)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that use ``blocksdk_test_env`` in each environment of the matrix."""
    if ENVIRONMENT in metafunc.fixturenames:
        with _refused_as(pytest.Collector.CollectError):
            matrix = environments(metafunc.config)
        if len(matrix) > 1:
            metafunc.parametrize(
                ENVIRONMENT, list(matrix.values()), ids=list(matrix), indirect=True
            )


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, object, object]:
    """Check the markers, fixtures and directories of each test."""
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
    if "blocksdk_golden" in names:
        golden_of(item).assert_file()
    if ENVIRONMENT not in names:
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
    ours = {
        f"{prefix}{name}": name
        for prefix in _prefixes(item.config)
        for name in (*_MARKERS, "requires")
    }
    needs = [
        _needed(mark, ours[mark.name], item) for mark in item.iter_markers() if mark.name in ours
    ]
    if {"blocksdk_image", "blocksdk_async_image"}.intersection(getattr(item, "fixturenames", ())):
        from qemu_blocksdk.tools import ImageFormat

        from .requirements import Requires

        # These fixtures create files.
        needs.append(Requires(protocols=("file",), formats=get_args(ImageFormat)))
    return needs


def _needed(mark: pytest.Mark, name: str, item: pytest.Item) -> Requires:
    """Return what one of our markers says. Raises UsageError for wrong arguments."""
    from qemu_blocksdk.codec import evolve

    from .requirements import Requires, check, check_names

    if name != "requires":
        if mark.kwargs or not mark.args:
            raise UsageError(f"the marker {mark.name} takes names: {mark.name}('...')")
        needed = evolve(Requires(), **{name: mark.args})
    elif mark.args or not mark.kwargs or not mark.kwargs.keys() <= set(_REQUIRES):
        raise UsageError(f"the marker {mark.name} takes by keyword: {', '.join(_REQUIRES)}")
    else:
        needed = Requires(**mark.kwargs)
    check(needed)
    check_names(needed, lambda: environment_of(item))
    return needed


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that cannot run here, with the reason."""
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
    """Add the state of the test's QEMUs to the report of a failure."""
    env = item.stash.get(ENV, None)
    if call.excinfo is not None and not item.config.getoption("fulltrace", False):
        _leave_out_ours(call.excinfo.value)
    report = yield
    if env is None or not report.failed or item.stash[FAILED]:
        return report
    item.stash[FAILED] = True
    if (machines := item.stash.get(MACHINES, None)) is not None:
        report.sections += [(each.title, each.text) for each in machines.describe()]
    if option_of(item.config, KEEP):
        report.sections.append((f"kept: {env.test_dir}", ""))
    return report


def _leave_out_ours(error: BaseException | None) -> None:
    """Remove our frames from errors that we raise on purpose, so that they end in the test's line.

    Frames of the standard library beside ours, such as ``contextlib``'s in a ``with`` of ours, go
    with them.
    """
    from qemu_blocksdk.sealed import entries, linked

    seen = set[int]()
    while isinstance(error, BlockSdkError | AssertionError) and id(error) not in seen:
        seen.add(id(error))
        kept: list[TracebackType] = []
        for is_outside, frames in itertools.groupby(entries(error.__traceback__), _is_outside):
            run = list(frames)
            if is_outside or not any(map(_is_ours, run)):
                kept += run
        error.__traceback__ = linked(kept)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_outside(frame: TracebackType) -> bool:
    """Whether a frame is neither ours nor of the modules by which our functions are called."""
    return not _is_ours(frame) and not frame.tb_frame.f_code.co_filename.startswith(_CALLERS)


def _is_ours(frame: TracebackType) -> bool:
    return frame.tb_frame.f_code.co_filename.startswith(f"{_PACKAGE}{os.sep}")


@contextlib.contextmanager
def _refused_as(kind: type[Exception]) -> Generator[None]:
    """Turn an error of ours into one that pytest shows without a traceback."""
    try:
        yield
    except (BlockSdkError, OSError) as error:
        raise kind(str(error)) from error
