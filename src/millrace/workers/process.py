"""The kind of worker that runs each job in a process of its own on this machine."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError, field_validator

from millrace.errors import InvalidInput
from millrace.schema.deployments import Deployment
from millrace.schema.fields import JsonObject, Model
from millrace.schema.runs import FlowRun
from millrace.workers import tree, variables
from millrace.workers.jobs import Job
from millrace.workers.launch import Launch, Running, spawn
from millrace.workers.warm import WarmFailed, WarmParent

RUN_ID = "MILLRACE__FLOW_RUN_ID"
PREFECT_RUN_ID = "PREFECT__FLOW_RUN_ID"
LEASE = "MILLRACE__LEASE"
_INTERPRETER_VARIABLES = ("PYTHON", "LD_", "DYLD_", "MALLOC_")


class ProcessVariables(Model):
    """What may be set for a process job; at once the variables of a process pool."""

    name: str | None = Field(None, title="Name", description="The name of the job, for people.")
    env: dict[str, str | None] = Field(
        default_factory=dict,
        title="Environment Variables",
        description="Environment variables of the job; null takes one away.",
    )
    labels: dict[str, str] = Field(default_factory=dict, title="Labels", description="Labels of the job, for people.")
    command: str | None = Field(
        None, title="Command", description="Run this instead of Millrace's own runner; it finds the run's id in env."
    )
    stream_output: bool = Field(True, title="Stream Output", description="Keep what the process prints with the logs.")
    working_dir: Path | None = Field(
        None, title="Working Directory", description="Where the process runs; unset: a directory of its own."
    )

    @field_validator("env", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return {} if value is None else value
        return {k: v if v is None or isinstance(v, str) else json.dumps(v) for k, v in value.items()}


def base_job_template() -> JsonObject:
    """The base job template of a process pool."""
    properties = cast("JsonObject", ProcessVariables.model_json_schema()["properties"])
    return {
        "job_configuration": {name: f"{{{{ {name} }}}}" for name in properties},
        "variables": {"type": "object", "properties": properties},
    }


def configured(template: Mapping[str, Any], deployment: Deployment | None, flow_run: FlowRun) -> ProcessVariables:
    """The variables of one job: the pool's defaults, the deployment's over them, the run's over those.

    Args:
        template: the pool's base job template.
        deployment: the run's deployment.
        flow_run: the run.

    Raises:
        InvalidInput: one has the wrong type.
    """
    values = variables.configure(template, deployment.job_variables if deployment else None, flow_run.job_variables)
    try:
        return ProcessVariables.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"The job variable {name!r} cannot be {first['input']!r}: {first['msg']}.") from None


def environment(config: ProcessVariables, job: Job) -> dict[str, str]:
    """The whole environment of a job.

    Args:
        config: the job's variables.
        job: the job.
    """
    env = {k: v for k, v in os.environ.items() if k not in (LEASE, RUN_ID, PREFECT_RUN_ID, tree.LABEL)}
    env["PYTHONUNBUFFERED"] = "1"
    for name, value in config.env.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    env[RUN_ID] = env[PREFECT_RUN_ID] = str(job.flow_run_id)
    env[tree.LABEL] = job.label
    # A server started from inside a run would be one of its processes, and end with it.
    env["MILLRACE_AUTOSTART"] = "false"
    if job.lease is not None:
        env[LEASE] = job.lease.model_dump_json()
    return env


class ProcessKind:
    """Starts jobs as processes: forked from a warm parent where nothing special is asked, else spawned.

    Args:
        warm: whether to keep a warm parent.
    """

    type = "process"

    def __init__(self, warm: bool = True) -> None:
        self._warm = WarmParent() if warm and hasattr(os, "fork") else None

    def prepare(self) -> None:
        """Make ready, so that the first job starts fast."""
        if self._warm is not None:
            self._warm.prepare()

    def start(self, job: Job, config: ProcessVariables, env: dict[str, str]) -> Running:
        """Start a job.

        Args:
            job: the job.
            config: its variables.
            env: its whole environment.

        Raises:
            InvalidInput: the working directory or the command is not there.
        """
        cwd = self._directory(job, config)
        job.out.parent.mkdir(parents=True, exist_ok=True)
        argv = shlex.split(config.command or "python -m millrace.workers.child")
        if argv[0] == "python":
            argv[0] = sys.executable  # this one has Millrace, whatever PATH says
        launch = Launch(argv, env, cwd, job.out)
        if self._warm is not None and not config.command and _plain(env):
            try:
                return self._warm.start(launch)
            except WarmFailed:
                pass
        try:
            return spawn(launch)
        except OSError as error:
            raise InvalidInput(f"The command {shlex.join(argv)!r} could not be started: {error}.") from None

    def close(self) -> None:
        """Give up what it holds; jobs live on."""
        if self._warm is not None:
            self._warm.close()

    def _directory(self, job: Job, config: ProcessVariables) -> Path:
        if config.working_dir is None:
            own = job.directory / "work"
            own.mkdir(parents=True, exist_ok=True)
            return own
        directory = config.working_dir.expanduser()
        if not directory.is_dir():
            raise InvalidInput(
                f"The working directory {directory} of the job is not there on this machine. "
                "Create it, or deploy again with another job variable 'working_dir'."
            )
        return directory


def _plain(env: Mapping[str, str]) -> bool:
    """Whether the interpreter of the warm parent is what this environment asks for."""
    asked = {k: v for k, v in env.items() if k.startswith(_INTERPRETER_VARIABLES) and k != "PYTHONUNBUFFERED"}
    ours = {k: v for k, v in os.environ.items() if k.startswith(_INTERPRETER_VARIABLES) and k != "PYTHONUNBUFFERED"}
    return asked == ours
