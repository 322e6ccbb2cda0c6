"""Deployments: made from flows, files and notebooks, served, and run. Its public names are loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.deployments.backfills import abackfill as abackfill
    from millrace.deployments.backfills import backfill as backfill
    from millrace.deployments.batch import deploy as deploy
    from millrace.deployments.deployment import RunnerDeployment as RunnerDeployment
    from millrace.deployments.notebook import deploy_notebook as deploy_notebook
    from millrace.deployments.run import arun_deployment as arun_deployment
    from millrace.deployments.run import run_deployment as run_deployment
    from millrace.deployments.specification import DeploymentSpec as DeploymentSpec
    from millrace.deployments.specification import (
        deployment_specs_and_flows_from_script as deployment_specs_and_flows_from_script,
    )
    from millrace.deployments.specification import deployment_specs_from_script as deployment_specs_from_script
    from millrace.deployments.specification import deployment_specs_from_yaml as deployment_specs_from_yaml
    from millrace.deployments.specification import load_deployments_from_yaml as load_deployments_from_yaml
    from millrace.deployments.specification import select_deployment as select_deployment
    from millrace.entrypoints import EntrypointType as EntrypointType

_NAMES = {
    "DeploymentSpec": "deployments.specification",
    "deployment_specs_and_flows_from_script": "deployments.specification",
    "deployment_specs_from_script": "deployments.specification",
    "deployment_specs_from_yaml": "deployments.specification",
    "load_deployments_from_yaml": "deployments.specification",
    "select_deployment": "deployments.specification",
    "load_flow_from_script": "loading",
    "load_flow_from_text": "loading",
    "load_flows_from_script": "loading",
    "select_flow": "loading",
    "EntrypointType": "entrypoints",
    "RunnerDeployment": "deployments.deployment",
    "abackfill": "deployments.backfills",
    "arun_deployment": "deployments.run",
    "backfill": "deployments.backfills",
    "deploy": "deployments.batch",
    "deploy_notebook": "deployments.notebook",
    "run_deployment": "deployments.run",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"millrace.{_NAMES[name]}"), name)
