"""`millrace demo`: the whole path once, for real, in under a minute."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from millrace import plugins, settings
from millrace.cli import output
from millrace.client import locate
from millrace.client.handle import RunHandle
from millrace.client.synchronous import Client
from millrace.errors import MillraceError, NotFound, RunError
from millrace.schema.artifacts import ArtifactFilter, ArtifactQuery
from millrace.schema.deployments import Deployment
from millrace.schema.flows import IdCondition
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun, FlowRunFilter, FlowRunSort
from millrace.schema.states import StateType

BOOKS = ("01-quickstart.ipynb", "report.ipynb", "penguin_tools.py", "data")
FLOW = ("penguin-summary", "every-three-seconds")
NOTEBOOK = ("report", "every-five-seconds")
PATIENCE = 60.0
"""Seconds to wait for the scheduled runs."""


@dataclass
class _Seen:
    """A scheduled run that the demo waited for."""

    deployment: str
    run: FlowRun
    result: str
    files: dict[str, Path]


def demo() -> int:
    """Run the demo.

    Returns:
        The exit code: 0 only if a scheduled run of both deployments completed with the right result.
    """
    console = output.console()
    started = time.monotonic()
    ran_before = locate.embedded_status() is not None
    try:
        with _step(console, "server and worker" if not ran_before else "server and worker (running already)"):
            client = locate.connect()
        folder = _copy_books()
        _run_quickstart(console, folder)
        seen = [_wait(console, client, *FLOW), _wait(console, client, *NOTEBOOK)]
        with _step(console, "checking states, results and files"):
            _check(seen[0], seen[1])
        with _step(console, "pausing both schedules, letting the last runs finish"):
            _rest(client)
        _tell(console, client, seen, time.monotonic() - started)
        return 0
    except (MillraceError, _Wrong) as error:
        console.print(f"[red]✖ {error}[/red]", highlight=False)
        return 1
    finally:
        if not ran_before:
            locate.stop_embedded()


class _Wrong(Exception):
    """Something the demo promised did not come true."""


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    """Say what goes on while it takes longer than a moment, and how long it took."""
    started = time.monotonic()
    with console.status(f"{what} …"):
        yield
    console.print(f"[green]✔[/green] {what} [dim]{time.monotonic() - started:.1f} s[/dim]", highlight=False)


def _copy_books() -> Path:
    """The demo's notebooks, copied so that nothing of the checkout changes; always to the same place."""
    package = Path(__file__).parents[1]
    for source in (package / "demo_notebooks", package.parents[1] / "notebooks"):
        if (source / BOOKS[0]).exists():
            break
    else:
        raise NotFound("the demo's notebooks are not installed; clone the project and type: make demo")
    folder = settings.current().home / "demo"
    for name in BOOKS:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, dirs_exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, folder / name)
    return folder


def _run_quickstart(console: Console, folder: Path) -> None:
    run_notebook = plugins.load("millrace.notebooks.run:run_notebook")
    output = folder / "01-quickstart-executed.ipynb"
    with _step(console, "01-quickstart.ipynb, cell by cell, in a kernel"):
        outcome = run_notebook(folder / BOOKS[0], output=output, working_directory=folder)
    if outcome.state_type != StateType.COMPLETED:
        raise _Wrong(
            f"01-quickstart.ipynb: {outcome.state_name}: {outcome.error and outcome.error.message}. See {output}"
        )


def _wait(console: Console, client: Client, flow_name: str, name: str) -> _Seen:
    """The first run that the schedule started and the worker completed."""
    deployment = client.read_deployment_by_name(flow_name, name)
    with _step(console, f"a scheduled run of {flow_name}/{name} on the worker"):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for run in _scheduled_runs(client, deployment):
                if run.state_type is StateType.COMPLETED:
                    return _Seen(f"{flow_name}/{name}", run, _result(run), _files(client, run))
                if run.state is not None and run.state.is_final():
                    raise _Wrong(f"{flow_name}/{name}: run {run.name} is {run.state}")
            time.sleep(0.1)
    raise _Wrong(f"{flow_name}/{name}: no scheduled run completed within {PATIENCE:.0f} s")


