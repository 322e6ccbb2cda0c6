"""What is loaded when it is needed, by its name: our own heavy parts, and what other packages add.

The one place that imports inside a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from millrace.errors import PluginMissing


def load(reference: str, *, install: str | None = None) -> Any:
    """The object of this name, imported now.

    Args:
        reference: `package.module:name`, or `package.module` for the module itself.
        install: what to install if a package it needs is not there.

    Raises:
        PluginMissing: a package is not installed, or the module has no such name.

    Example:
        >>> load("json:dumps")([1])
        '[1]'
    """
    module_name, _, attribute = reference.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        remedy = install or f"pip install {missing.partition('.')[0]}"
        raise PluginMissing(f"{reference} needs the package {missing!r}, which is not installed: {remedy}") from error
    for name in attribute.split(".") if attribute else ():
        try:
            found = getattr(found, name)
        except AttributeError:
            raise PluginMissing(f"the module {module_name} has no {attribute!r}") from None
    return found


@dataclass(frozen=True)
class Registry:
    """One kind of plug-in: what is built in, and what installed packages add as entry points.

    Args:
        kind: what it is, for messages: "worker type".
        group: the group of entry points, such as `millrace.workers`.
        built_in: names and import strings.
        install: for a name that needs more than Millrace, what to install.

    Example:
        >>> Registry("codec", "example.codecs", {"json": "json:dumps"}).load("json")({})
        '{}'
    """

    kind: str
    group: str
    built_in: Mapping[str, str]
    install: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    @property
    def names(self) -> list[str]:
        """Every name that can be loaded, sorted; a built-in name cannot be taken by a package."""
        return sorted({*self.built_in, *self._added})

    def load(self, name: str) -> Any:
        """The plug-in of this name.

        Raises:
            PluginMissing: there is none, or a package it needs is not installed.
        """
        if name in self.built_in:
            return load(self.built_in[name], install=self.install.get(name))
        if name in self._added:
            return load(self._added[name].value, install=self.install.get(name))
        raise PluginMissing(
            f"There is no {self.kind} {name!r}. There are {', '.join(self.names)}; "
            f"packages add others as entry points of the group {self.group!r}."
        )
