"""A second saved: `rfc3987_syntax` is loaded when somebody checks an IRI, not when jsonschema is imported.

The store and nbformat import jsonschema, which imports `rfc3987_syntax` where JupyterLab has installed it, which builds
a grammar for about a second, for a format check that nobody here asks for. Until the first real call a stand-in takes
its place; then the real module does, so nothing is checked differently.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

NAME = "rfc3987_syntax"


class _StandIn(ModuleType):
    """Has what jsonschema takes from the module; loads the module for anything else."""

    def is_valid_syntax(self, term: str, value: str) -> bool:
        return bool(_real().is_valid_syntax(term, value))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(), name)


def _real() -> Any:
    if isinstance(sys.modules.get(NAME), _StandIn):
        del sys.modules[NAME]
    return importlib.import_module(NAME)


def install() -> None:
    """Put the stand-in in place, unless jsonschema or the module itself is loaded already or not installed."""
    if NAME in sys.modules or "jsonschema" in sys.modules:
        return
    spec = importlib.util.find_spec(NAME)
    if spec is None:
        return
    stand_in = _StandIn(NAME)
    stand_in.__spec__ = spec
    sys.modules[NAME] = stand_in


install()
