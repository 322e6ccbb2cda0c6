"""`millrace deployment …`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from millrace import plugins
from millrace.cli import schedule
from millrace.cli.deployment_names import Which, find, named
from millrace.cli.options import Parameters, Tags, Yes, confirm, later, moment, values, variables
from millrace.cli.output import Format, Output, done, emit, facts, note, say, table, when
from millrace.cli.reach import reach
from millrace.cli.waiting import is_new_queue, no_pool, nobody
from millrace.cli.watch import code, ended
from millrace.cli.watch import watch as watched
from millrace.client.synchronous import Client
from millrace.errors import InvalidInput
from millrace.schema.deployments import CATCH_UP_LABEL, DEFAULT_CATCH_UP, ConcurrencyLimitStrategy, Deployment
from millrace.schema.fields import now
from millrace.schema.flows import FlowFilter, TextCondition
from millrace.schema.queries import DeploymentQuery
from millrace.schema.runs import DeploymentFlowRunCreate, FlowRun
from millrace.schema.states import scheduled

app = typer.Typer(no_args_is_help=True, help="Deployments: flows with a place, parameters and schedules.")
app.add_typer(schedule.app, name="schedule")


@app.command("ls")
def list_(
    flow: Annotated[str | None, typer.Option("--flow", help="Only of this flow.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """List deployments."""
    client = reach()
    only = FlowFilter(name=TextCondition(any_=[flow])) if flow else None
    found = client.read_deployments(DeploymentQuery(flows=only, limit=200))
    if flow and not found:
        client.read_flow_by_name(flow)  # says so if there is none
    if output is Format.JSON:
        emit(found)
        return
    rows = [
        (
            full,
            one.work_pool_name,
            "; ".join(map(schedule.words, one.schedules)),
            "paused" if one.paused else "active",
            one.id,
        )
        for one, full in sorted(named(client, found), key=lambda pair: pair[1])
    ]
    table(("NAME", "POOL", "SCHEDULES", "", "ID"), rows, empty="There are no deployments.")


def _times(deployment: Deployment) -> str:
    return "; ".join(map(schedule.words, deployment.schedules))


@app.command()
def inspect(deployment: Which, output: Output = Format.TEXT) -> None:
    """Show a deployment and when it runs next."""
    client = reach()
    found = find(client, deployment)
    if output is Format.JSON:
        emit(found)
        return
    facts(
        {
            "name": named(client, [found])[0][1],
            "id": found.id,
            "description": found.description,
            "entrypoint": found.entrypoint,
            "path": found.path,
            "version": found.version,
            "pool": found.work_pool_name or no_pool(found),
            "queue": found.work_queue_name,
            "parameters": found.parameters,
            "job variables": found.job_variables,
            "tags": found.tags,
            "paused": found.paused,
            "runs at once": _at_once(found),
            "parameters are checked": None if found.enforce_parameter_schema else "no",
            "pull steps": found.pull_steps or None,
            "missed fires": found.labels.get(CATCH_UP_LABEL, DEFAULT_CATCH_UP),
            "status": found.status and found.status.value,
            "updated": found.updated,
        }
    )
    schedule.show(found.schedules)


@app.command()
def run(
    deployment: Which,
    param: Parameters = None,
    params: Annotated[
        str | None, typer.Option("--params", metavar="JSON", help="Parameters as a JSON object; - reads it from stdin.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show what the run does until it is over.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", "--watch-timeout", min=0, help="With --watch: seconds to watch, at most."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="With a known key the known run is taken.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", "--start-at", metavar="TIME", help="When, in ISO 8601.")] = None,
    in_: Annotated[
        str | None, typer.Option("--in", "--start-in", metavar="SPAN", help="How much later: 90, '5 min', '2 hours'.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "--flow-run-name", help="The run's name.")] = None,
    tag: Tags = None,
    queue: Annotated[
        str | None, typer.Option("--work-queue", "-q", help="A queue other than the deployment's.")
    ] = None,
    job_variable: Annotated[
        list[str] | None,
        typer.Option("--job-variable", "-jv", metavar="NAME=VALUE", help="Over the deployment's; env.KEY is one key."),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Run a deployment. With --watch the exit code is 0 only if the run completed."""
    if timeout is not None and not watch:
        raise InvalidInput("--timeout belongs to --watch, which is not given.")
    client = reach()
    found = find(client, deployment)
    chosen: dict[str, Any] = {"name": name} if name else {}
    body = DeploymentFlowRunCreate(
        state=scheduled(_start(at, in_)),
        parameters={**_object(params), **values(found.parameter_openapi_schema, param)},
        work_queue_name=queue,
        job_variables=variables(job_variable),
        idempotency_key=idempotency_key,
        tags=tag or [],
        **chosen,
    )
    new = is_new_queue(client, found.work_pool_name, queue)
    if body.job_variables and found.work_pool_name:
        unknown = plugins.load("millrace.deployments.pool_variables:unknown")
        if said := unknown(body.job_variables, client.read_work_pool(found.work_pool_name)):
            note(f"millrace: {said}")
    made = client.create_flow_run_from_deployment(found.id, body)
    if new:
        note(f"millrace: the work queue {queue!r} of the pool {found.work_pool_name!r} was made: it was not there.")
    if watch:
        _watch(client, made, timeout, output)
    if output is Format.JSON:
        emit(made)
        return
    say(f"The run {made.name!r} is {made.state_name}, due {when(made.expected_start_time)}.")
    say(f"Watch it: millrace flow-run watch {made.id}")
    if reason := nobody(client, made):
        say(str(reason))


