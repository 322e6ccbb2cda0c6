"""`millrace flow-run …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from millrace import plugins
from millrace.cli import FAILED, run_turns
from millrace.cli.deployment_names import meant
from millrace.cli.options import Limit, Yes, confirm
from millrace.cli.output import Format, Output, done, emit, facts, say, span, stamp, state, table, when
from millrace.cli.reach import reach
from millrace.cli.watch import code, ended, find, line
from millrace.cli.watch import watch as watched
from millrace.client.follow import follow
from millrace.client.handle import RunHandle, outcome
from millrace.errors import InvalidInput
from millrace.schema.flows import FlowFilter, IdCondition, TextCondition
from millrace.schema.queries import FlowQuery, FlowRunQuery, TaskRunQuery
from millrace.schema.runs import FlowRun, FlowRunFilter, StateCondition, TaskRunSort
from millrace.schema.states import NAMES, StateType

app = typer.Typer(no_args_is_help=True, help="Runs of flows.")
Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or its name: then the newest of that name.")]


@app.command("ls")
def list_(
    limit: Limit = 15,
    flow: Annotated[str | None, typer.Option("--flow", help="Only runs of this flow.")] = None,
    deployment: Annotated[
        str | None, typer.Option("--deployment", help="Only of this deployment: FLOW/NAME, its id, or a name.")
    ] = None,
    in_state: Annotated[
        list[str] | None, typer.Option("--state", help="Only in this state, such as Running or FAILED. Repeatable.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """List runs, the newest first."""
    client = reach()
    only: dict[str, Any] = {"flow_runs": FlowRunFilter(state=_condition(in_state))}
    if flow:
        only["flows"] = FlowFilter(name=TextCondition(any_=[flow]))
    if deployment:
        only["deployments"] = {"id": {"any_": [str(one.id) for one in meant(client, deployment)]}}
    runs = client.read_flow_runs(FlowRunQuery.model_validate({**only, "limit": limit}))
    if flow and not runs:
        client.read_flow_by_name(flow)  # says so if there is none
    if output is Format.JSON:
        emit(runs)
        return
    ids = list({run.flow_id for run in runs})
    known = client.read_flows(FlowQuery(flows=FlowFilter(id=IdCondition(any_=ids)), limit=200)) if ids else []
    names = {one.id: one.name for one in known}
    rows = [
        (
            run.id,
            names.get(run.flow_id),
            run.name,
            state(run.state),
            moment(run),
            took(run),
        )
        for run in runs
    ]
    table(("ID", "FLOW", "NAME", "STATE", "WHEN", "TOOK"), rows, empty="There are no such runs.")


def _condition(texts: list[str] | None) -> StateCondition | None:
    if not texts:
        return None
    kinds = [StateType(text.upper()) for text in texts if text.upper() in StateType.__members__]
    names = [name for text in texts for name in NAMES if name.lower() == text.lower() and text.upper() not in kinds]
    wrong = [text for text in texts if text.upper() not in kinds and text.lower() not in [n.lower() for n in names]]
    if wrong:
        raise InvalidInput(f"--state {wrong[0]!r} is no state. There are {', '.join(NAMES)}.")
    if kinds and names:
        raise InvalidInput("--state takes kinds of state or finer names, such as Late, but not both at once.")
    return StateCondition.model_validate({"type": {"any_": kinds}} if kinds else {"name": {"any_": names}})


def took(run: FlowRun) -> str:
    """How long a run ran, or has run until now."""
    return span(run.estimated_run_time) if run.start_time else ""


def moment(run: FlowRun) -> Text:
    """When a run began or is due, and the moment that it stands for, if that is another: it was made up for."""
    due, nominal = run.expected_start_time, run.nominal_time
    other = nominal is not None and due is not None and abs((due - nominal).total_seconds()) >= 1
    stands = f", for {stamp(nominal)}" if other and nominal else ""
    return Text(f"{when(run.start_time or due, brief=True)}{stands}")


@app.command()
def inspect(run: Run, output: Output = Format.TEXT) -> None:
    """Show a run and its tasks."""
    client = reach()
    found = find(client, run)
    if output is Format.JSON:
        emit(found)
        return
    deployment = client.read_deployment(found.deployment_id).name if found.deployment_id else None
    facts(
        {
            "name": found.name,
            "id": found.id,
            "flow": client.read_flow(found.flow_id).name,
            "deployment": deployment,
            "state": state(found.state),
            "message": found.state and found.state.message,
            "parameters": found.parameters,
            "tags": found.tags,
            "due": found.expected_start_time,
            "stands for": found.nominal_time and stamp(found.nominal_time),
            "started": found.start_time,
            "ended": found.end_time,
            "took": took(found),
            "starts": found.run_count,
            "pool": found.work_pool_name,
        }
    )
    only = FlowRunFilter(id=IdCondition(any_=[found.id]))
    tasks = client.read_task_runs(TaskRunQuery(flow_runs=only, sort=TaskRunSort.EXPECTED_START_TIME_ASC, limit=200))
    if tasks:
        rows = [(one.name, state(one.state), one.start_time, span(one.estimated_run_time)) for one in tasks]
        table(("TASK", "STATE", "STARTED", "TOOK"), rows, empty="")


@app.command()
def logs(
    run: Run,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    level: Annotated[int, typer.Option("--level", help="Only of this level and above: 10, 20, 30, 40.")] = 0,
    output: Output = Format.TEXT,
) -> None:
    """Show the lines a run wrote."""
    client = reach()
    found = find(client, run)
    if not follow_:
        entries = [entry for entry in RunHandle(found, client).logs() if entry.level >= level]
        if output is Format.JSON:
            emit(entries)
        else:
            for entry in entries:
                line(entry)
        return
    if output is Format.JSON:
        raise InvalidInput("--follow has no end to put into one JSON document; leave out --output json.")
    client.patience = 30.0  # the server may be started anew meanwhile
    for message in follow(client, found.id):
        if isinstance(message, list):
            for entry in message:
                if entry.level >= level:
                    line(entry)


@app.command()
def result(run: Run) -> None:
    """Print what a run returned, as JSON without types. Pickles are not read."""
    found = find(reach(), run)
    error = outcome(found)
    if error is not None:
        raise error
    emit(plugins.load("millrace.engine.results:read_plain")(found.state))


@app.command()
def watch(
    run: Run,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to watch, at most.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Show what a run does until it is over. Exit code 0 only if it completed."""
    client = reach()
    over = watched(client, find(client, run), timeout=timeout, quiet=output is Format.JSON)
    if output is Format.JSON:
        emit(over)
        raise typer.Exit(code(over))
    raise typer.Exit(ended(over))


@app.command()
def cancel(
    run: Run,
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing of it is left.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """End a run."""
    client = reach()
    handle = RunHandle(find(client, run), client)
    over = handle.state.is_final()
    now = handle.cancel()
    if wait:
        now = watched(client, handle.flow_run, quiet=True).state or now
    if output is Format.JSON:
        emit(handle.flow_run)
    elif over:
        say(f"The run {handle.name!r} is over: {now.name}.")
    else:
        say(f"The run {handle.name!r} is {now.name}.")
    if over and now.type is not StateType.CANCELLED:
        raise typer.Exit(FAILED)


@app.command()
def delete(run: Run, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Forget a run, its tasks, logs and states."""
    client = reach()
    found = find(client, run)
    if found.state is not None and found.state.type in (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING):
        raise InvalidInput(f"The run {found.name!r} is {found.state.name}. Cancel it first: flow-run cancel --wait")
    confirm(f"Delete the run {found.name!r}?", yes)
    client.delete_flow_run(found.id)
    done(f"Deleted the run {found.name!r}.", found, output)


app.command()(run_turns.suspend)
app.command()(run_turns.resume)
app.command()(run_turns.retry)
