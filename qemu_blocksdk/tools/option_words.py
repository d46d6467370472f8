"""Options of qemu-img as words of a command line, read off a value's annotations.

An option is spelled after its attribute, its text follows from the type that the attribute
declares; a value of any other type is refused. What the options mean belongs elsewhere.
"""

from __future__ import annotations

import functools
import math
import os
import types
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal, Union, cast, get_args, get_origin, get_type_hints

from qemu_blocksdk.codec import Secret, Value, doubled
from qemu_blocksdk.errors import UsageError

from .run import Path, as_file
from .size import Size, to_bytes

_Kinds = frozenset[object]
_SIZE, _PATH = frozenset(get_args(Size)), frozenset(get_args(Path))
# The options of QEMU's crypto layer have hyphens, all others underscores.
_HYPHENATED = frozenset[str](
    (
        *("cipher_alg", "cipher_mode", "ivgen_alg", "ivgen_hash_alg", "hash_alg", "iter_time"),
        *("new_secret", "old_secret"),
    )
)


def named(
    options: Value, secret_id: Callable[[Secret], str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the options that are set: QEMU's name and the text; a secret is told by its id.

    Raises UsageError for a value of a type that the option does not have.
    """
    for attribute, kinds in _options(type(options)).items():
        value: object = getattr(options, attribute)
        name = attribute.replace("_", "-") if attribute in _HYPHENATED else attribute
        if isinstance(value, Value) and type(value) in kinds:
            for inner, text in named(value, secret_id):
                yield f"{name}.{inner}", text
        elif value is not None:
            try:
                yield name, _text(value, kinds, secret_id)
            except UsageError as error:
                raise UsageError(f"{type(options).__name__}.{attribute}: {error}") from error


def words(pairs: Mapping[str, str]) -> list[str]:
    """Return ``-o name=value`` for each pair."""
    return [word for name, text in pairs.items() for word in ("-o", f"{name}={doubled(text)}")]


def _text(value: object, kinds: _Kinds, secret_id: Callable[[Secret], str] | None) -> str:
    match value:
        case bool() if bool in kinds:
            return "on" if value else "off"
        case bool():
            pass
        case int() | str() if kinds == _SIZE:
            return str(to_bytes(value))
        case int() | float() if float in kinds and 0 <= value < math.inf:
            return str(round(value * 1000))  # times are seconds here, milliseconds there
        case int() if int in kinds and value >= 0:
            return str(value)
        case str() | bytes() | os.PathLike() if kinds == _PATH:
            return as_file(cast("Path", value))
        case str() if str in kinds and "\0" not in value:
            return value
        case Secret() if Secret in kinds and secret_id is not None:
            return secret_id(value)
        case _:
            for choice in _choices(kinds):
                if isinstance(value, type(choice)) and value == choice:
                    return str(choice)
    # It may have been meant as a secret.
    shown = type(value).__name__ if Secret in kinds else repr(value)
    raise UsageError(f"{shown} is not possible here")


@functools.cache
def _options(cls: type[Value]) -> dict[str, _Kinds]:
    """The options that a class has, each with the types of its values."""
    hints = get_type_hints(cls)
    own = {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}
    return {name: _kinds(hint) - {types.NoneType} for name, hint in own.items()}


def _kinds(hint: object) -> _Kinds:
    is_union = get_origin(hint) in (Union, types.UnionType)
    return frozenset(get_args(hint)) if is_union else frozenset((hint,))


def _choices(kinds: _Kinds) -> list[object]:
    return [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
