"""The test case of scripts, and what has them not run, whole or in part."""

from __future__ import annotations

import functools
import os
import sys
import unittest
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.qmp import portal
from qemu_blocksdk.testing import notrun as typed
from qemu_blocksdk.testing import skips
from qemu_blocksdk.testing.assertions import QmpAssertions
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.tools.luks import query_luks

from .environ import ENV, qemu_img_args, qemu_opts, qemu_prog
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
    """A test case whose ``vm`` is the VM that its assertions are about."""

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self.vm: Any = None

    def _machine(self) -> Any:
        return self.vm

    def _environment(self) -> TestEnv:
        return ENV


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
    decorator: Any = skips.skip_if_unsupported(required_formats, read_only=read_only, env=ENV)
    return decorator  # type: ignore[no-any-return]


def skip_for_formats(formats: Sequence[str] = ()) -> Callable[[_F], _F]:
    """Skip a case for these image formats."""
    decorator: Any = skips.skip_for_formats(formats, env=ENV)
    return decorator  # type: ignore[no-any-return]


def skip_if_user_is_root(func: _F) -> _F:
    """Leave a case out for root; it counts as passed."""

    @functools.wraps(func)
    def left_out_for_root(*args: Any, **kwargs: Any) -> Any:
        if os.getuid() == 0:
            case_notrun(f"{args[0]}: cannot be run as root")
            return None
        return func(*args, **kwargs)

    return cast("_F", left_out_for_root)


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
    problem = portal.run(query_luks(qemu_img_args, timeout=30.0)).problem
    return problem is None, problem or ""


def verify_working_luks() -> None:
    """End the script as not run unless LUKS works."""
    typed.verify_working_luks(env=ENV)


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
