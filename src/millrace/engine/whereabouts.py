"""Where another process finds a function: under a name that can be imported, or nowhere."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.machinery import PathFinder
from typing import Any, TypeVar

T = TypeVar("T")
SCRIPTS = ("__main__", "__mp_main__")
"""Names of the program that was started: another one in each process."""


@lru_cache(maxsize=512)
def importable(name: str) -> bool:
    """Whether another process that has our search path finds the same module under this name.

    Args:
        name: the module's, loaded here.
    """
    if name in SCRIPTS:
        return False
    module, (package, _, _) = sys.modules.get(name), name.rpartition(".")
    if module is None or (package and not importable(package)):
        return False
    try:
        spec = PathFinder.find_spec(name, getattr(sys.modules.get(package), "__path__", None) if package else None)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin == getattr(module, "__file__", None)


def name_of(fn: Callable[..., Any]) -> tuple[str, str] | None:
    """Module and qualified name under which an import finds the flow or task of a function; None if none does.

    Args:
        fn: the function under the decorator.
    """
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "")
    if not module or "<" in name or not importable(module):
        return None
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if found is fn or getattr(found, "fn", None) is fn else None


def named(module: str, name: str) -> Any:
    """What stands in a module under a qualified name.

    Args:
        module: its name; imported if need be.
        name: with dots.
    """
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def reduced(thing: Any, protocol: Any) -> Any:
    """How a flow or task is pickled: by its name where an import finds it.

    Args:
        thing: the flow or task.
        protocol: of pickle.
    """
    found = name_of(thing.fn)
    if found is not None and named(*found) is thing:
        return named, found
    return object.__reduce_ex__(thing, protocol)


def twin(thing: T) -> T:
    """A shallow copy of a flow or task. `copy.copy` would ask how it is pickled, and give the very same one.

    Args:
        thing: the flow or task.
    """
    made = object.__new__(type(thing))
    vars(made).update(vars(thing))
    return made
