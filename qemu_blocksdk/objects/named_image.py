"""Disk images by their names: what identifies one, and how the tools are told of it."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, cast

from qemu_blocksdk.codec import Secret, masked
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools import ImageFormat, Programs
from qemu_blocksdk.tools.chain import (
    FileId,
    assert_can_be_an_image,
    assert_openable,
    identity,
)
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.tools.run import Completed, Confinement, Limits, as_file, ask, run
from qemu_blocksdk.tools.target import Target
from qemu_blocksdk.tools.tls import TlsCredentials
from qemu_blocksdk.tools.untrusted import TO_READ, alone
from qemu_blocksdk.wire import BlockdevOptions

from .image_options import file_options, image_options

ReadOnlyFormat = Literal["bochs", "cloop", "dmg"]
"""Formats that QEMU reads and does not write."""


class NamedImage:
    """An image by its path and format, its options, or its URI.

    The format is always told, never guessed. Names are literal: neither a protocol nor an
    option is ever read into one.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        format: ImageFormat | ReadOnlyFormat,
        secret: Secret | None = None,
        programs: Programs | None = None,
    ) -> None:
        """Name an image; whether it is there shows when it is used.

        ``secret`` opens an encrypted one.
        """
        self._make_target: Callable[..., Target] = functools.partial(
            Target.of_file, path, format, secret
        )
        self._target = self._make_target()
        self._path = as_file(path)
        self._format: str = format
        self._secret = secret
        self._programs = programs or Programs()

    @classmethod
    def from_options(
        cls,
        options: BlockdevOptions,
        *,
        secrets: Mapping[str, Secret] | None = None,
        programs: Programs | None = None,
    ) -> Self:
        """Name an image by the options that open it, all children inside.

        ``secrets`` has those that the options refer to (``key_secret``), by their ids.
        Raises UsageError for options that hold a secret themselves.
        """
        make_target = functools.partial(Target.of_options, options, secrets or {})
        return cls._of_target(make_target, options.driver, programs)

    @classmethod
    def at_uri(
        cls,
        uri: NbdUri | str,
        *,
        format: ImageFormat = "raw",
        tls: TlsCredentials | None = None,
        programs: Programs | None = None,
    ) -> Self:
        """Name what an NBD server offers.

        Raises UsageError for what is no NBD URI and for one with TLS without credentials.
        """
        parsed = NbdUri.parse(uri) if isinstance(uri, str) else uri
        make_target = functools.partial(Target.of_nbd, parsed, format, tls)
        return cls._of_target(make_target, format, programs)

    @classmethod
    def _of_target(
        cls, make_target: Callable[..., Target], format: str, programs: Programs | None
    ) -> Self:
        self = cls.__new__(cls)
        self._make_target, self._target = make_target, make_target()
        self._path, self._format = "", format
        self._secret, self._programs = None, programs or Programs()
        return self

    @property
    def path(self) -> Path:
        """Where the image is, absolute. Raises UsageError for one that was named by options."""
        if not self._path:
            raise UsageError(f"{self!r} has no path of its own")
        return Path(self._path)

    @property
    def format(self) -> str:
        """The image's format."""
        return self._format

    def options(self, node_name: str, *, key_secret: str | None = None) -> BlockdevOptions:
        """Return the options by which a running QEMU opens the image as a node of that name.

        ``key_secret`` is the id of the secret there that opens an encrypted one
        (:meth:`AsyncQemu.add_secret`). Raises UsageError for an image named by options.
        """
        file = file_options(str(self.path))
        options = image_options(file, format=self._format, key_secret=key_secret)
        return options.named(node_name)

    # -- what the verbs share -----------------------------------------------------------

    def _at(self, path: Path) -> Self:
        """The same image under another name, as that of a draft: all else that it says stays."""
        return type(self)(
            path,
            format=cast("ImageFormat", self._format),
            secret=self._secret,
            programs=self._programs,
        )

    def _name_for_others(self) -> str:
        """The name by which another image refers to this one as its backing file."""
        return self._path or self._target.filename

    def _programs_to_make(self, target: NamedImage) -> Programs:
        """The programs that copy the image to another one, which may have been given its own.

        Raises UsageError where the two were given different ones.
        """
        default = Programs().qemu_img
        given = {tuple(image._programs.qemu_img) for image in (self, target)} - {tuple(default)}
        if len(given) > 1:
            raise UsageError(f"{self!r} and {target!r} have different programs: {sorted(given)}")
        return self._programs if target._programs.qemu_img == default else target._programs

    def _assert_openable(self, *, may_guess: bool = True) -> Mapping[FileId, str]:
        """Return the files of the backing chain; raise UsageError for one not to be opened.

        One that loops or, unless QEMU ``may_guess``, does not tell its formats.
        """
        if self._path:
            return assert_openable(self._path, self._format, may_guess=may_guess)
        return assert_openable(self._target.filename, None, may_guess=may_guess)

    def _assert_can_be_an_image(self) -> None:
        if self._path:
            assert_can_be_an_image(self._path)

    def _assert_not_among(self, files: Mapping[FileId, str]) -> None:
        """Raise UsageError where the image, to be written, is one of the files that are read."""
        own = identity(self._path) if self._path else None
        if own is not None and own in files:
            raise UsageError(
                f"{self!r} cannot be written: it is the file {files[own]!r}, which is read here"
            )

    @contextlib.contextmanager
    def _opened(
        self,
        *,
        untrusted: bool,
        limits: Limits = TO_READ,
        is_metadata: bool = False,
        may_guess: bool = True,
        nth: int = 0,
    ) -> Generator[tuple[Target, Confinement | None]]:
        """Give how a tool is told of the image, and what it is confined to for an untrusted one.

        Raises UsageError for a backing chain that QEMU should not open, and for an untrusted
        image that is not one file.
        """
        if untrusted:
            with self._opened_alone(limits=limits, is_metadata=is_metadata, nth=nth) as found:
                yield found
        else:
            self._assert_openable(may_guess=may_guess)
            yield self._make_target(nth=nth), None

    def _opened_alone(
        self, *, limits: Limits, is_metadata: bool = False, nth: int = 0
    ) -> contextlib.AbstractContextManager[tuple[Target, Confinement]]:
        self._assert_is_a_file()
        return alone(
            *(self._path, self._format, self._secret),
            nth=nth,
            limits=limits,
            is_metadata=is_metadata,
        )

    def _assert_only_read(self, *, read_only: bool, snapshot: bool) -> None:
        """Raise UsageError where a program is to write the image, or to a copy of it.

        And for an image that is no file.
        """
        self._assert_is_a_file()
        if not read_only or snapshot:
            raise UsageError(f"{self!r} is untrusted: give read_only=True, and no snapshot")

    def _assert_is_a_file(self) -> None:
        if not self._path:
            raise UsageError(f"{self!r} has no path; an untrusted image is one file")

    async def _ask(
        self,
        command: str,
        *words: Sequence[str],
        accept: Sequence[int] = (0,),
        timeout: float | None,
        confinement: Confinement | None = None,
    ) -> Completed:
        return await ask(
            [*self._programs.qemu_img, command],
            [word for some in words for word in some],
            timeout=timeout,
            accept=accept,
            secrets=self._target.secrets,
            confinement=confinement,
        )

    async def _run(
        self,
        command: str,
        words: Sequence[str],
        *,
        timeout: float | None = None,
        accept: Sequence[int] = (0,),
        secrets: Mapping[str, Secret] | None = None,
        on_output: Callable[[bytes], None] | None = None,
        confinement: Confinement | None = None,
        programs: Programs | None = None,
    ) -> Completed:
        return await run(
            [*(programs or self._programs).qemu_img, command],
            words,
            timeout=timeout,
            accept=accept,
            secrets=self._target.secrets if secrets is None else secrets,
            on_output=on_output,
            confinement=confinement,
        )

    def __repr__(self) -> str:
        name = self._path or masked(self._target.filename)
        return f"<{self._format} image {name!r}>"
