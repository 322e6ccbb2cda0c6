"""What a monitor knows of one run: events in, a picture out. Pure: no I/O, no clock, no widgets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from millrace.client.waiting import PATIENCE, Around, Waiting, explained
from millrace.jupyter.pausing import Pause
from millrace.schema.artifacts import Artifact
from millrace.schema.events import RESOURCE_ID, ReceivedEvent
from millrace.schema.logs import Log
from millrace.schema.runs import FlowRun, TaskRun
from millrace.schema.states import TERMINAL, State, StateType

LOG_LINES = 5000
"""How many log lines a view keeps; older ones stay on the server."""

ARTIFACTS = 100
"""How many artifacts a view keeps; older ones stay on the server."""

LINE_LENGTH = 2000
"""How much of a line is shown; all of it stays on the server."""

LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}

CELL_STATES = {
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
    "timed_out": "TimedOut",
    "cancelled": "Cancelled",
    "not_run": "NotRun",
}


@dataclass
class Row:
    """One task run or one cell.

    Args:
        key: its id.
        kind: `task` or `cell`.
        name: what people read.
        state: the name of its state.
        start: when it began.
        end: when it ended.
        detail: why it failed, in a line.
        tries: how often it began.
    """

    key: str
    kind: str
    name: str
    state: str = "Pending"
    start: datetime | None = None
    end: datetime | None = None
    detail: str = ""
    tries: int = 0


@dataclass(frozen=True)
class Line:
    """One log line as it is shown."""

    number: int
    time: datetime
    level: str
    text: str


@dataclass
class RunView:
    """One run as a person watches it.

    Args:
        run_id: the flow run's id.
        flow: the flow's name.
        name: the run's name.

    Example:
        >>> view = RunView("0d9e", "etl", "amber-heron")
        >>> view.done
        False
    """

    run_id: str
    flow: str = ""
    name: str = ""
    state: str = "Pending"
    state_type: StateType = StateType.PENDING
    message: str = ""
    created: datetime | None = None
    due: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    attempt: int = 0
    pool: str = ""
    waiting: Waiting | None = None
    pause: Pause | None = None
    known_until: datetime | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    artifacts: dict[UUID, Artifact] = field(default_factory=dict)
    unread: set[UUID] = field(default_factory=set)
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    line_count: int = 0

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self.state_type in TERMINAL

    @property
    def is_waiting(self) -> bool:
        """Whether it is somebody else's turn: it has not begun, or not begun again."""
        return self.state_type in {StateType.SCHEDULED, StateType.PENDING}

    @property
    def kind(self) -> str:
        """What the rows are: `cell` for a notebook, else `task`."""
        return "cell" if any(row.kind == "cell" for row in self.rows.values()) else "task"

    def elapsed(self, now: datetime) -> float | None:
        """Seconds since the start, until the end; None before the start."""
        return max(0.0, ((self.end or now) - self.start).total_seconds()) if self.start else None

    def counts(self) -> dict[str, int]:
        """How many rows are in each state."""
        found: dict[str, int] = {}
        for row in self.rows.values():
            found[row.state] = found.get(row.state, 0) + 1
        return found

    # -- what comes in

    def load(self, run: FlowRun, flow_name: str = "") -> None:
        """Take a run as the server answered it; the state of an older answer never replaces a newer one."""
        self.flow = flow_name or self.flow
        self.name = run.name or self.name
        self.created = run.created
        self.due = run.expected_start_time
        self.attempt = max(self.attempt, run.attempt)
        self.pool = run.work_pool_name or self.pool
        if run.state is not None:
            self.known_until = run.state.timestamp
            self._take_state(run.state.type, run.state.name or "", run.state.message or "", run.state.timestamp)
        self.start = run.start_time or self.start
        self.end = run.end_time or self.end

    def load_tasks(self, tasks: list[TaskRun]) -> None:
        """Take task runs as the server answered them."""
        for task in tasks:
            row = self.rows.setdefault(str(task.id), Row(str(task.id), "task", task.name))
            row.state = task.state_name or row.state
            row.start, row.end = task.start_time, task.end_time
            row.tries = task.run_count
            row.detail = _reason(task.state)

    def apply(self, message: ReceivedEvent | list[Log]) -> None:
        """Take one message of the run's event stream, in the order of the stream."""
        if isinstance(message, list):
            for log in message:
                self.line_count += 1
                level = LEVELS.get(log.level // 10 * 10, str(log.level))
                self.lines.append(Line(self.line_count, log.timestamp, level, log.message))
        elif message.event.startswith("prefect.flow-run."):
            self._flow_run_event(message)
        elif message.event.startswith("prefect.task-run."):
            self._task_run_event(message)
        elif message.event.startswith("millrace.cell."):
            self._cell_event(message)
        elif message.event.startswith("millrace.artifact."):
            self._artifact_event(message)

    def _flow_run_event(self, event: ReceivedEvent) -> None:
        if event.resource.get(RESOURCE_ID) != f"prefect.flow-run.{self.run_id}":
            return
        state = event.payload.get("validated_state") or {}
        kind = event.resource.get("prefect.state-type") or state.get("type")
        # The stream begins with the run: what happened before the answer we started from is no news.
        if not kind or (self.known_until is not None and event.occurred < self.known_until):
            return
        name = event.resource.get("prefect.state-name") or state.get("name") or ""
        self.name = event.resource.get("prefect.resource.name", self.name)
        self._take_state(StateType(kind), name, state.get("message") or "", event.occurred)

    def _take_state(self, kind: StateType, name: str, message: str, at: datetime) -> None:
        if self.done and kind not in TERMINAL and kind is not StateType.SCHEDULED:
            return
        if kind is StateType.SCHEDULED and self.done:
            self.end = None
        self.state, self.state_type, self.message = name or kind.value.capitalize(), kind, message
        if not self.is_waiting:
            self.waiting = None
        self.pause = None  # another pause may ask for something else
        if kind is StateType.RUNNING and self.start is None:
            self.start = at
        if kind in TERMINAL:
            self.end = at

    def _task_run_event(self, event: ReceivedEvent) -> None:
        key = event.resource.get(RESOURCE_ID, "").removeprefix("prefect.task-run.")
        row = self.rows.setdefault(key, Row(key, "task", event.resource.get("prefect.resource.name", key[:8])))
        state = event.payload.get("validated_state") or {}
        row.name = event.resource.get("prefect.resource.name", row.name)
        row.state = event.event.rsplit(".", 1)[1]
        row.detail = state.get("message") or "" if row.state in {"Failed", "Crashed", "TimedOut", "Retrying"} else ""
        kind = state.get("type") or event.resource.get("prefect.state-type")
        if kind == StateType.RUNNING:
            row.start = row.start or event.occurred
            row.end = None
            row.tries += 1
        elif kind in {str(terminal) for terminal in TERMINAL}:
            row.end = event.occurred

    def _cell_event(self, event: ReceivedEvent) -> None:
        payload = event.payload
        key = f"cell-{payload.get('index')}"
        number = int(payload.get("index", 0)) + 1
        row = self.rows.setdefault(key, Row(key, "cell", f"cell {number}"))
        row.state = CELL_STATES.get(str(payload.get("status")), row.state)
        if event.event.endswith(".started"):
            row.start, row.end, row.state = event.occurred, None, "Running"
            row.tries += 1
        elif row.state != "NotRun":
            row.end = event.occurred
        if payload.get("ename"):
            row.detail = f"{payload['ename']}: {payload.get('evalue') or ''}".strip(": ")

    def _artifact_event(self, event: ReceivedEvent) -> None:
        try:
            id = UUID(event.resource.get(RESOURCE_ID, "").rpartition(".")[2])
        except ValueError:
            return
        known = self.artifacts.get(id)
        if known is None or "data" not in event.payload:
            self.unread.add(id)
        elif known.updated is None or event.occurred >= known.updated:
            self.artifacts[id] = known.model_copy(update={"data": event.payload["data"], "updated": event.occurred})

    def load_artifacts(self, artifacts: list[Artifact]) -> None:
        """Take artifacts as the server answered them."""
        for one in artifacts:
            self.unread.discard(one.id)
            self.artifacts[one.id] = one
        for old in self.latest_artifacts(len(self.artifacts))[ARTIFACTS:]:
            del self.artifacts[old.id]

    def latest_artifacts(self, count: int) -> list[Artifact]:
        """The artifacts, latest first, at most so many."""
        return sorted(self.artifacts.values(), key=lambda one: (one.created, one.id), reverse=True)[:count]

    def explain(self, now: datetime, around: Around) -> bool:
        """Find out why the run waits.

        Args:
            now: the current moment.
            around: what the run depends on.

        Returns:
            Whether the answer is another than before.
        """
        before, self.waiting = self.waiting, None
        overdue = (now - self.due).total_seconds() if self.due else 0.0
        if self.is_waiting and self.pool and overdue > PATIENCE:
            self.waiting = explained(around, late=self.state == "Late")
        return self.waiting != before

    def copy(self) -> RunView:
        """The same, independent of this one."""
        rows = {key: replace(row) for key, row in self.rows.items()}
        return replace(
            self, rows=rows, lines=self.lines.copy(), artifacts=dict(self.artifacts), unread=set(self.unread)
        )

    def lines_after(self, number: int, count: int) -> list[Line]:
        """Log lines beyond a number, oldest first; of those that are no longer kept, none.

        Args:
            number: the last one known.
            count: at most so many.
        """
        first = max(0, len(self.lines) - (self.line_count - number))
        return list(islice(self.lines, first, first + count))

    # -- what goes out

    def snapshot(self, rows: int = 200) -> dict[str, Any]:
        """What the page draws, as JSON values.

        Args:
            rows: at most this many rows; of more, the newest are kept and the rest are counted.
        """
        shown = list(self.rows.values())
        hidden = max(0, len(shown) - rows)
        return {
            "id": self.run_id,
            "flow": self.flow,
            "name": self.name,
            "state": self.state,
            "type": self.state_type.value,
            "message": self.message,
            "due": _iso(self.due),
            "start": _iso(self.start),
            "end": _iso(self.end),
            "attempt": self.attempt,
            "waiting": self.waiting.reason if self.waiting else "",
            "command": self.waiting.command if self.waiting else "",
            "pause": self.pause.picture(self.run_id) if self.pause else None,
            "done": self.done,
            "kind": self.kind,
            "counts": self.counts(),
            "hidden": hidden,
            "rows": [
                {
                    "key": row.key,
                    "name": row.name,
                    "state": row.state,
                    "start": _iso(row.start),
                    "end": _iso(row.end),
                    "detail": row.detail[:300],
                    "tries": row.tries,
                }
                for row in shown[hidden:]
            ],
        }


def line_message(line: Line) -> list[Any]:
    """A log line as the page takes it: number, time, level, text."""
    text = line.text if len(line.text) <= LINE_LENGTH else line.text[:LINE_LENGTH] + " …"
    return [line.number, _iso(line.time), line.level, text]


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _reason(state: State | None) -> str:
    bad = {StateType.FAILED, StateType.CRASHED}
    return (state.message or "") if state is not None and state.type in bad else ""
