"""The environments that a test runs in: all combinations of options and environment variables.

The variables are those of QEMU's ``check``; an option overrides its variable. Each combination is a
:class:`TestEnv` without directories yet.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools import Programs

from .env import AIO_MODES, CACHE_MODES, IMGFMTS, IMGPROTOS, TestEnv, one_of, secret_of

_PROGRAMS = ("QEMU_PROG", "QEMU_IMG_PROG", "QEMU_IO_PROG", "QEMU_NBD_PROG", "QSD_PROG")
_ROOM: Final = 16 << 20


class Choices(Value):
    """The values of the options, each any number of times; without one, the variable counts."""

    qemu: Sequence[str] = ()
    imgfmt: Sequence[str] = ()
    imgproto: Sequence[str] = ()
    cache_mode: Sequence[str] = ()
    aio_mode: Sequence[str] = ()


def matrix(choices: Choices, environ: Mapping[str, str]) -> dict[str, TestEnv]:
    """Return the environments by their ids, which name only what differs.

    Raises UsageError for unknown and missing things, and if no combination is possible.
    """
    programs = _programs(choices.qemu, environ)
    formats = _chosen(choices.imgfmt, environ.get("IMGFMT") or "raw")
    protocols = _chosen(choices.imgproto, environ.get("IMGPROTO") or "file")
    cache_modes = _chosen(choices.cache_mode, environ.get("CACHEMODE") or "writeback")
    aio_modes = _chosen(choices.aio_mode, environ.get("AIOMODE") or "threads")
    axes = (list(programs), formats, protocols, cache_modes, aio_modes)
    found: dict[str, TestEnv] = {}
    for combination in itertools.product(*axes):
        qemu, imgfmt, imgproto, cache_mode, aio_mode = combination
        env = TestEnv(
            test_dir=Path(),
            sock_dir=Path(),
            programs=programs[qemu],
            imgfmt=one_of(IMGFMTS, imgfmt, what="image format"),
            imgproto=one_of(IMGPROTOS, imgproto, what="protocol"),
            cache_mode=one_of(CACHE_MODES, cache_mode, what="cache mode"),
            aio_mode=one_of(AIO_MODES, aio_mode, what="aio mode"),
            default_machine=environ.get("QEMU_DEFAULT_MACHINE") or None,
        )
        if secret := environ.get("IMGKEYSECRET"):
            env = env.evolve(key_secret=secret_of(secret))
        # QEMU refuses it: native requests have to go past the host's cache.
        if aio_mode != "native" or cache_mode in ("none", "directsync"):
            differing = zip(combination, axes, strict=True)
            found["-".join(word for word, axis in differing if len(axis) > 1)] = env
    if "native" in aio_modes and not any(env.aio_mode == "native" for env in found.values()):
        given = ", ".join(cache_modes)
        raise UsageError(f"aio mode native needs cache mode none or directsync, not {given}")
    return found


def assert_directories(images: Path) -> None:
    """Raise UsageError if there is not enough room for images or sockets.

    ``images`` is the directory, which need not exist yet, that has the directories of all tests.
    """
    for path in (images, Path(tempfile.gettempdir())):
        there = next(one for one in (path, *path.parents) if one.exists())
        status = os.statvfs(there)
        if (room := status.f_bavail * status.f_frsize) < _ROOM:
            needed = f"tests need {_ROOM >> 20} MiB"
            raise UsageError(f"{there} has room for {room / (1 << 20):.1f} MiB, and {needed}")


def _chosen(given: Sequence[str], default: str) -> list[str]:
    return list(dict.fromkeys(given)) or [default]


def _programs(given: Sequence[str], environ: Mapping[str, str]) -> dict[str, Programs]:
    """Return the programs of each QEMU by what its place has that the others have not."""
    if not given:
        return {"": Programs.from_environ(environ)}
    if named := [name for name in _PROGRAMS if environ.get(name)]:
        raise UsageError(
            f"--blocksdk-qemu contradicts {named[0]}, which is in the environment: leave out one"
        )
    places = list(dict.fromkeys(Path(each).absolute() for each in given))
    return {label: _at(place) for label, place in zip(_labels(places), places, strict=True)}


def _at(place: Path) -> Programs:
    try:
        if place.is_dir():
            programs, what = Programs.in_directory(place), "QEMU in"
        else:
            directory = Programs.in_directory(place.parent)
            programs, what = directory.evolve(qemu=(str(place),)), "program"
        there = programs.find()
    except OSError as error:  # a name that is too long
        raise UsageError(f"--blocksdk-qemu: {error}") from error
    if not there or (what == "program" and "qemu" not in there):
        raise UsageError(f"--blocksdk-qemu: there is no {what} {place}")
    return programs


def _labels(places: Sequence[Path]) -> list[str]:
    """Return the paths without the parts that all of them begin or end with."""
    columns = [list(place.parts) for place in places]
    for end in (0, -1):
        while all(columns) and len({parts[end] for parts in columns}) == 1 and len(columns) > 1:
            for parts in columns:
                parts.pop(end)
    return ["-".join(parts) or str(number) for number, parts in enumerate(columns)]