def _scheduled_runs(client: Client, deployment: Deployment) -> list[FlowRun]:
    only = FlowRunFilter(id=None, deployment_id=IdCondition(any_=[deployment.id]))
    runs = client.read_flow_runs(FlowRunQuery(flow_runs=only, sort=FlowRunSort.EXPECTED_START_TIME_ASC))
    return [run for run in runs if run.auto_scheduled]


def _result(run: FlowRun) -> str:
    try:
        return str(RunHandle(run).result())
    except (RunError, NotFound) as error:
        return error.message


def _files(client: Client, run: FlowRun) -> dict[str, Path]:
    found = client.read_artifacts(ArtifactQuery(artifacts=ArtifactFilter(flow_run_id=IdCondition(any_=[run.id]))))
    return {str(a.type): Path(str(a.data)) for a in found if a.type in {"notebook", "html"}}


def _check(flow: _Seen, notebook: _Seen) -> None:
    if "'Adelie'" not in flow.result or "'Chinstrap'" not in flow.result:
        raise _Wrong(f"{flow.deployment}: the result is {flow.result}")
    for kind in ("notebook", "html"):
        path = notebook.files.get(kind)
        if path is None or not path.exists():
            raise _Wrong(f"{notebook.deployment}: the run kept no {kind}")
    saved = json.loads(notebook.files["notebook"].read_text())
    code = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    states = [cell["metadata"]["millrace"]["status"] for cell in code]
    charts = [cell for cell in code if any("image/png" in output.get("data", {}) for output in cell["outputs"])]
    if set(states) != {"completed"} or not charts or not any("Gentoo" in "".join(cell["source"]) for cell in code):
        raise _Wrong(
            f"{notebook.deployment}: {notebook.files['notebook']} does not show the chart for Gentoo: {states}"
        )


def _rest(client: Client) -> None:
    """Pause both deployments and wait for what is under way, so that nothing is left running behind."""
    found = [client.read_deployment_by_name(*names) for names in (FLOW, NOTEBOOK)]
    for deployment in found:
        client.pause_deployment(deployment.id)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        runs = [run for deployment in found for run in _scheduled_runs(client, deployment)]
        if all(run.state is None or run.state.is_final() for run in runs if run.start_time or run.attempt):
            return
        time.sleep(0.1)


def _tell(console: Console, client: Client, seen: list[_Seen], seconds: float) -> None:
    rows = []
    for one in seen:
        for run in _scheduled_runs(client, client.read_deployment_by_name(*one.deployment.split("/"))):
            if run.start_time is None or run.expected_start_time is None or run.state is None:
                continue
            late = (run.start_time - run.expected_start_time).total_seconds()
            due = run.expected_start_time.astimezone().strftime("%H:%M:%S")
            took = f"{run.total_run_time:.2f} s"
            rows.append([one.deployment, run.name, output.state(run.state), due, f"{late:.2f} s", took])
    output.table(["DEPLOYMENT", "RUN", "STATE", "DUE", "LATE BY", "TOOK"], rows, empty="no runs")
    files = seen[1].files
    console.print(f"result of {seen[0].run.name}: {seen[0].result}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"executed notebook: {files['notebook']}", soft_wrap=True, highlight=False)
    console.print(f"its HTML:          {files['html']}", soft_wrap=True, highlight=False)
    console.print(f"\nAll of that took {seconds:.0f} s. Both schedules are paused now. To try next:", highlight=False)
    here = "" if shutil.which("millrace") else f"{os.path.relpath(Path(sys.executable).parent)}/"
    for line in (
        f"{here}millrace up                            server and worker that outlive the notebook",
        f"{here}millrace deployment resume report/every-five-seconds",
        f"{here}millrace flow-run ls                   what happened",
        f"{here}pip install -e '.[lab]' && {here}jupyter lab notebooks/01-quickstart.ipynb    the same, by hand",
    ):
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
