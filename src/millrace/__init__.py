"""Millrace: flows from notebook cells, called, watched, scheduled and run on a worker.

The public names; each is loaded when it is first used, so that `import millrace` costs next to nothing. So are the
public modules: after `import millrace`, `millrace.events.emit_event(…)` works, and so does `help(millrace.storage)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace import artifacts as artifacts
    from millrace import automations as automations
    from millrace import deployments as deployments
    from millrace import docker as docker
    from millrace import errors as errors
    from millrace import events as events
    from millrace import exceptions as exceptions
    from millrace import input as input
    from millrace import logging as logging
    from millrace import runtime as runtime
    from millrace import schedules as schedules
    from millrace import states as states
    from millrace import storage as storage
    from millrace import variables as variables
    from millrace.artifacts import create_image_artifact as create_image_artifact
    from millrace.artifacts import create_link_artifact as create_link_artifact
    from millrace.artifacts import create_markdown_artifact as create_markdown_artifact
    from millrace.artifacts import create_progress_artifact as create_progress_artifact
    from millrace.artifacts import create_table_artifact as create_table_artifact
    from millrace.artifacts import update_progress_artifact as update_progress_artifact
    from millrace.client.asynchronous import AsyncClient as AsyncClient
    from millrace.client.handle import RunHandle as RunHandle
    from millrace.client.locate import aconnect as aconnect
    from millrace.client.locate import connect as connect
    from millrace.client.synchronous import Client as Client
    from millrace.deployments.batch import deploy as deploy
    from millrace.deployments.deployment import RunnerDeployment as RunnerDeployment
    from millrace.deployments.images import DockerImage as DockerImage
    from millrace.deployments.notebook import deploy_notebook as deploy_notebook
    from millrace.deployments.run import arun_deployment as arun_deployment
    from millrace.deployments.run import run_deployment as run_deployment
    from millrace.deployments.serve import serve as serve
    from millrace.deployments.specification import DeploymentSpec as DeploymentSpec
    from millrace.engine.annotations import allow_failure as allow_failure
    from millrace.engine.annotations import opaque as opaque
    from millrace.engine.annotations import quote as quote
    from millrace.engine.annotations import unmapped as unmapped
    from millrace.engine.caching import DEFAULT as DEFAULT
    from millrace.engine.caching import FLOW_PARAMETERS as FLOW_PARAMETERS
    from millrace.engine.caching import INPUTS as INPUTS
    from millrace.engine.caching import NO_CACHE as NO_CACHE
    from millrace.engine.caching import NONE as NONE
    from millrace.engine.caching import RUN_ID as RUN_ID
    from millrace.engine.caching import TASK_SOURCE as TASK_SOURCE
    from millrace.engine.caching import CacheKeyFnPolicy as CacheKeyFnPolicy
    from millrace.engine.caching import CachePolicy as CachePolicy
    from millrace.engine.caching import task_input_hash as task_input_hash
    from millrace.engine.concurrency import arate_limit as arate_limit
    from millrace.engine.concurrency import concurrency as concurrency
    from millrace.engine.concurrency import rate_limit as rate_limit
    from millrace.engine.context import FlowRunContext as FlowRunContext
    from millrace.engine.context import TaskRunContext as TaskRunContext
    from millrace.engine.context import tags as tags
    from millrace.engine.dask_runner import DaskTaskRunner as DaskTaskRunner
    from millrace.engine.futures import FutureList as FutureList
    from millrace.engine.futures import TaskFuture as TaskFuture
    from millrace.engine.futures import as_completed as as_completed
    from millrace.engine.futures import wait as wait
    from millrace.engine.loggers import disable_run_logger as disable_run_logger
    from millrace.engine.loggers import get_run_logger as get_run_logger
    from millrace.engine.pauses import apause_flow_run as apause_flow_run
    from millrace.engine.pauses import aresume_flow_run as aresume_flow_run
    from millrace.engine.pauses import asuspend_flow_run as asuspend_flow_run
    from millrace.engine.pauses import pause_flow_run as pause_flow_run
    from millrace.engine.pauses import resume_flow_run as resume_flow_run
    from millrace.engine.pauses import suspend_flow_run as suspend_flow_run
    from millrace.engine.process_runner import ProcessPoolTaskRunner as ProcessPoolTaskRunner
    from millrace.engine.run_inputs import RunInput as RunInput
    from millrace.engine.runners import InlineTaskRunner as InlineTaskRunner
    from millrace.engine.runners import ThreadPoolTaskRunner as ThreadPoolTaskRunner
    from millrace.engine.secrets import Secret as Secret
    from millrace.engine.serializers import CompressedSerializer as CompressedSerializer
    from millrace.engine.serializers import JSONSerializer as JSONSerializer
    from millrace.engine.serializers import PickleSerializer as PickleSerializer
    from millrace.engine.serializers import Serializer as Serializer
    from millrace.engine.states import Cancelled as Cancelled
    from millrace.engine.states import Completed as Completed
    from millrace.engine.states import Failed as Failed
    from millrace.engine.task_options import exponential_backoff as exponential_backoff
    from millrace.entrypoints import EntrypointType as EntrypointType
    from millrace.errors import MillraceError as MillraceError
    from millrace.errors import ParameterError as ParameterError
    from millrace.flows import Flow as Flow
    from millrace.flows import flow as flow
    from millrace.jupyter.forms import deploy_form as deploy_form
    from millrace.jupyter.monitor import watch as watch
    from millrace.loading import aload_flow_from_flow_run as aload_flow_from_flow_run
    from millrace.loading import is_entrypoint_async as is_entrypoint_async
    from millrace.loading import load_flow_arguments_from_entrypoint as load_flow_arguments_from_entrypoint
    from millrace.loading import load_flow_from_entrypoint as load_flow_from_entrypoint
    from millrace.loading import load_flow_from_flow_run as load_flow_from_flow_run
    from millrace.loading import load_flow_from_script as load_flow_from_script
    from millrace.loading import load_flow_from_text as load_flow_from_text
    from millrace.loading import load_flows_from_script as load_flows_from_script
    from millrace.loading import load_placeholder_flow as load_placeholder_flow
    from millrace.loading import safe_load_flow_from_entrypoint as safe_load_flow_from_entrypoint
    from millrace.schedules import Cron as Cron
    from millrace.schedules import Interval as Interval
    from millrace.schedules import RRule as RRule
    from millrace.schema.deployments import ConcurrencyLimitConfig as ConcurrencyLimitConfig
    from millrace.schema.deployments import ConcurrencyLimitStrategy as ConcurrencyLimitStrategy
    from millrace.schema.schedules import CronSchedule as CronSchedule
    from millrace.schema.schedules import IntervalSchedule as IntervalSchedule
    from millrace.schema.schedules import RRuleSchedule as RRuleSchedule
    from millrace.schema.states import State as State
    from millrace.schema.states import StateType as StateType
    from millrace.selection import select_flow as select_flow
    from millrace.storage.git import GitRepository as GitRepository
    from millrace.storage.local import LocalStorage as LocalStorage
    from millrace.storage.remote import RemoteStorage as RemoteStorage
    from millrace.tasks import Task as Task
    from millrace.tasks import task as task
    from millrace.variables import Variable as Variable

_NAMES = {
    "CronSchedule": "millrace.schema.schedules",
    "DeploymentSpec": "millrace.deployments.specification",
    "IntervalSchedule": "millrace.schema.schedules",
    "RRuleSchedule": "millrace.schema.schedules",
    "aload_flow_from_flow_run": "millrace.loading",
    "is_entrypoint_async": "millrace.loading",
    "load_flow_arguments_from_entrypoint": "millrace.loading",
    "load_flow_from_entrypoint": "millrace.loading",
    "load_flow_from_flow_run": "millrace.loading",
    "load_flow_from_script": "millrace.loading",
    "load_flow_from_text": "millrace.loading",
    "load_flows_from_script": "millrace.loading",
    "load_placeholder_flow": "millrace.loading",
    "safe_load_flow_from_entrypoint": "millrace.loading",
    "select_flow": "millrace.selection",
    "RemoteStorage": "millrace.storage.remote",
    "LocalStorage": "millrace.storage.local",
    "GitRepository": "millrace.storage.git",
    "AsyncClient": "millrace.client.asynchronous",
    "CacheKeyFnPolicy": "millrace.engine.caching",
    "CachePolicy": "millrace.engine.caching",
    "Cancelled": "millrace.engine.states",
    "Client": "millrace.client.synchronous",
    "Completed": "millrace.engine.states",
    "CompressedSerializer": "millrace.engine.serializers",
    "Cron": "millrace.schedules",
    "ConcurrencyLimitConfig": "millrace.schema.deployments",
    "ConcurrencyLimitStrategy": "millrace.schema.deployments",
    "DEFAULT": "millrace.engine.caching",
    "EntrypointType": "millrace.entrypoints",
    "FLOW_PARAMETERS": "millrace.engine.caching",
    "DaskTaskRunner": "millrace.engine.dask_runner",
    "DockerImage": "millrace.deployments.images",
    "Failed": "millrace.engine.states",
    "Flow": "millrace.flows",
    "FlowRunContext": "millrace.engine.context",
    "FutureList": "millrace.engine.futures",
    "INPUTS": "millrace.engine.caching",
    "InlineTaskRunner": "millrace.engine.runners",
    "Interval": "millrace.schedules",
    "JSONSerializer": "millrace.engine.serializers",
    "MillraceError": "millrace.errors",
    "NONE": "millrace.engine.caching",
    "NO_CACHE": "millrace.engine.caching",
    "ParameterError": "millrace.errors",
    "PickleSerializer": "millrace.engine.serializers",
    "ProcessPoolTaskRunner": "millrace.engine.process_runner",
    "RRule": "millrace.schedules",
    "RUN_ID": "millrace.engine.caching",
    "RunHandle": "millrace.client.handle",
    "RunInput": "millrace.engine.run_inputs",
    "Secret": "millrace.engine.secrets",
    "RunnerDeployment": "millrace.deployments.deployment",
    "Serializer": "millrace.engine.serializers",
    "State": "millrace.schema.states",
    "StateType": "millrace.schema.states",
    "TASK_SOURCE": "millrace.engine.caching",
    "Task": "millrace.tasks",
    "TaskFuture": "millrace.engine.futures",
    "TaskRunContext": "millrace.engine.context",
    "ThreadPoolTaskRunner": "millrace.engine.runners",
    "Variable": "millrace.variables",
    "aconnect": "millrace.client.locate",
    "allow_failure": "millrace.engine.annotations",
    "apause_flow_run": "millrace.engine.pauses",
    "arate_limit": "millrace.engine.concurrency",
    "aresume_flow_run": "millrace.engine.pauses",
    "arun_deployment": "millrace.deployments.run",
    "as_completed": "millrace.engine.futures",
    "asuspend_flow_run": "millrace.engine.pauses",
    "concurrency": "millrace.engine.concurrency",
    "connect": "millrace.client.locate",
    "create_image_artifact": "millrace.artifacts",
    "create_link_artifact": "millrace.artifacts",
    "create_markdown_artifact": "millrace.artifacts",
    "create_progress_artifact": "millrace.artifacts",
    "create_table_artifact": "millrace.artifacts",
    "deploy": "millrace.deployments.batch",
    "deploy_form": "millrace.jupyter.forms",
    "deploy_notebook": "millrace.deployments.notebook",
    "disable_run_logger": "millrace.engine.loggers",
    "exponential_backoff": "millrace.engine.task_options",
    "flow": "millrace.flows",
    "get_run_logger": "millrace.engine.loggers",
    "opaque": "millrace.engine.annotations",
    "pause_flow_run": "millrace.engine.pauses",
    "quote": "millrace.engine.annotations",
    "rate_limit": "millrace.engine.concurrency",
    "resume_flow_run": "millrace.engine.pauses",
    "run_deployment": "millrace.deployments.run",
    "serve": "millrace.deployments.serve",
    "suspend_flow_run": "millrace.engine.pauses",
    "tags": "millrace.engine.context",
    "task": "millrace.tasks",
    "task_input_hash": "millrace.engine.caching",
    "unmapped": "millrace.engine.annotations",
    "update_progress_artifact": "millrace.artifacts",
    "wait": "millrace.engine.futures",
    "watch": "millrace.jupyter.monitor",
}

_EXTRAS = {"DaskTaskRunner": "pip install 'millrace[dask]'"}

_MODULES = (
    "artifacts",
    "automations",
    "deployments",
    "docker",
    "errors",
    "events",
    "exceptions",
    "input",
    "logging",
    "runtime",
    "schedules",
    "states",
    "storage",
    "variables",
)
"""What may be named as `millrace.NAME` after `import millrace`."""

__all__ = [*_NAMES, "load_ipython_extension"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        try:
            return metadata.version("millrace")
        except metadata.PackageNotFoundError:
            return "0"
    if name in _MODULES:
        return importlib.import_module(f"millrace.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'millrace' has no attribute {name!r}")
    if name in _EXTRAS:
        load = importlib.import_module("millrace.plugins").load
        value = load(f"{_NAMES[name]}:{name}", install=_EXTRAS[name])
    else:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES, *_MODULES, "__version__"])


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext millrace` calls.

    Args:
        shell: the IPython shell.
    """
    importlib.import_module("millrace.jupyter.extension").load_ipython_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What `%unload_ext millrace` calls.

    Args:
        shell: the IPython shell.
    """
    importlib.import_module("millrace.jupyter.extension").unload_ipython_extension(shell)
