"""The test case of scripts, and what has them not run, whole or in part."""

from __future__ import annotations

import functools
import json
import os
import sys
import unittest
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

from qemu_blocksdk.codec import JsonValue, flatten
from qemu_blocksdk.errors import DeadlineExceeded, Unsupported
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.testing import notrun as typed
from qemu_blocksdk.testing import skips
from qemu_blocksdk.testing.assertions import QmpAssertions
from qemu_blocksdk.testing.env import TestEnv

from .environ import ENV, qemu_opts, qemu_prog
from .filtering import index_re
from .programs import qemu_tool_pipe_and_status

_F = TypeVar("_F", bound=Callable[..., Any])


class NotHere(Unsupported, unittest.SkipTest):
    """QEMU lacks what a script needs: its case is skipped, or else the script is not run."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        case_notrun(str(self))


def _ended_by(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if isinstance(error, NotHere):
        notrun(str(error))
    _excepthook(kind, error, traceback)


# So that a script which was written for a QEMU that has it need not know.
_excepthook = sys.excepthook
sys.excepthook = _ended_by


class QMPTestCase(QmpAssertions):
    """A test case whose ``vm`` is the VM that its assertions are about.

    What it says of a failure is what it has always said: it may stand in a reference output.
    """

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self.vm: Any = None

    def _machine(self) -> Any:
        return self.vm

    def _environment(self) -> TestEnv:
        return ENV

    def dictpath(self, d: Any, path: str) -> Any:
        """Return what is at a path of a message; fail where it is not."""
        here: JsonValue = d
        for part in path.split("/"):
            found = index_re.match(part)
            name, index = (found[1], int(found[2])) if found else (part, None)
            if not isinstance(here, dict) or name not in here:
                self.fail(f'failed path traversal for "{path}" in "{here}"')
            here = here[name]
            if index is not None:
                if not isinstance(here, list):
                    self.fail(f'path component "{name}" in "{path}" is not a list in "{here}"')
                if not -len(here) <= index < len(here):
                    self.fail(f'invalid index "{index}" in path "{path}" in "{here}"')
                here = here[index]
        return here

    def assert_qmp_absent(self, d: Any, path: str) -> None:
        """Assert that there is nothing at a path, not even a null."""
        try:
            found = self.dictpath(d, path)
        except AssertionError:
            return
        self.fail(f'path "{path}" has value "{found}"')

    def assert_qmp(self, d: Any, path: str, value: Any) -> None:
        """Assert what is at a path: ``value``, or one of them where that is a list with items."""
        found = self.dictpath(d, path)
        if not isinstance(value, list) or value == []:
            words = f'"{path}" is "{found}", expected "{value}"'
            self.assertEqual(found, value, words)  # noqa: PT009 - what unittest says
        elif found not in value:
            self.fail(f'no match for "{found}" in {value}')

    def _assert_no_error(self, event: Any) -> None:
        self.assert_qmp_absent(event, "data/error")

    def assert_has_block_node(
        self, node_name: str | None = None, file_name: str | None = None
    ) -> None:
        """Assert that there is a block node of that name, that file, or both."""
        assert node_name or file_name
        result = self.vm.qmp("query-named-block-nodes")
        for node in result["return"]:
            pairs = (node.get("node-name"), node_name), (node.get("file"), file_name)
            if all(None in pair or pair[0] == pair[1] for pair in pairs):
                return
        self.fail(f"Cannot find {node_name} {file_name} in result:\n{result}")

    def assert_json_filename_equal(self, json_filename: str, reference: Any) -> None:
        """Assert that a file name is a ``json:`` one of the same members, nested or dotted."""
        self.assertEqual(json_filename[:5], "json:")  # noqa: PT009 - what unittest says
        found, wanted = flatten(json.loads(json_filename[5:])), flatten(reference)
        self.assertEqual(found, wanted)  # noqa: PT009

    def pause_wait(self, job_id: str = "job0") -> Any:
        """Wait until a block job stands still, 3 s at most; return what is known of it."""
        try:
            return super().pause_wait(job_id)
        except DeadlineExceeded as error:
            raise Exception("Timeout waiting for job to pause") from error


def notrun(reason: str) -> NoReturn:
    """End the script as not run."""
    typed.notrun(reason, env=ENV)


def case_notrun(reason: str) -> None:
    """Tell the runner that a case does not run; the caller skips it."""
    typed.case_notrun(reason, env=ENV)


def skip_if_unsupported(
    required_formats: Sequence[str] | Callable[[Any], Sequence[str]] = (), read_only: bool = False
) -> Callable[[_F], _F]:
    """Skip a case unless QEMU has these drivers: a list, or what a function of the case returns."""
    return _undocumented(skips.skip_if_unsupported(required_formats, read_only=read_only, env=ENV))


def skip_for_formats(formats: Sequence[str] = ()) -> Callable[[_F], _F]:
    """Skip a case for these image formats."""
    return _undocumented(skips.skip_for_formats(formats, env=ENV))


def skip_if_user_is_root(func: _F) -> _F:
    """Leave a case out for root; it counts as passed."""

    @functools.wraps(func)
    def left_out_for_root(*args: Any, **kwargs: Any) -> Any:
        if os.getuid() == 0:
            case_notrun(f"{args[0]}: cannot be run as root")
            return None
        return func(*args, **kwargs)

    left_out_for_root.__doc__ = None  # as _undocumented
    return cast("_F", left_out_for_root)


def _undocumented(decorator: Any) -> Callable[[_F], _F]:
    """Have what is decorated show no docstring: ``-d`` would print it, which it never has."""

    def decorated(func: _F) -> _F:
        case: _F = decorator(func)
        case.__doc__ = None
        return case

    return decorated


def supported_formats(read_only: bool = False) -> list[str]:
    """Return the drivers that QEMU can use, for writing or for reading."""
    return typed.supported_formats(env=ENV, read_only=read_only)


def supports_quorum() -> bool:
    """Tell whether qemu-img has ``quorum``."""
    return typed.supports_quorum(env=ENV)


def verify_quorum() -> None:
    """End the script as not run unless qemu-img has ``quorum``."""
    typed.verify_quorum(env=ENV)


def has_working_luks() -> tuple[bool, str]:
    """Tell whether LUKS works, and why not."""
    problem = typed.luks_problem(env=ENV)
    return problem is None, problem or ""


def verify_working_luks() -> None:
    """End the script as not run unless LUKS works."""
    typed.verify_working_luks(env=ENV)


@sealed
def qemu_pipe(*args: str) -> str:
    """Run QEMU with options that print something and exit; return that."""
    return qemu_tool_pipe_and_status("qemu", [qemu_prog, *qemu_opts, *args])[0]


def verify_image_format(
    supported_fmts: Sequence[str] = (), unsupported_fmts: Sequence[str] = ()
) -> None:
    typed.verify_image_format(supported_fmts, unsupported_fmts, env=ENV)


def verify_protocol(supported: Sequence[str] = (), unsupported: Sequence[str] = ()) -> None:
    typed.verify_protocol(supported, unsupported, env=ENV)


def verify_platform(supported: Sequence[str] = (), unsupported: Sequence[str] = ()) -> None:
    typed.verify_platform(supported, unsupported, env=ENV)


def verify_cache_mode(supported_cache_modes: Sequence[str] = ()) -> None:
    typed.verify_cache_mode(supported_cache_modes, env=ENV)


def verify_aio_mode(supported_aio_modes: Sequence[str] = ()) -> None:
    typed.verify_aio_mode(supported_aio_modes, env=ENV)


def verify_formats(required_formats: Sequence[str] = ()) -> None:
    typed.verify_formats(required_formats, env=ENV)


def verify_virtio_blk() -> None:
    """End the script as not run unless QEMU has virtio-blk."""
    typed.verify_virtio_blk(env=ENV)


def verify_virtio_scsi_pci_or_ccw() -> None:
    """End the script as not run unless QEMU has virtio-scsi."""
    typed.verify_virtio_scsi_pci_or_ccw(env=ENV)
