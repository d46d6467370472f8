"""The methods of the block drivers' option classes.

Here live the text of the drivers' base class and, for each driver, the signature of its `evolve`
with the `TypedDict` that types it. Only type checkers read these, and only below Python 3.13:
from there on they derive the signature from the members. The dictionaries are a module of their
own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .layout import HEADER, docstring, import_line, import_order
from .merged import Branch, Field, Merged, Module, UnionType

COMPOSED: Final = "BlockdevOptions"
"""The union whose branches these are."""
NAMES: Final = ("BackedOptions", "CacheMode", "DriverOptions")
"""What `BASE` defines."""
CHANGES: Final = "_changes"
"""The module of the typed dictionaries."""

BASE: Final = '''\
CacheMode = Literal["writeback", "none", "writethrough", "directsync", "unsafe"]
"""A cache mode as `-drive` and the tools take it."""


class DriverOptions(Struct):
    """Base of the options of every driver: methods that return options derived from these.

    Options are immutable. Set further members of a filter with `evolve`.
    """

    _is_base: ClassVar[bool] = True

    def named(self, node_name: str | None) -> Self:
        """Return the options with that node name, or without one."""
        return evolve(self, node_name=node_name)

    def as_read_only(self) -> Self:
        """Return the options of a node that nobody can write to."""
        return evolve(self, read_only=True)

    def cached(self, mode: CacheMode) -> Self:
        """Return the options with what a cache mode says of a node.

        `none` and `directsync` go past the host's cache, `unsafe` ignores flushes. Whether a
        write is flushed at once is for the device to say (`write-cache`).
        """
        cache = BlockdevCacheOptions(
            direct=mode in ("none", "directsync"), no_flush=mode == "unsafe"
        )
        return evolve(self, cache=cache)

    def throttled(self, throttle_group: str) -> Throttle:
        """Return the options of a filter over this that keeps to the limits of a group."""
        return Throttle(file=cast("BlockdevOptions", self), throttle_group=throttle_group)

    def copy_before_write(self, target: BlockdevRef) -> CopyBeforeWrite:
        """Return the options of a filter over this that saves to `target` what is overwritten."""
        return CopyBeforeWrite(file=cast("BlockdevOptions", self), target=target)

    def copy_on_read(self) -> CopyOnRead:
        """Return the options of a filter over this that keeps what is read from backing files."""
        return CopyOnRead(file=cast("BlockdevOptions", self))

    def compress(self) -> Compress:
        """Return the options of a filter over this that has whole clusters compressed."""
        return Compress(file=cast("BlockdevOptions", self))

    def preallocate(self) -> Preallocate:
        """Return the options of a filter over this that grows a file ahead of its writes."""
        return Preallocate(file=cast("BlockdevOptions", self))

    def blkdebug(self, *rules: BlkdebugInjectErrorOptions | BlkdebugSetStateOptions) -> Blkdebug:
        """Return the options of a filter over this that injects errors by rules."""
        errors = [rule for rule in rules if isinstance(rule, BlkdebugInjectErrorOptions)]
        states = [rule for rule in rules if isinstance(rule, BlkdebugSetStateOptions)]
        return Blkdebug(
            image=cast("BlockdevOptions", self),
            inject_error=errors or None,
            set_state=states or None,
        )


class BackedOptions(DriverOptions):
    """The options of a format that has backing files."""

    _is_base: ClassVar[bool] = True

    def with_backing(self, backing: BlockdevRefOrNull) -> Self:
        """Return the options with another backing node: options, a node name, or NULL."""
        return evolve(self, backing=backing)
'''


def drivers(module: Module) -> tuple[Branch, ...]:
    """The drivers of a module."""
    found = [each for each in module.types if each.name == COMPOSED]
    return found[0].branches if found and isinstance(found[0], UnionType) else ()


def base_of(branch: Branch) -> str:
    """The class that a driver's derives from."""
    is_backed = any(field.python == "backing" for field in branch.fields)
    return "BackedOptions" if is_backed else "DriverOptions"


def evolve_signature(name: str) -> str:
    """The declaration that goes at the end of a driver's class."""
    return f"""
    if TYPE_CHECKING and sys.version_info < (3, 13):

        def evolve(self, **changes: Unpack[{name}Changes]) -> {name}: ...
"""


def change_names(module: Module) -> list[str]:
    """The names of the typed dictionaries that a module's declarations use."""
    return [f"{branch.name}Changes" for branch in drivers(module)]


def changes_text(branches: Sequence[Branch], merged: Merged) -> str:
    """The source of the typed dictionaries: one of the common members, then one a driver."""
    common = [
        each
        for each in branches[0].fields
        if all(any(_is_alike(each, other) for other in b.fields) for b in branches)
    ]
    mask = branches[0].mask
    common.append(Field("", "unknown_members", "JsonObject", False, frozenset(), mask))
    blocks = [_dictionary("BlockdevChanges", "TypedDict", "The members of every driver.", common)]
    for branch in branches:
        own = [f for f in branch.fields if not any(_is_alike(f, each) for each in common)]
        doc = f"The members of :class:`{branch.name}`."
        blocks.append(_dictionary(f"{branch.name}Changes", "BlockdevChanges", doc, own))
    code = "\n\n".join(blocks)
    words = {word for b in branches for f in b.fields for word in re.findall(r"\w+", f.hint)}
    imports = "\n".join(
        import_line(f".{module.name}", sorted(names, key=import_order), "")
        for module in sorted(merged.modules, key=lambda each: each.name)
        if (names := words.intersection(module.exported()))
    )
    used = ["JsonObject", *sorted(words & {"Deprecated", "Unstable"})]
    codec = import_line("qemu_blocksdk.codec", sorted(used), "")
    doc = docstring(["What the `evolve` of each driver takes; for type checkers only."], "")
    return f"""{HEADER}{doc}
from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

{codec}

{imports}


{code}"""


def _is_alike(field: Field, other: Field) -> bool:
    return (field.python, field.hint) == (other.python, other.hint)


def _dictionary(name: str, base: str, doc: str, fields: Iterable[Field]) -> str:
    lines = "".join(f"    {each.python}: {each.hint}\n" for each in fields)
    return f"class {name}({base}, total=False):\n{docstring([doc], '    ')}" + (
        f"\n{lines}" if lines else ""
    )
