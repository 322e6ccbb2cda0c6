"""`millrace deploy`."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from sys import stderr
from typing import Annotated, Any, Literal

import typer

from millrace import plugins
from millrace.cli.options import Parameters, Tags, pairs, values
from millrace.cli.output import Format, Output, emit
from millrace.cli.reach import reach
from millrace.errors import InvalidInput
from millrace.schema.deployments import DeploymentScheduleCreate

app = typer.Typer()


@app.command()
def deploy(
    target: Annotated[
        str, typer.Argument(metavar="ENTRYPOINT", help="file.py:flow, package.module.flow, book.ipynb[:flow].")
    ],
    name: Annotated[str | None, typer.Option("--name", "-n", help="Its name. Default: the flow's.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="The pool whose workers run it.")] = None,
    cron: Annotated[list[str] | None, typer.Option(help="A cron expression. Repeatable.")] = None,
    interval: Annotated[list[float] | None, typer.Option(help="Seconds between two runs. Repeatable.")] = None,
    rrule: Annotated[list[str] | None, typer.Option(help="A recurrence rule of RFC 5545. Repeatable.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The zone of the schedules, such as Europe/Oslo.")] = None,
    param: Parameters = None,
    tag: Tags = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    version: Annotated[str | None, typer.Option(help="The version of the code. Default: a hash of it.")] = None,
    job_variable: Annotated[
        list[str] | None, typer.Option("--job-variable", "-jv", metavar="NAME=VALUE", help="Over the pool's.")
    ] = None,
    catch_up: Annotated[
        Literal["skip", "latest", "all"] | None, typer.Option(help="What becomes of fires missed while nothing ran.")
    ] = None,
    concurrency_limit: Annotated[int | None, typer.Option(min=1, help="Its runs at once.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Its schedules rest until it is resumed.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Deploy a flow: make it run on a pool's workers, when asked and when due."""
    client = reach()
    made = plugins.load("millrace.deployments.deployment:RunnerDeployment").from_entrypoint(
        target,
        name or _default_name(target),
        schedules=_schedules(interval, cron, rrule, timezone),
        tags=tag,
        description=description,
        version=version,
        job_variables=_variables(job_variable),
        catch_up=catch_up,
        concurrency_limit=concurrency_limit,
        paused=paused,
    )
    given = values(made.parameter_openapi_schema, param)
    if given:
        made.parameters = given
    send = plugins.load("millrace.deployments.batch:deploy")
    if output is Format.TEXT:
        send(made, work_pool_name=pool)
        return
    with redirect_stdout(stderr):  # nothing but the JSON on stdout
        ids = send(made, work_pool_name=pool, print_next_steps_message=False)
    emit(client.read_deployment(ids[0]))


def _default_name(target: str) -> str:
    place, _, function = target.rpartition(":")
    if place:
        return function
    return Path(target).stem if target.endswith((".py", ".ipynb")) else target.rpartition(".")[2]


def _schedules(
    interval: list[float] | None, cron: list[str] | None, rrule: list[str] | None, timezone: str | None
) -> list[DeploymentScheduleCreate]:
    """Those of all three kinds; the function behind `deploy` takes one kind at a time."""
    make = plugins.load("millrace.deployments.timing:schedules_from")
    given = {"interval": interval, "cron": cron, "rrule": rrule}
    if timezone is not None and not any(given.values()):
        raise InvalidInput("--timezone belongs to --cron, --interval or --rrule, none of which is given.")
    return [one for kind, some in given.items() if some for one in make(**{kind: some}, timezone=timezone)]


def _variables(texts: list[str] | None) -> dict[str, Any] | None:
    if not texts:
        return None
    expanded: dict[str, Any] = plugins.load("millrace.workers.variables:expand")(pairs(texts, "--job-variable"))
    return expanded
