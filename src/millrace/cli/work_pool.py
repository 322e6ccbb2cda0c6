"""`millrace work-pool …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from millrace import plugins, settings
from millrace.cli.options import Yes, confirm
from millrace.cli.output import Format, Output, done, emit, facts, say, table
from millrace.cli.reach import reach
from millrace.cli.waiting import Hours, coming, dependents
from millrace.errors import InvalidInput, NotFound
from millrace.schema.fields import JsonObject
from millrace.schema.pools import WorkPoolCreate, WorkPoolUpdate
from millrace.suggestions import did_you_mean

app = typer.Typer(no_args_is_help=True, help="Pools: where runs wait for workers.")
Name = Annotated[str, typer.Argument(help="The pool's name.")]
Template = Annotated[
    Path | None, typer.Option("--base-job-template", metavar="FILE", help="A JSON file with the base job template.")
]


def _default_template(type: str) -> JsonObject:
    kinds = plugins.load("millrace.workers.execution:KINDS")
    if type not in kinds.names:
        raise InvalidInput(f"There is no pool type {type!r}; there are {', '.join(kinds.names)}.")
    made: JsonObject = plugins.load("millrace.workers.execution:template_of")(kinds.load(type))
    return made


def _template(file: Path) -> JsonObject:
    """The base job template in a file.

    Raises:
        InvalidInput: the file holds none.
    """
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{file} is no JSON: {error}.") from None
    if not isinstance(read, dict) or not isinstance(read.get("job_configuration"), dict):
        raise InvalidInput(
            f"{file} is no base job template: it has no object `job_configuration`. "
            "Begin with: millrace work-pool get-default-base-job-template --type process"
        )
    return read


@app.command()
def create(
    name: Name,
    type: Annotated[str, typer.Option("--type", "-t", help="What its workers start: process or docker.")] = "process",
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="Runs at once, over all workers.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Its runs wait until it is resumed.")] = False,
    base_job_template: Template = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Change the pool, if there is one so named.")] = False,
    set_as_default: Annotated[
        bool, typer.Option("--set-as-default", help="The pool of deployments that name none, from now on.")
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Create a pool."""
    template = _default_template(type)
    if base_job_template is not None:
        template = _template(base_job_template)
    client = reach()
    if overwrite and _known(client, name):
        client.update_work_pool(
            name,
            WorkPoolUpdate(
                description=description, is_paused=paused, concurrency_limit=limit, base_job_template=template
            ),
        )
        pool = client.read_work_pool(name)
    else:
        pool = client.create_work_pool(
            WorkPoolCreate(
                name=name,
                type=type,
                description=description,
                is_paused=paused,
                concurrency_limit=limit,
                base_job_template=template,
            )
        )
    more = ""
    if set_as_default:
        file = settings.keep(settings.current().home, {"work_pool": name})
        more = f"\nIt is the default pool now, as {file} says."
    done(
        f"Created the work pool {name!r}. Start a worker for it: millrace worker start --pool {name!r}{more}",
        pool,
        output,
    )


def _known(client: Any, name: str) -> bool:
    try:
        client.read_work_pool(name)
    except NotFound:
        return False
    return True


