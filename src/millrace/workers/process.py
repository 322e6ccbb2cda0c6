"""The kind of worker that runs each job in a process of its own on this machine."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from millrace import plugins
from millrace.client.endpoint import Endpoint
from millrace.errors import InvalidInput
from millrace.schema.fields import Model
from millrace.workers import tree
from millrace.workers.execution import Variables
from millrace.workers.jobs import HOOKS, Job
from millrace.workers.launch import Launch, Running, Stranger, spawn
from millrace.workers.process_execution import ProcessExecution
from millrace.workers.variables import Environment
from millrace.workers.warm import WarmFailed, WarmParent

log = logging.getLogger("millrace.worker")

RUN_ID = "MILLRACE__FLOW_RUN_ID"
PREFECT_RUN_ID = "PREFECT__FLOW_RUN_ID"
LEASE = "MILLRACE__LEASE"
_INTERPRETER_VARIABLES = ("PYTHON", "LD_", "DYLD_", "MALLOC_")


class ProcessVariables(Model):
    """What may be set for a process job; at once the variables of a process pool."""

    name: str | None = Field(None, title="Name", description="The name of the job, for people.")
    env: Environment = Field(
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
    virtualenv: Path | None = Field(
        None, title="Virtual Environment", description="Run with the Python of this environment, which has Millrace."
    )
    requirements: list[str] = Field(
        default_factory=list,
        title="Requirements",
        description="Packages the job needs beside the worker's own, as pip takes them. An environment is made once.",
    )


OWN = (LEASE, RUN_ID, PREFECT_RUN_ID, HOOKS, tree.LABEL)
"""The variables of one job, which no other inherits."""


def own_environment(job: Job) -> dict[str, str]:
    """What tells a process which job it is.

    Args:
        job: the job.
    """
    env = {RUN_ID: str(job.flow_run_id), PREFECT_RUN_ID: str(job.flow_run_id), tree.LABEL: job.label}
    # A server started from inside a run would be one of its processes, and end with it.
    env["MILLRACE_AUTOSTART"] = "false"
    if job.lease is not None:
        env[LEASE] = job.lease.model_dump_json()
    return env


def environment(config: ProcessVariables, job: Job) -> dict[str, str]:
    """The whole environment of a job.

    Args:
        config: the job's variables.
        job: the job.
    """
    env = {k: v for k, v in os.environ.items() if k not in OWN}
    env["PYTHONUNBUFFERED"] = "1"
    for name, value in config.env.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env | own_environment(job)


class ProcessKind:
    """Starts jobs as processes: forked from a warm parent where nothing special is asked, else spawned.

    Args:
        warm: whether to keep a warm parent.
    """

    type: ClassVar[str] = "process"
    variables: ClassVar[Variables] = ProcessVariables

    def __init__(self, warm: bool = True) -> None:
        self._warm = WarmParent() if warm and hasattr(os, "fork") else None

    def prepare(self, endpoint: Endpoint) -> None:
        """Make ready, so that the first job starts fast."""
        if self._warm is None:
            return
        try:
            self._warm.prepare()
        except OSError as error:
            log.warning("No warm parent: %s", error)

    def start(self, job: Job, config: ProcessVariables) -> ProcessExecution:
        """Start a job.

        Args:
            job: the job; its note gets the number of the process.
            config: its variables.

        Raises:
            InvalidInput: the working directory or the command is not there.
        """
        running = self._launched(job, config, environment(config, job))
        job.pid, job.create_time = running.pid, running.create_time
        return ProcessExecution(job, running)

    def find(self, job: Job) -> ProcessExecution:
        """The execution of a job that a worker before us started."""
        if not job.pid:
            # Its worker died between the note and the start; the process may be there all the same.
            oldest = min(tree.of_attempt(job.label, None), key=lambda p: p.create_time(), default=None)
            if signed := job.signed_in():
                job.pid, job.create_time = signed
            elif oldest is not None:
                job.pid, job.create_time = oldest.pid, oldest.create_time()
        return ProcessExecution(job, Stranger(job.pid, job.create_time))

    def oust(self, earlier: Job) -> None:
        """Kill an attempt that lost its lease and does not know yet."""
        if earlier.alive:
            family = tree.of_attempt(earlier.label, earlier.pid, descendants=True)
            tree.kill(earlier.label, earlier.pid, family)

    def _launched(self, job: Job, config: ProcessVariables, env: dict[str, str]) -> Running:
        cwd = self._directory(job, config)
        job.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            argv = shlex.split(config.command or "python -m millrace.workers.child")
        except ValueError as error:
            raise InvalidInput(f"The job variable command cannot be {config.command!r}: {error}.") from None
        python = _interpreter(config)
        if argv[0] == "python":
            argv[0] = str(python or sys.executable)  # this one has Millrace, whatever PATH says
        if python is not None:
            env["VIRTUAL_ENV"] = str(python.parents[1])
            env["PATH"] = f"{python.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        launch = Launch(argv, env, cwd, job.out)
        if self._warm is not None and not config.command and python is None and _plain(env):
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


def _interpreter(config: ProcessVariables) -> Path | None:
    if config.virtualenv is not None and config.requirements:
        raise InvalidInput("A job has either the job variable virtualenv or requirements.")
    if config.virtualenv is not None:
        return plugins.load("millrace.workers.environments:of_virtualenv")(config.virtualenv)  # type: ignore[no-any-return]
    if config.requirements:
        return plugins.load("millrace.workers.environments:of_requirements")(config.requirements)  # type: ignore[no-any-return]
    return None


def _plain(env: Mapping[str, str]) -> bool:
    """Whether the interpreter of the warm parent is what this environment asks for."""
    asked = {k: v for k, v in env.items() if k.startswith(_INTERPRETER_VARIABLES) and k != "PYTHONUNBUFFERED"}
    ours = {k: v for k, v in os.environ.items() if k.startswith(_INTERPRETER_VARIABLES) and k != "PYTHONUNBUFFERED"}
    return asked == ours
