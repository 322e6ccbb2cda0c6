"""What a run's process does first: the deployment's pull steps, which make its code available."""

from __future__ import annotations

import os
from pathlib import Path

from millrace import settings
from millrace.errors import EntrypointError, PullFailed
from millrace.schema.deployments import Deployment
from millrace.schema.job_variables import merge
from millrace.schema.runs import FlowRun
from millrace.storage import steps
from millrace.storage.local import SET_DIRECTORY


def pull(deployment: Deployment, flow_run: FlowRun) -> Path:
    """Perform a deployment's pull steps.

    Args:
        deployment: the deployment.
        flow_run: the run.

    Returns:
        The directory that the entrypoint is relative to.

    Raises:
        InvalidInput: a step is unknown or cannot be performed like this.
        PullFailed: the code could not be fetched.
        EntrypointError: the code is not there.
    """
    wanted = list(deployment.pull_steps or [])
    if deployment.path and not wanted:
        wanted = [{SET_DIRECTORY: {"directory": deployment.path}}]
    place = settings.current().run_directory(flow_run.id) / "code"
    try:
        directory = steps.perform(wanted, place, start=Path.cwd())
    except PullFailed as error:
        if len(wanted) == 1 and next(iter(wanted[0])).endswith(".set_working_directory"):  # where it was deployed from
            raise EntrypointError(f"{error} Deploy it again from this machine.") from None
        raise
    return directory


def work_in(directory: Path, deployment: Deployment, flow_run: FlowRun) -> None:
    """Without a job variable `working_dir` the run works where its code is; with one it stays where it was started.

    Args:
        directory: where its code is.
        deployment: the deployment.
        flow_run: the run.
    """
    if "working_dir" not in merge(deployment.job_variables, flow_run.job_variables):
        os.chdir(directory)
