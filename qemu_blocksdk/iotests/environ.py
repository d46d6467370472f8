"""What a script runs with, as names: from the environment, once, when ``iotests`` is imported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, cast

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing.env import TestEnv

from . import ACCELERATOR_VARIABLE

if TYPE_CHECKING:
    from qemu_blocksdk.objects import Accelerator

try:
    ENV: Final[TestEnv] = TestEnv.from_environ()
except UsageError as _error:
    raise UsageError(
        f"{_error}: run scripts by `python -m qemu_blocksdk.iotests run SCRIPT`"
    ) from _error

accelerator: Accelerator | None = cast(
    "Accelerator | None", os.environ.get(ACCELERATOR_VARIABLE) or None
)

imgfmt: str = ENV.imgfmt
imgproto: str = ENV.imgproto
test_dir: str = str(ENV.test_dir)
sock_dir: str = str(ENV.sock_dir)
output_dir: str = str(ENV.output_dir)
sample_img_dir: str = str(ENV.sample_img_dir or "")
cachemode: str = ENV.cache_mode
aiomode: str = ENV.aio_mode
qemu_default_machine: str = ENV.default_machine or ""
socket_scm_helper: str = os.environ.get("SOCKET_SCM_HELPER", "socket_scm_helper")

qemu_prog: str
qemu_nbd_prog: str
qemu_opts: list[str]
qemu_prog, *qemu_opts = ENV.programs.words("qemu")
qemu_img_args: list[str] = list(ENV.programs.words("qemu_img"))
qemu_io_args_no_fmt: list[str] = list(ENV.programs.words("qemu_io"))
qemu_io_args: list[str] = [qemu_io_args_no_fmt[0], *(ENV.qemu_io_options or ())]
qemu_nbd_args: list[str] = list(ENV.programs.words("qemu_nbd"))
qemu_nbd_prog = qemu_nbd_args[0]

luks_default_secret_object: str = f"secret,id=keysec0,data={os.fsdecode(ENV.key_secret.reveal())}"
luks_default_key_secret_opt: str = "key-secret=keysec0"