def _at_once(found: Deployment) -> str | None:
    options = found.concurrency_options
    if found.concurrency_limit is None or options is None:
        return None if found.concurrency_limit is None else str(found.concurrency_limit)
    more = "is cancelled" if options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW else "waits"
    return f"{found.concurrency_limit}; one more {more}"


def _start(at: str | None, in_: str | None) -> datetime:
    if at is not None and in_ is not None:
        raise InvalidInput("--at and --in are both given. Keep one of them.")
    return later(in_) if in_ is not None else moment(at) or now()


def _object(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise InvalidInput(f"--params is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"--params must be a JSON object, such as '{{\"n\": 5}}', not {type(found).__name__}.")
    return found


def _watch(client: Client, made: FlowRun, timeout: float | None, output: Format) -> None:
    if output is Format.JSON:
        over = watched(client, made, timeout=timeout, quiet=True)
        emit(over)
        raise typer.Exit(code(over))
    note(f"The run {made.name!r} ({made.id}):")
    raise typer.Exit(ended(watched(client, made, timeout=timeout)))


@app.command()
def pause(deployment: Which, output: Output = Format.TEXT) -> None:
    """Let all its schedules rest."""
    client = reach()
    found = find(client, deployment)
    client.pause_deployment(found.id)
    done(f"Paused the deployment {deployment!r}.", client.read_deployment(found.id), output)


@app.command()
def resume(deployment: Which, output: Output = Format.TEXT) -> None:
    """Let its schedules run again."""
    client = reach()
    found = find(client, deployment)
    client.resume_deployment(found.id)
    done(f"Resumed the deployment {deployment!r}.", client.read_deployment(found.id), output)


@app.command()
def backfill(
    deployment: Which,
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="From here, included; in ISO 8601.")],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to here, not included; not later than now.")],
    only: Annotated[
        str | None, typer.Option("--schedule", help="The id or slug of one schedule. Default: all of the deployment.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many new runs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be made, and make nothing.")] = False,
    param: Parameters = None,
    queue: Annotated[str | None, typer.Option("--queue", help="A queue other than the deployment's.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Make a run of every fire in a past time that has none yet. Doing it again adds nothing."""
    start, end = moment(from_, "--from"), moment(to, "--to")
    client = reach()
    found = find(client, deployment)
    made_queue = not dry_run and is_new_queue(client, found.work_pool_name, queue)
    filled = plugins.load("millrace.deployments.backfills:backfill")(
        found.id,
        start,
        end,
        schedule=only,
        limit=limit,
        dry_run=dry_run,
        parameters=values(found.parameter_openapi_schema, param),
        work_queue_name=queue,
        client=client,
    )
    if made_queue and any(fire.created for fire in filled):
        note(f"millrace: the work queue {queue!r} of the pool {found.work_pool_name!r} was made: it was not there.")
    if output is Format.JSON:
        emit(filled)
        return
    new = [fire for fire in filled if fire.created]
    names = {one.id: one.slug or schedule.words(one) for one in found.schedules}
    if dry_run:
        table(("FIRE", "SCHEDULE"), [(fire.nominal_time, names.get(fire.schedule_id)) for fire in new], empty="")
    verb = "would be made" if dry_run else "were made"
    say(f"{len(new)} run(s) {verb}; {len(filled) - len(new)} fire(s) have theirs already.")


@app.command()
def skipped(deployment: Which, output: Output = Format.TEXT) -> None:
    """List the fires that were missed and, as the deployment's catch-up policy says, not run."""
    client = reach()
    found = client.read_skipped_fires(find(client, deployment).id)
    if output is Format.JSON:
        emit(found)
        return
    rows = [(one.nominal_time, one.reason, one.schedule_id) for one in found]
    table(("FIRE", "WHY", "SCHEDULE"), rows, empty="No fire was skipped.")


@app.command()
def delete(deployment: Which, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Remove a deployment and its schedules; its runs stay."""
    client = reach()
    found = find(client, deployment)
    confirm(f"Delete the deployment {deployment!r}?", yes)
    client.delete_deployment(found.id)
    done(f"Deleted the deployment {deployment!r}.", found, output)
