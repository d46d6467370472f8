"""qemu-img and qemu-io by their old names: argument lists in, outputs and statuses out."""

from __future__ import annotations

import bz2
import json
import math
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qemu_blocksdk.errors import ToolError
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.sealed import sealed, sealed_class
from qemu_blocksdk.tools.luks_timing import BY_CHANCE, TRIES
from qemu_blocksdk.tools.qemu_io_session import IoSession

from .environ import (
    imgfmt,
    luks_default_key_secret_opt,
    luks_default_secret_object,
    qemu_img_args,
    qemu_io_args,
    qemu_io_args_no_fmt,
    sample_img_dir,
)
from .filtering import filter_img_info, filter_qemu_io, filter_testfiles
from .logs import log
from .programs import call, qemu_tool_pipe_and_status, told

_KEY = ("--object", luks_default_secret_object)


@sealed
def qemu_img_pipe_and_status(*args: str) -> tuple[str, int]:
    """Run qemu-img, again where QEMU 7.2 failed at LUKS by chance; return its output and status."""
    words = [*qemu_img_args, *args]
    output, status = qemu_tool_pipe_and_status("qemu-img", words)
    for _ in range(TRIES - 1):
        if BY_CHANCE not in output:
            break
        output, status = qemu_tool_pipe_and_status("qemu-img", words)
    return output, status


@sealed
def qemu_img(*args: str) -> int:
    """Run qemu-img; return its status."""
    return qemu_img_pipe_and_status(*args)[1]


@sealed
def qemu_img_pipe(*args: str) -> str:
    """Run qemu-img; return what it printed, on stderr too."""
    return qemu_img_pipe_and_status(*args)[0]


@sealed
def qemu_img_create(*args: str) -> int:
    """Run ``qemu-img create``, for LUKS with the default key unless another is given."""
    words = list(args)
    if "-f" in words and words[words.index("-f") + 1] == "luks":
        if "-o" not in words:
            words = ["-o", luks_default_key_secret_opt, *_KEY, *words]
        else:
            value = words.index("-o") + 1
            if "key-secret" not in words[value]:
                words[value] += f",{luks_default_key_secret_opt}"
                words[value + 1 : value + 1] = _KEY
    return qemu_img("create", *words)


@sealed
def qemu_img_measure(*args: str) -> Any:
    """Run ``qemu-img measure``; return what it says, from JSON."""
    return json.loads(qemu_img_pipe("measure", "--output", "json", *args))


@sealed
def qemu_img_check(*args: str) -> Any:
    """Run ``qemu-img check``; return what it says, from JSON."""
    return json.loads(qemu_img_pipe("check", "--output", "json", *args))


@sealed
def qemu_img_verbose(*args: str) -> int:
    """Run qemu-img, whose output is the script's; return its status."""
    words = [*qemu_img_args, *args]
    return told("qemu-img", words, call(words))


@sealed
def qemu_img_log(*args: str) -> str:
    """Run qemu-img; log and return what it printed."""
    result = qemu_img_pipe(*args)
    log(result, filters=[filter_testfiles])
    return result


@sealed
def img_info_log(
    filename: str,
    filter_path: str | None = None,
    imgopts: bool = False,
    extra_args: Sequence[str] = (),
) -> None:
    """Log what ``qemu-img info`` tells of an image; ``filter_path`` becomes ``TEST_IMG``."""
    form = ["--image-opts"] if imgopts else ["-f", imgfmt]
    output = qemu_img_pipe("info", *form, *extra_args, filename)
    log(filter_img_info(output, filter_path or filename))


@sealed
def qemu_io(*args: str) -> str:
    """Run qemu-io; return what it printed, on stderr too."""
    return qemu_tool_pipe_and_status("qemu-io", [*qemu_io_args, *args])[0]


@sealed
def qemu_io_log(*args: str) -> str:
    """Run qemu-io; log and return what it printed."""
    result = qemu_io(*args)
    log(result, filters=[filter_testfiles, filter_qemu_io])
    return result


@sealed
def qemu_io_silent(*args: str) -> int:
    """Run qemu-io, whose complaints alone are the script's; return its status."""
    has_format = "-f" in args or "--image-opts" in args
    words = [*(qemu_io_args_no_fmt if has_format else qemu_io_args), *args]
    with Path(os.devnull).open("wb") as nowhere:
        return told("qemu-io", words, call(words, stdout=nowhere.fileno()))


@sealed
def qemu_io_silent_check(*args: str) -> bool:
    """Run qemu-io, which prints nothing; tell whether it succeeded."""
    with Path(os.devnull).open("wb") as nowhere:
        return call([*qemu_io_args, *args], stdout=nowhere.fileno(), stderr=nowhere.fileno()) == 0


@sealed
def compare_images(img1: str, img2: str, fmt1: str = imgfmt, fmt2: str = imgfmt) -> bool:
    """Tell whether two images have the same content."""
    return qemu_img("compare", "-f", fmt1, "-F", fmt2, img1, img2) == 0


@sealed
def create_image(name: str, size: int) -> None:
    """Make a raw image in which each sector says, at both ends, which one it is."""
    with Path(name).open("wb") as file:
        for sector in range(-(-size // 512)):
            file.write(struct.pack(">l504xl", sector, sector))


@sealed
def image_size(img: str) -> int:
    """Return the virtual size of an image in bytes."""
    size: int = json.loads(qemu_img_pipe("info", "--output=json", "-f", imgfmt, img))[
        "virtual-size"
    ]
    return size


@sealed
def unarchive_sample_image(sample: str, fname: str) -> None:
    """Unpack a sample image, ``SAMPLE.bz2``, into a file."""
    packed = Path(sample_img_dir) / f"{sample}.bz2"
    with bz2.open(packed) as source, Path(fname).open("wb") as target:
        shutil.copyfileobj(source, target)


@sealed_class
class QemuIoInteractive:
    """A qemu-io that is asked line by line."""

    def __init__(self, *args: str) -> None:
        """Start it. Raises ValueError, with what it said, where it ends instead."""
        self.args: list[str] = [*qemu_io_args_no_fmt, *args]
        try:
            self._session = background_loop.run(IoSession.start(self.args, timeout=math.inf))
        except ToolError as error:
            raise ValueError(error.output) from error

    def close(self) -> None:
        """End it."""
        background_loop.run(self._session.close(timeout=math.inf))

    def cmd(self, cmd: str) -> str:
        """Have a command carried out; return what it printed."""
        assert "\n" not in cmd
        cmd = cmd.strip()
        assert cmd not in ("q", "quit")
        answer = background_loop.run(self._session.ask(cmd, timeout=math.inf))
        return answer.complaints + answer.text
