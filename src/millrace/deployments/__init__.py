"""Deployments: made from flows, files and notebooks, served, and run. Its public names are loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.deployments.batch import deploy as deploy
    from millrace.deployments.deployment import RunnerDeployment as RunnerDeployment
    from millrace.deployments.notebook import deploy_notebook as deploy_notebook
    from millrace.deployments.run import arun_deployment as arun_deployment
    from millrace.deployments.run import run_deployment as run_deployment
    from millrace.entrypoints import EntrypointType as EntrypointType

_NAMES = {
    "EntrypointType": "entrypoints",
    "RunnerDeployment": "deployments.deployment",
    "arun_deployment": "deployments.run",
    "deploy": "deployments.batch",
    "deploy_notebook": "deployments.notebook",
    "run_deployment": "deployments.run",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"millrace.{_NAMES[name]}"), name)
