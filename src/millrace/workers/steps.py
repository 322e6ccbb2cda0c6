"""Pull steps: what makes a deployment's code available before its entrypoint is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millrace.errors import EntrypointError, InvalidInput
from millrace.schema.deployments import Deployment
from millrace.schema.job_variables import merge
from millrace.schema.runs import FlowRun


def set_working_directory(inputs: dict[str, Any], base: Path) -> Path:
    """The code lies in a directory of this machine.

    Args:
        inputs: `directory`.
        base: the directory so far.

    Raises:
        EntrypointError: it is not there.
    """
    if "directory" not in inputs:
        raise InvalidInput("The pull step 'set_working_directory' needs 'directory'.")
    directory = (base / str(inputs["directory"])).expanduser()
    if not directory.is_dir():
        raise EntrypointError(
            f"The code of the deployment is not here: there is no directory {directory}. "
            "Deploy it again from this machine."
        )
    return directory


STEPS: dict[str, Callable[[dict[str, Any], Path], Path]] = {
    "prefect.deployments.steps.set_working_directory": set_working_directory,
    "millrace.deployments.steps.set_working_directory": set_working_directory,
}


def pull(deployment: Deployment, flow_run: FlowRun) -> Path:
    """Perform a deployment's pull steps.

    Without a job variable `working_dir` the run works where its code is; with one it stays where it was started.

    Args:
        deployment: the deployment.
        flow_run: the run.

    Returns:
        The directory that the entrypoint is relative to.

    Raises:
        InvalidInput: a step is unknown.
        EntrypointError: the code is not there.
    """
    directory = Path.cwd()
    if deployment.path and not deployment.pull_steps:
        directory = set_working_directory({"directory": deployment.path}, directory)
    for step in deployment.pull_steps or []:
        for name, inputs in step.items():
            if name not in STEPS:
                known = ", ".join(sorted({key.rpartition(".")[2] for key in STEPS}))
                raise InvalidInput(f"The pull step {name!r} is not known here; this version has: {known}.")
            directory = STEPS[name](dict(inputs or {}), directory)
    if "working_dir" not in merge(deployment.job_variables, flow_run.job_variables):
        os.chdir(directory)
    return directory
