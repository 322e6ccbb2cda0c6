"""A whole notebook, deployed in one call."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from millrace.client.handle import Id
from millrace.deployments.batch import deploy
from millrace.deployments.deployment import RunnerDeployment
from millrace.schema.deployments import CatchUp, ConcurrencyLimitConfig


def deploy_notebook(
    path: Path | str,
    name: str | None = None,
    *,
    work_pool_name: str | None = None,
    image: Any = None,
    build: bool = True,
    push: bool = True,
    interval: Iterable[float | timedelta] | float | timedelta | None = None,
    cron: Iterable[str] | str | None = None,
    rrule: Iterable[str] | str | None = None,
    paused: bool | None = None,
    schedules: Iterable[Any] | None = None,
    schedule: Any = None,
    anchor_date: datetime | None = None,
    timezone: str | None = None,
    catch_up: CatchUp | None = None,
    parameters: dict[str, Any] | None = None,
    triggers: list[Any] | None = None,
    description: str | None = None,
    tags: list[str] | None = None,
    labels: dict[str, bool | int | float | str] | None = None,
    version: str | None = None,
    enforce_parameter_schema: bool = True,
    concurrency_limit: int | ConcurrencyLimitConfig | dict[str, Any] | None = None,
    work_queue_name: str | None = None,
    job_variables: dict[str, Any] | None = None,
    print_next_steps: bool = True,
    ignore_warnings: bool = False,
) -> Id:
    """Deploy a whole notebook as a flow.

    Args:
        path: the notebook. A copy of it and of the local modules it imports is what runs.
        name: the deployment's name; the notebook's when not given.
        work_pool_name: the pool; that of the settings when not given.
        image, build, push: the container image, for pools that use one; see `deploy`.
        interval, cron, rrule, paused, schedules, schedule, anchor_date, timezone, catch_up: when it runs; see
            `RunnerDeployment.from_flow`.
        parameters, triggers, description, tags, labels, version, enforce_parameter_schema: see there.
        concurrency_limit, work_queue_name, job_variables: see there.
        print_next_steps: say how to run it.
        ignore_warnings: do not say that nobody works for the pool.

    Example:
        >>> deploy_notebook("report.ipynb", "weekly", cron="0 8 * * 1", parameters={"n": 5})  # doctest: +SKIP
    """
    here = ("path", "name", "work_pool_name", "image", "build", "push", "print_next_steps", "ignore_warnings")
    options = {key: value for key, value in locals().items() if key not in (*here, "here")}
    book = Path(path).expanduser().absolute()
    deployment = RunnerDeployment.from_storage(book.parent, book.name, name or book.stem, **options)
    return deploy(
        deployment,
        work_pool_name=work_pool_name,
        image=image,
        build=build,
        push=push,
        print_next_steps_message=print_next_steps,
        ignore_warnings=ignore_warnings,
    ).first
