"""`millrace deploy`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from millrace import plugins
from millrace.cli.options import Parameters, Tags, values, variables
from millrace.cli.output import Format, Output, emit
from millrace.cli.reach import reach
from millrace.errors import InvalidInput
from millrace.schema.deployments import DeploymentScheduleCreate

app = typer.Typer(add_completion=False)
_SPECIFIED = "millrace.deployments.specified"
_OF_ONE = ("param", "schedules", "description", "version", "concurrency_limit")


@app.command()
def deploy(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="ENTRYPOINT",
            help="file.py:flow, package.module.flow, book.ipynb[:flow]. Without one: deployments of millrace.yaml.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", "-n", help="Its name; of millrace.yaml: a name, FLOW/NAME or a pattern. Repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All deployments of millrace.yaml.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", "--prefect-file", "-f", help="Default: millrace.yaml or prefect.yaml.")
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="The pool whose workers run it.")] = None,
    queue: Annotated[str | None, typer.Option("--work-queue", "-q", help="A queue of that pool.")] = None,
    cron: Annotated[list[str] | None, typer.Option(help="A cron expression. Repeatable.")] = None,
    interval: Annotated[list[float] | None, typer.Option(help="Seconds between two runs. Repeatable.")] = None,
    anchor_date: Annotated[str | None, typer.Option(help="One of the fires of --interval.")] = None,
    rrule: Annotated[list[str] | None, typer.Option(help="A recurrence rule of RFC 5545. Repeatable.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The zone of the schedules, such as Europe/Oslo.")] = None,
    param: Parameters = None,
    tag: Tags = None,
    description: Annotated[str | None, typer.Option("--description", "-d", help="What it is for.")] = None,
    version: Annotated[str | None, typer.Option(help="The version of the code. Default: a hash of it.")] = None,
    job_variable: Annotated[
        list[str] | None, typer.Option("--job-variable", "-jv", metavar="NAME=VALUE", help="Over the pool's.")
    ] = None,
    catch_up: Annotated[
        Literal["skip", "latest", "all"] | None, typer.Option(help="What becomes of fires missed while nothing ran.")
    ] = None,
    concurrency_limit: Annotated[
        int | None, typer.Option("--concurrency-limit", "-cl", min=1, help="Runs at once.")
    ] = None,
    collision_strategy: Annotated[
        Literal["ENQUEUE", "CANCEL_NEW"] | None, typer.Option(help="What one more run does: wait, or be cancelled.")
    ] = None,
    enforce: Annotated[
        bool | None,
        typer.Option("--enforce-parameter-schema/--no-enforce-parameter-schema", help="Refuse runs that do not fit."),
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Its schedules rest until it is resumed.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Deploy a flow, or what millrace.yaml says: a pool's workers run it, when asked and when due."""
    options = {
        "schedules": _schedules(interval, cron, rrule, timezone, anchor_date),
        "tags": tag,
        "description": description,
        "version": version,
        "work_pool_name": pool,
        "work_queue_name": queue,
        "job_variables": variables(job_variable),
        "catch_up": catch_up,
        "concurrency_limit": _limit(concurrency_limit, collision_strategy),
        "enforce_parameter_schema": enforce,
        "paused": paused or None,
    }
    given = {key: value for key, value in options.items() if value is not None and value != []}
    client = reach()
    if target is None:
        ids = _of_file(file, name, everything, given, param, quiet=output is not Format.TEXT)
    else:
        ids = [_of_entrypoint(target, file, name, everything, given, param, quiet=output is not Format.TEXT)]
    if output is not Format.TEXT:
        stored = [client.read_deployment(one) for one in ids]
        emit(stored[0] if target is not None else stored)


def _of_entrypoint(
    target: str,
    file: Path | None,
    names: list[str] | None,
    everything: bool,
    options: dict[str, Any],
    param: list[str] | None,
    *,
    quiet: bool,
) -> Any:
    if everything or file is not None or len(names or []) > 1:
        raise InvalidInput("--all, --file and several --name choose from millrace.yaml; leave the entrypoint out.")
    made = plugins.load("millrace.deployments.deployment:RunnerDeployment").from_entrypoint(
        target, names[0] if names else _default_name(target), **options
    )
    if parameters := values(made.parameter_openapi_schema, param):
        made.parameters = parameters
    send = plugins.load("millrace.deployments.batch:deploy")
    if not quiet:
        return send(made)[0]
    with redirect_stdout(sys.stderr):  # nothing but the JSON on stdout
        return send(made, print_next_steps_message=False)[0]


def _of_file(
    file: Path | None,
    names: list[str] | None,
    everything: bool,
    options: dict[str, Any],
    param: list[str] | None,
    *,
    quiet: bool,
) -> list[Any]:
    place = file or plugins.load("millrace.deployments.specfile:find")()
    if place is None:
        raise InvalidInput(
            "What is to be deployed? Name an entrypoint, as in `millrace deploy etl.py:etl`; or write a millrace.yaml "
            "with `millrace init`."
        )
    if everything and names:
        raise InvalidInput("--all and --name are both given. Keep one of them.")
    specified = plugins.load("millrace.deployments.specfile:read")(place)
    chosen = plugins.load(f"{_SPECIFIED}:chosen")(specified, names, everything)
    if len(chosen) > 1 and (mine := [one for one in _OF_ONE if options.get(one)] + (["param"] if param else [])):
        option = "--cron, --interval and --rrule" if mine[0] == "schedules" else f"--{mine[0].replace('_', '-')}"
        raise InvalidInput(
            f"{option} would be for one deployment, and {len(chosen)} were chosen. Choose one with --name, or write it "
            f"into {place}."
        )
    if param:
        schema = plugins.load(f"{_SPECIFIED}:made")(chosen[0]).parameter_openapi_schema
        options = {**options, "parameters": {**chosen[0].entry.parameters, **values(schema, param)}}
    send = plugins.load(f"{_SPECIFIED}:deploy_specified")
    if not quiet:
        return list(send(chosen, instead=options))
    with redirect_stdout(sys.stderr):
        return list(send(chosen, instead=options, print_next_steps=False))


def _default_name(target: str) -> str:
    place, _, function = target.rpartition(":")
    if place:
        return function
    return Path(target).stem if target.endswith((".py", ".ipynb")) else target.rpartition(".")[2]


def _schedules(
    interval: list[float] | None,
    cron: list[str] | None,
    rrule: list[str] | None,
    timezone: str | None,
    anchor_date: str | None,
) -> list[DeploymentScheduleCreate]:
    """Those of all three kinds; the function behind `deploy` takes one kind at a time."""
    make = plugins.load("millrace.deployments.timing:schedules_from")
    given = {"interval": interval, "cron": cron, "rrule": rrule}
    if timezone is not None and not any(given.values()):
        raise InvalidInput("--timezone belongs to --cron, --interval or --rrule, none of which is given.")
    if anchor_date is not None and not interval:
        raise InvalidInput("--anchor-date belongs to --interval, which is not given.")
    anchor = _moment(anchor_date)
    return [
        one
        for kind, some in given.items()
        if some
        for one in make(**{kind: some}, timezone=timezone, anchor_date=anchor if kind == "interval" else None)
    ]


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidInput(f"--anchor-date {text!r} is no moment; write 2026-11-21T18:00.") from None


def _limit(limit: int | None, strategy: str | None) -> Any:
    if strategy is None:
        return limit
    if limit is None:
        raise InvalidInput("--collision-strategy belongs to --concurrency-limit, which is not given.")
    return {"limit": limit, "collision_strategy": strategy}
