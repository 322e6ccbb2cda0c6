"""A whole notebook, deployed in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millrace.client.handle import Id
from millrace.deployments.batch import deploy
from millrace.deployments.deployment import RunnerDeployment


def deploy_notebook(
    path: Path | str, name: str | None = None, *, work_pool_name: str | None = None, **options: Any
) -> Id:
    """Deploy a whole notebook as a flow.

    Args:
        path: the notebook. A copy of it and of the local modules it imports is what runs.
        name: the deployment's name; the notebook's when not given.
        work_pool_name: the pool; that of the settings when not given.
        options: schedules, parameters and all else that `RunnerDeployment.configured` takes, and
            `print_next_steps` and `ignore_warnings`.

    Example:
        >>> deploy_notebook("report.ipynb", "weekly", cron="0 8 * * 1", parameters={"n": 5})  # doctest: +SKIP
    """
    book = Path(path).expanduser().absolute()
    steps = bool(options.pop("print_next_steps", True))
    quiet = bool(options.pop("ignore_warnings", False))
    deployment = RunnerDeployment.from_storage(book.parent, book.name, name or book.stem, **options)
    return deploy(
        deployment, work_pool_name=work_pool_name, print_next_steps_message=steps, ignore_warnings=quiet
    ).first