@app.command()
def update(
    name: Name,
    base_job_template: Template = None,
    concurrency_limit: Annotated[
        int | None, typer.Option("--concurrency-limit", min=0, help="Runs at once, over all workers.")
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="What it is for.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Change a pool. What is not given stays."""
    changes: dict[str, Any] = {"concurrency_limit": concurrency_limit, "description": description}
    changes = {field: value for field, value in changes.items() if value is not None}
    if base_job_template is not None:
        changes["base_job_template"] = _template(base_job_template)
    if not changes:
        raise InvalidInput("Nothing to change is given. See: millrace work-pool update --help")
    client = reach()
    client.update_work_pool(name, WorkPoolUpdate(**changes))
    done(f"Updated the work pool {name!r}.", client.read_work_pool(name), output)


@app.command("set-concurrency-limit")
def set_concurrency_limit(
    name: Name,
    limit: Annotated[int, typer.Argument(min=0, help="Runs at once, over all workers.")],
    output: Output = Format.TEXT,
) -> None:
    """Set how many runs of a pool may run at once."""
    _changed(name, f"The work pool {name!r} has {limit} slots.", output, concurrency_limit=limit)


@app.command("clear-concurrency-limit")
def clear_concurrency_limit(name: Name, output: Output = Format.TEXT) -> None:
    """Let any number of runs of a pool run at once."""
    _changed(name, f"The work pool {name!r} has no limit.", output, concurrency_limit=None)


def _changed(name: str, text: str, output: Format, **changes: Any) -> None:
    client = reach()
    client.update_work_pool(name, **changes)
    done(text, client.read_work_pool(name), output)


@app.command()
def preview(name: Name, hours: Hours = 1, output: Output = Format.TEXT) -> None:
    """List the runs that wait in a pool, over all its queues."""
    client = reach()
    client.read_work_pool(name)
    coming(client, name, None, hours, output)


@app.command()
def slots(name: Name, output: Output = Format.TEXT) -> None:
    """Show which runs hold the slots of a pool."""
    held = reach().work_pool_concurrency(name, flow_run_limit=200)
    if output is Format.JSON:
        emit(held)
        return
    runs = [(queue.queue_name, one) for queue in held.queues for one in queue.flow_runs]
    rows = [(one.name, queue, one.state_name, one.state_timestamp, one.id) for queue, one in runs]
    table(("RUN", "QUEUE", "STATE", "SINCE", "ID"), rows, empty=f"No slot of {name!r} is held.")


@app.command("get-default-base-job-template")
def get_default_base_job_template(
    type: Annotated[str, typer.Option("--type", "-t", help="What its workers start: process or docker.")] = "process",
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Write it there.")] = None,
) -> None:
    """Print the base job template that a pool of a type gets if it is given none, as JSON."""
    template = _default_template(type)
    if file is None:
        emit(template)
        return
    file.write_text(json.dumps(template, indent=2) + "\n", encoding="utf-8")
    say(f"Wrote the base job template of {type!r} to {file}.")


@app.command("ls")
def list_(output: Output = Format.TEXT) -> None:
    """List all pools."""
    pools = reach().read_work_pools(limit=200)
    if output is Format.JSON:
        emit(pools)
        return
    rows = [
        (one.name, one.type, one.status and one.status.value, one.concurrency_limit, one.description) for one in pools
    ]
    table(("NAME", "TYPE", "STATUS", "LIMIT", "DESCRIPTION"), rows, empty="There are no work pools.")


@app.command()
def inspect(name: Name, output: Output = Format.TEXT) -> None:
    """Show a pool, its queues and its workers."""
    client = reach()
    pool = client.read_work_pool(name)
    if output is Format.JSON:
        emit(pool)
        return
    slots = client.work_pool_concurrency(name)
    facts(
        {
            "name": pool.name,
            "id": pool.id,
            "type": pool.type,
            "status": pool.status and pool.status.value,
            "description": pool.description,
            "running": f"{slots.active_slots} of {pool.concurrency_limit or 'any number'}",
            "created": pool.created,
        }
    )
    queues = [(one.name, one.priority, one.is_paused, one.concurrency_limit) for one in client.read_work_queues(name)]
    table(("QUEUE", "PRIORITY", "PAUSED", "LIMIT"), queues, empty="It has no queues.")
    workers = [(one.name, one.status.value, one.last_heartbeat_time) for one in client.read_workers(name)]
    table(("WORKER", "STATUS", "LAST HEARD OF"), workers, empty=f"No worker: millrace worker start --pool {name!r}")
    offered = _job_variables(pool.base_job_template)
    table(("JOB VARIABLE", "TYPE", "DEFAULT"), offered, empty="It has no job variables.")


def _job_variables(template: JsonObject) -> list[tuple[str, str, str]]:
    """The job variables that a template offers: name, type and default."""
    properties = (template.get("variables") or {}).get("properties") or {}
    return [
        (name, _type(one), "" if one.get("default") is None else json.dumps(one["default"], ensure_ascii=False))
        for name, one in properties.items()
    ]


def _type(schema: Any) -> str:
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    kinds = [_type(one) for one in schema.get("anyOf", []) if one.get("type") != "null"]
    return " or ".join(kinds) or str(schema.get("type", "any"))


@app.command()
def pause(name: Name, output: Output = Format.TEXT) -> None:
    """Let a pool's runs wait."""
    _changed(name, f"Paused the work pool {name!r}.", output, is_paused=True)


@app.command()
def resume(name: Name, output: Output = Format.TEXT) -> None:
    """Let a pool's runs go again."""
    _changed(name, f"Resumed the work pool {name!r}.", output, is_paused=False)


@app.command()
def delete(name: Name, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Remove a pool and its queues."""
    client = reach()
    try:
        found = client.read_work_pool(name)
    except NotFound:
        hint = did_you_mean(name, [one.name for one in client.read_work_pools(limit=200)])
        raise NotFound(f"No work pool is named {name!r}.{hint} See them with: millrace work-pool ls") from None
    left = dependents(client, name)
    confirm(f"Delete the work pool {name!r}?" + (f" {left} would be left without a pool." if left else ""), yes)
    client.delete_work_pool(name)
    more = (
        f" {left} left without a pool: nothing runs them now. Deploy them again, to another: what waits goes there."
        if left
        else ""
    )
    done(f"Deleted the work pool {name!r}.{more}", found, output)
