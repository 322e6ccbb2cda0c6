"""Modules that are slow to import and hardly ever used: a stand-in takes their place until somebody does use them.

    rfc3987_syntax  jsonschema imports it where JupyterLab has installed it; it builds a grammar for about a second, for
                    a format check that nobody here asks for
    httpx._main     the command line of httpx, which httpx imports where rich is installed, and rich, click and pygments
                    with it: a sixth of what a process that asks the server has to load

The first use of one of their functions loads the real module, so nothing is checked or done differently.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple


class Slow(NamedTuple):
    """A module that is slow to import.

    Attributes:
        name: of the module.
        importer: who imports it; a stand-in is too late once that is loaded.
        needs: the packages without which it cannot be imported.
        functions: what its importer takes from it.
    """

    name: str
    importer: str
    needs: tuple[str, ...]
    functions: tuple[str, ...]


SLOW = (
    Slow("rfc3987_syntax", "jsonschema", ("rfc3987_syntax",), ("is_valid_syntax",)),
    Slow("httpx._main", "httpx", ("click", "pygments", "rich"), ("main",)),
)


class _StandIn(ModuleType):
    """Has the functions that an importer takes from the module; loads the module for anything else."""

    def __init__(self, slow: Slow) -> None:
        super().__init__(slow.name)
        self.__spec__ = ModuleSpec(slow.name, None)
        for function in slow.functions:
            setattr(self, function, _calls(slow.name, function))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _calls(module: str, function: str) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        return getattr(_real(module), function)(*args, **options)

    call.__name__ = call.__qualname__ = function
    return call


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _StandIn):
        del sys.modules[name]
    return importlib.import_module(name)


def install(modules: Iterable[Slow] = SLOW) -> None:
    """Put each stand-in in place, unless its importer or the module itself is loaded already, or is not installed.

    Args:
        modules: those that are slow.
    """
    for slow in modules:
        if slow.name in sys.modules or slow.importer in sys.modules:
            continue
        if all(importlib.util.find_spec(package) for package in slow.needs):
            sys.modules[slow.name] = _StandIn(slow)


install()
