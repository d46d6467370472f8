"""Packages whose names are loaded when they are first used. Nothing of the SDK is imported here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's ``__getattr__``; ``homes`` are its modules by the names in them.

    A package hides it from type checkers, which would take any misspelt name for an object.
    """

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{homes[name]}", package), name)

    return load
