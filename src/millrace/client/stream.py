"""What a follower knows and understands, without the reading: the messages of a run, and how far it has come.

Two ways lead to the same messages: `Listening` understands the server-sent events of a Millrace server; `Asking` makes
them of plain answers and of what `ears` hears, for a server that has no such stream.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

import httpx
from pydantic import TypeAdapter

from millrace import settings
from millrace.client.ears import Heard, about
from millrace.client.exchange import Request
from millrace.schema.events import (
    RESOURCE_ID,
    EventAnyResourceFilter,
    EventFilter,
    EventNameFilter,
    EventOrder,
    EventQuery,
    ReceivedEvent,
)
from millrace.schema.flows import IdCondition, TimeCondition
from millrace.schema.logs import Log, LogFilter, LogQuery
from millrace.schema.operations import STREAMS
from millrace.schema.queries import TaskRunQuery
from millrace.schema.runs import FlowRun, FlowRunFilter, TaskRun, TaskRunSort
from millrace.schema.states import TERMINAL, State

Message = ReceivedEvent | list[Log]

PATH = next(found.path for found in STREAMS if found.name == "follow_events")
SILENCE = 35.0  # seconds; the server says something every fifteen
SETTLE = 1.0  # seconds without a message after which a finished run is told to its end
PAGE = 200
EVENTS_PAGE = 50
LAG = 8.0  # seconds until a server of another make has stored what it was told
CELLS = "millrace.cells"  # the logger of a notebook's output
_OVERLAP = timedelta(seconds=5)  # lines of several processes come in a little out of order
_LOGS = TypeAdapter(list[Log])


class Listening:
    """A place in the event stream of one run.

    Args:
        flow_run_id: the run.
        after: the cursor to resume after; None: from the beginning of the run.

    Attributes:
        cursor: the place after the last message.
        terminal: the run is over, though lines may still come.
        turned: it was found to be over on the present connection.
        over: it is over and everything was told.
        deaf: the server has no such stream.
    """

    def __init__(self, flow_run_id: UUID, after: str | None = None) -> None:
        self.flow_run_id = flow_run_id
        self.cursor = after
        self.terminal = False
        self.turned = False
        self.over = False
        self.deaf = False
        self._fields: dict[str, list[str]] = {}

    @property
    def request(self) -> Request:
        """Asks for what comes after the cursor."""
        self.turned = False
        self._fields = {}
        limit = settings.current().api_timeout
        read = SETTLE if self.terminal else SILENCE
        return Request(
            "GET",
            PATH,
            query={"flow_run_id": str(self.flow_run_id), "logs": "true"},
            headers={"Accept": "text/event-stream", **({"Last-Event-ID": self.cursor} if self.cursor else {})},
            timeout=httpx.Timeout(limit, read=read),
        )

    def saw(self, run: FlowRun) -> None:
        """Takes note of the run's state."""
        self.terminal = self.terminal or run.state_type in TERMINAL

    def feed(self, line: str) -> Message | None:
        """Takes one line of the stream; gives the message that it completes.

        Args:
            line: without its end.
        """
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        if line or not self._fields:
            return None
        fields, self._fields = self._fields, {}
        if "id" in fields:
            self.cursor = fields["id"][-1]
        kind, data = fields.get("event", ["message"])[-1], "\n".join(fields.get("data", []))
        if kind == "logs":
            return _LOGS.validate_json(data)
        if kind != "event":
            return None
        event = ReceivedEvent.model_validate_json(data)
        if tells_of(event, self.flow_run_id):
            over = ends(event, self.flow_run_id)
            self.turned = self.turned or (over and not self.terminal)
            self.terminal = over  # what has ended may be run again
        return event


def tells_of(event: ReceivedEvent, flow_run_id: UUID) -> bool:
    """Whether an event is about this run: that it has entered a state."""
    about = event.resource.get(RESOURCE_ID) == f"prefect.flow-run.{flow_run_id}"
    return about and event.event.startswith("prefect.flow-run.")


def ends(event: ReceivedEvent, flow_run_id: UUID) -> bool:
    """Whether an event says that this run is over."""
    if not tells_of(event, flow_run_id):
        return False
    state = event.payload.get("validated_state") or {}
    return (event.resource.get("prefect.state-type") or state.get("type")) in TERMINAL


