"""Packages whose names are loaded when they are first used. Nothing of the SDK is imported here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType


def load_module(name: str, package: str) -> ModuleType:
    """Import a module of the SDK when it is first used.

    Raises BlockSdkError where its file cannot be read, as without descriptors.
    """
    try:
        return importlib.import_module(name, package)
    except OSError as error:
        from qemu_blocksdk.errors import BlockSdkError

        raise BlockSdkError(f"cannot load {package}{name}: {error}") from error


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's ``__getattr__``; ``homes`` are its modules by the names in them.

    A package hides it from type checkers, which would take any misspelt name for an object.
    """

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(load_module(f".{homes[name]}", package), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    return load
