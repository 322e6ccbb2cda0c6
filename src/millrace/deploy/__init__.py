"""Deployments: made from flows, files and notebooks, served, and run.

The package may be called as `millrace.deploy(...)`: the public function of this name is `batch.deploy`, and Python lets
`millrace.deploy` mean only one thing once the package is loaded.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from millrace import plugins


class _Deploy(ModuleType):
    def __call__(self, *deployments: Any, **options: Any) -> Any:
        return plugins.load("millrace.deploy.batch:deploy")(*deployments, **options)


sys.modules[__name__].__class__ = _Deploy
