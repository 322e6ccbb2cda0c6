"""A whole notebook as a flow: its parameters cell is the signature, its cells are the work.

The engine drives it as it drives any flow, so states, retries, leases and logs are the same. What is its own: a record
for each cell, and the executed notebook and its page, which stay in the run's directory and are named as artifacts.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace import plugins, settings
from millrace.engine import run_claimed, run_flow
from millrace.engine.context import RUN_ID, FlowRunContext
from millrace.engine.alarms import TimeLimitReached
from millrace.engine.parameters import Signature
from millrace.engine.recorder import recorder
from millrace.engine.runners import TaskRunner, ThreadPoolTaskRunner
from millrace.errors import CellFailed, MillraceError, NotFound, RunFailed, TooLarge
from millrace.notebooks.cell_events import CellEvent
from millrace.notebooks.parameters import read_book, schema_of, validate
from millrace.schema.artifacts import ArtifactCreate
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event
from millrace.schema.pages import LARGEST_PAGE, RunPage
from millrace.schema.runs import FlowRun, FlowRunPolicy, Lease
from millrace.schema.states import State, StateType, named

if TYPE_CHECKING:
    from millrace.notebooks.run import NotebookOutcome

LOGGER = "millrace.cells"
_INFO, _ERROR = 20, 40
# The kernel is interrupted first and killed if that does not help, all within the grace the worker gives.
_SHARE_OF_GRACE = 0.7


@dataclass(frozen=True)
class _Book(Signature):
    """The signature of a notebook: whatever its parameters cell says, passed on as it is."""

    def with_defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values; the notebook has the defaults."""
        return dict(given)

    def arguments(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """All of them by name."""
        return [], dict(values)


class NotebookFlow:
    """A notebook that runs as a flow.

    Args:
        path: the notebook.

    Raises:
        InvalidInput: it is not there, or no notebook.
        ParameterError: its parameters cell is no Python.
    """

    isasync = False
    isgenerator = False
    flow_run_name: str | None = None
    persist_result: bool | None = False
    result_storage: Any = None
    result_serializer: Any = None
    cache_result_in_memory = True
    should_validate_parameters = True
    timeout_seconds: float | None = None
    version: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        book = read_book(self.path)
        self.name = re.sub(r"[/%&><]", "-", path.stem)
        self.description = _first_words(book)
        self.parameters: dict[str, Any] = schema_of(book)
        self.fn = self._execute
        self.signature: Signature = _Book(self._execute, self.name)
        self.task_runner: TaskRunner = ThreadPoolTaskRunner(max_workers=1)

    @property
    def policy(self) -> FlowRunPolicy:
        """Its retries: those of the settings."""
        here = settings.current()
        delay = here.flow_default_retry_delay_seconds
        return FlowRunPolicy(retries=here.flow_default_retries, retry_delay=round(delay), retry_delay_seconds=delay)

    def run_name(self, parameters: dict[str, Any]) -> str | None:
        """Nothing but the name the run has."""
        return None

    def logs_prints(self, inherited: bool | None) -> bool:
        """What cells print is logged anyway; nothing else prints."""
        return False

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Values checked against the parameters cell.

        Raises:
            ParameterError: one is unknown, missing or of the wrong type.
        """
        return validate(self.parameters, parameters)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Values as JSON."""
        return self.validate_parameters(parameters)

    def run_claimed(self, flow_run: FlowRun, lease: Lease | None, client: Any) -> State:
        """Execute a run that exists and report its states.

        Args:
            flow_run: the run.
            lease: its lease.
            client: the client.
        """
        return run_claimed(self, flow_run, lease, client)

    def __call__(self, *, return_state: bool = False, **parameters: Any) -> Any:
        """Runs the notebook here, as a run of its own; its files are artifacts of the run.

        Args:
            return_state: give the final state, and do not raise.
            parameters: values for its parameters cell.

        Raises:
            ParameterError: one is unknown, missing or of the wrong type.
            CellFailed: a cell raised.
        """
        return run_flow(self, parameters, return_state=return_state)

    def _execute(self, **parameters: Any) -> State | None:
        context = FlowRunContext.get()
        assert context is not None
        report = _Report(context)
        output = settings.current().run_directory(context.flow_run.id) / "executed.ipynb"
        output.parent.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(filter(None, [str(self.path.parent), os.environ.get("PYTHONPATH")]))
        outcome: NotebookOutcome = plugins.load("millrace.notebooks.run:run_notebook")(
            self.path,
            output=output,
            parameters=parameters,
            grace=settings.current().cancel_grace_seconds * _SHARE_OF_GRACE,
            working_directory=Path.cwd(),
            # the deployed modules, not those beside the notebook today; and what tells the kernel whose it is
            environment={"PYTHONPATH": path, RUN_ID[0]: str(context.run_id)},
            on_event=report.cell,
            on_output=report.output,
        )
        report.close()
        report.artifacts(outcome)
        return _ending(outcome, context)


class _Report:
    """Tells of a run's cells, of what they print, and of what they leave behind.

    Args:
        context: the run.
    """

    def __init__(self, context: FlowRunContext) -> None:
        self._context = context
        self._partial: dict[tuple[str, int], str] = {}

    def cell(self, event: CellEvent) -> None:
        """One cell started or ended."""
        if event.kind == "finished":
            self._flush(event.index)
        run = self._context.flow_run
        told = Event(
            event=f"millrace.cell.{event.kind}",
            resource={
                RESOURCE_ID: f"millrace.cell.{run.id}.{event.index}",
                "prefect.resource.name": f"cell {event.index + 1}",
            },
            related=[
                {
                    RESOURCE_ID: f"prefect.flow-run.{run.id}",
                    RESOURCE_ROLE: "flow-run",
                    "prefect.resource.name": run.name,
                }
            ],
            payload=_payload(event),
        )
        recorder().record(self._context.client, lambda: told)

    def output(self, text: str, name: str, index: int) -> None:
        """A cell printed something."""
        *lines, rest = (self._partial.pop((name, index), "") + text).split("\n")
        for line in lines:
            self._log(line)
        if rest:
            self._partial[name, index] = rest

    def close(self) -> None:
        """Lines without an end are lines too."""
        for key in list(self._partial):
            self._log(self._partial.pop(key))

    def _flush(self, index: int) -> None:
        for key in [key for key in self._partial if key[1] == index]:
            self._log(self._partial.pop(key))

    def _log(self, text: str, level: int = _INFO) -> None:
        spool = self._context.spool
        line = text.rstrip("\r").rpartition("\r")[2]  # what a progress bar shows last
        if spool is not None and line.strip():
            spool.write(LOGGER, level, line, flow_run_id=self._context.flow_run.id)
            recorder().dirty(self._context)

    def artifacts(self, outcome: NotebookOutcome) -> None:
        """Name the files that the run leaves behind."""
        if outcome.error is not None and outcome.error.traceback:
            self._log("\n".join(outcome.error.traceback), _ERROR)
        files = {"notebook": outcome.notebook, "html": outcome.html}
        # by its key the newest of a flow is found, and Prefect's command line cannot list artifacts that have none
        flow = re.sub(r"[^a-z0-9]+", "-", self._context.flow.name.lower()).strip("-") or "a"
        for kind, path in files.items():
            if path is None:
                continue
            body = ArtifactCreate(
                key=f"{flow}-{kind}",
                type=kind,
                description="The executed notebook" if kind == "notebook" else "The executed notebook as a page",
                data=str(path),
                flow_run_id=self._context.flow_run.id,
            )
            try:
                self._context.client.create_artifact(body)
            except MillraceError as error:
                self._log(f"The artifact {path} could not be registered: {error}", _ERROR)
        if outcome.html is not None:
            self._send(outcome.html)

    def _send(self, page: Path) -> None:
        """A server that may be on another machine gets the page; the embedded one finds it where it is."""
        client, run = self._context.client, self._context.flow_run.id
        if client.endpoint.runtime_file is not None:
            return
        place, size = f"{socket.gethostname()}:{page}", page.stat().st_size
        try:
            if size <= LARGEST_PAGE:
                with contextlib.suppress(TooLarge):  # for this server, which may take less
                    text = page.read_text(encoding="utf-8", errors="replace")
                    client.keep_page(run, RunPage(place=place, size=size, text=text))
                    return
            client.keep_page(run, RunPage(place=place, size=size))
        except NotFound:  # a real Prefect server keeps no pages
            pass
        except MillraceError as error:
            self._log(f"The server did not take the page {page}: {error}", _ERROR)


def _payload(event: CellEvent) -> dict[str, Any]:
    return {
        "index": event.index,
        "cell_id": event.cell_id,
        "status": event.status,
        "number": event.number,
        "total": event.total,
        "execution_count": event.execution_count,
        "started_at": event.started_at.isoformat(),
        "ended_at": event.ended_at.isoformat() if event.ended_at else None,
        "ename": event.ename,
        "evalue": event.evalue,
    }


def _ending(outcome: NotebookOutcome, context: FlowRunContext) -> State | None:
    """What the engine is told: nothing for success, the exception of a cell, or the state it cannot know."""
    if outcome.state_type == StateType.COMPLETED:
        return None
    error = outcome.error
    message = error.message if error else f"The notebook is {outcome.state_name}."
    if outcome.state_name == "TimedOut":
        raise TimeLimitReached(message)
    if outcome.state_type == StateType.CANCELLED and not _wanted(context):
        return named("Crashed", message)
    if outcome.state_type != StateType.FAILED:
        return named(outcome.state_name, message)
    if error is not None and error.cell is not None and error.ename:
        raise CellFailed(error.cell, error.ename, error.evalue, error.traceback)
    raise RunFailed(message)


def _wanted(context: FlowRunContext) -> bool:
    """Whether a person asked to cancel the run; else its process was terminated from outside."""
    try:
        state = context.client.read_flow_run(context.flow_run.id).state_type
    except MillraceError:
        return False
    return state in (StateType.CANCELLING, StateType.CANCELLED)


def _first_words(book: Mapping[str, Any]) -> str | None:
    for cell in book.get("cells", [])[:3]:
        if cell.get("cell_type") == "markdown":
            source = cell.get("source", "")
            text = source if isinstance(source, str) else "".join(source)
            lines = [line.strip("# ").strip() for line in text.splitlines() if line.strip()]
            return lines[0][:300] if lines else None
    return None
