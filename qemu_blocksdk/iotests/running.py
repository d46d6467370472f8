"""How a script begins and is run, by the old names."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qemu_blocksdk.testing import runner as typed

from . import RESULTS_VARIABLE
from .environ import ENV
from .logs import activate_logging

_PLACES = (
    "supported_fmts",
    "supported_platforms",
    "supported_cache_modes",
    "supported_aio_modes",
    "unsupported_fmts",
    "supported_protocols",
    "unsupported_protocols",
    "required_fmts",
)


def execute_setup_common(*args: Sequence[str], **kwargs: Any) -> bool:
    """End the script where it cannot run here; return whether ``-d`` asked for debugging.

    The lists may be given by place: formats, platforms, cache modes, aio modes that it is for,
    formats that it is not for, protocols, protocols that it is not for, formats that it needs.
    """
    by_place = dict(zip(_PLACES, args, strict=False))
    return typed.execute_setup_common(env=ENV, **by_place, **kwargs)


def execute_test(
    *args: Sequence[str], test_function: Callable[[], object] | None = None, **kwargs: Any
) -> None:
    """Run a function, or the cases of the script, unless they cannot run here."""
    debug = execute_setup_common(*args, **kwargs)
    if test_function:
        test_function()
    else:
        execute_unittest(sys.argv, debug)


def execute_unittest(argv: Sequence[str] | bool = False, debug: bool = False) -> None:
    """Run the cases of the script. The older revision has no ``argv``.

    The newer writes to stdout what comes of each case; the older, all to stderr at the end.
    """
    words, debug = (sys.argv, argv) if isinstance(argv, bool) else (argv, debug)
    are_last = not debug and _results_are_last(Path(words[0]))
    results = io.StringIO() if are_last else None
    try:
        typed.execute_unittest(words, debug=debug, stream=results)
    finally:
        if results is not None:
            sys.stderr.write(results.getvalue())


def _results_are_last(script: Path) -> bool:
    """Decide by the variable, or else by the reference output beside the script."""
    if chosen := os.environ.get(RESULTS_VARIABLE):
        return chosen == "last"
    from .outcome import results_are_last  # scripts without cases do not need it

    return results_are_last(script, ENV.imgfmt)


def script_initialize(*args: Sequence[str], **kwargs: Any) -> None:
    """Begin a script that is not one function."""
    activate_logging()
    execute_setup_common(*args, **kwargs)


def script_main(test_function: Callable[[], object], *args: Sequence[str], **kwargs: Any) -> None:
    """Run a script that is a function."""
    activate_logging()
    execute_test(*args, test_function=test_function, **kwargs)


def main(*args: Sequence[str], **kwargs: Any) -> None:
    """Run the cases of a script."""
    execute_test(*args, **kwargs)