class Asking:
    """What was told of one run so far, where everything has to be asked for, and some of it is heard before.

    Whatever comes twice is told once, and what is older than what was told of the same thing is not told at all.

    Args:
        flow_run_id: the run.
    """

    def __init__(self, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self.terminal = False
        self._told: set[UUID] = set()
        self._newest: dict[UUID | str, datetime] = {}
        self._lines: dict[UUID, None] = {}
        self._latest: TimeCondition | None = None
        self._since: datetime | None = None
        self._over: float | None = None
        self._notebook = False
        self._from_start = False

    @property
    def waits(self) -> bool:
        """Whether a notebook is over of which cells may still come: nobody listened when it began."""
        if not (self.terminal and self._notebook) or self._from_start:
            return False
        if self._over is None:
            self._over = time.monotonic()
        return time.monotonic() - self._over < LAG

    def cell_query(self) -> EventQuery:
        """What only the events of the run tell: cells and artifacts."""
        only = EventFilter(
            event=EventNameFilter(prefix=["millrace."]),
            any_resource=EventAnyResourceFilter(id=[f"prefect.flow-run.{self.flow_run_id}"]),
            order=EventOrder.ASC,
        )
        if self._since is not None:
            only.occurred.since = self._since
        return EventQuery(filter=only, limit=EVENTS_PAGE)

    def cells(self, found: list[ReceivedEvent]) -> list[Message]:
        """Those that were not told yet; the next question begins a little before them."""
        if found:
            full = len(found) == EVENTS_PAGE
            self._since = found[-1].occurred - (timedelta(0) if full else _OVERLAP)
        return self.heard(found)

    def log_query(self, offset: int) -> LogQuery:
        """The lines that may be new."""
        only = LogFilter(flow_run_id=IdCondition(any_=[self.flow_run_id]), timestamp=self._latest)
        return LogQuery(logs=only, offset=offset, limit=PAGE)

    def task_query(self, offset: int) -> TaskRunQuery:
        """The task runs of the run."""
        only = FlowRunFilter(id=IdCondition(any_=[self.flow_run_id]))
        return TaskRunQuery(flow_runs=only, sort=TaskRunSort.EXPECTED_START_TIME_ASC, offset=offset, limit=PAGE)

    def lines(self, found: list[Log]) -> list[Log]:
        """Those that were not told yet."""
        fresh = [line for line in found if line.id not in self._lines]
        self._notebook = self._notebook or any(line.name == CELLS for line in fresh)
        self._lines.update(dict.fromkeys(line.id for line in fresh))
        return fresh

    def rewind(self, last: Log) -> None:
        """All lines up to this one are known; the next question begins a little before it."""
        self._latest = TimeCondition(after_=last.timestamp - _OVERLAP)

    def runs(self, found: list[TaskRun] | list[FlowRun]) -> Iterator[ReceivedEvent]:
        """Events for those whose state is another one than before."""
        for run in found:
            state = run.state
            if state is None or state.id in self._told:
                continue
            if isinstance(run, TaskRun) and self._is_old(run.id, state.timestamp):
                continue  # task runs are stored some time after their events were told
            self._note(state.id, run.id, state.timestamp)
            self.terminal = self.terminal or (run.id == self.flow_run_id and state.is_final())
            yield _event(run, state)

    def heard(self, found: Iterable[Heard]) -> list[Message]:
        """What is news of what was heard, lines that came together in one list.

        Args:
            found: in the order it came in.
        """
        news: list[Message] = []
        for one in found:
            if isinstance(one, Log):
                for fresh in self.lines([one]):
                    if news and isinstance(news[-1], list):
                        news[-1].append(fresh)
                    else:
                        news.append([fresh])
            elif self._is_news(one):
                self.terminal = self.terminal or ends(one, self.flow_run_id)
                news.append(one)
        return news

    def _is_news(self, event: ReceivedEvent) -> bool:
        run = about(event, "flow-run") or about(event, "task-run")
        self._notebook = self._notebook or event.event.startswith("millrace.cell.")
        self._from_start = self._from_start or (run == self.flow_run_id and event.event == "prefect.flow-run.Running")
        subflow = event.event.startswith("prefect.flow-run.") and run != self.flow_run_id
        thing = run or event.resource.get(RESOURCE_ID, "")
        if event.id in self._told or subflow or self._is_old(thing, event.occurred):
            return False
        self._note(event.id, thing, event.occurred)
        return True

    def _is_old(self, thing: UUID | str, moment: datetime) -> bool:
        return thing in self._newest and moment < self._newest[thing]

    def _note(self, id: UUID, thing: UUID | str, moment: datetime) -> None:
        self._told.add(id)
        self._newest[thing] = max(moment, self._newest.get(thing, moment))


def _event(run: TaskRun | FlowRun, state: State) -> ReceivedEvent:
    kind = "flow-run" if isinstance(run, FlowRun) else "task-run"
    return ReceivedEvent(
        id=state.id,
        occurred=state.timestamp,
        event=f"prefect.{kind}.{state.name}",
        resource={
            RESOURCE_ID: f"prefect.{kind}.{run.id}",
            "prefect.resource.name": run.name,
            "prefect.state-type": state.type.value,
            "prefect.state-name": state.name or "",
            "prefect.state-message": state.message or "",
        },
        payload={"validated_state": {"type": state.type.value, "name": state.name, "message": state.message or ""}},
    )
