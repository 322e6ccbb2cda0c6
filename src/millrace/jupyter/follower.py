"""One thread for each run that is watched: it reads the run's events into a view that monitors paint from."""

from __future__ import annotations

import contextvars
import threading
from uuid import UUID

from millrace.client.follow import follow
from millrace.client.synchronous import Client
from millrace.client.waiting import look
from millrace.errors import MillraceError
from millrace.jupyter.pausing import read_pause
from millrace.jupyter.view import Line, RunView
from millrace.schema.artifacts import Artifact, ArtifactFilter, ArtifactQuery, ArtifactSort
from millrace.schema.fields import now
from millrace.schema.flows import IdCondition
from millrace.schema.queries import TaskRunQuery
from millrace.schema.runs import FlowRunFilter, TaskRun
from millrace.schema.states import StateType

_AT_ONCE = 50
"""Artifacts asked for in one request."""

_followers: dict[UUID, Follower] = {}
_guard = threading.Lock()


class Follower:
    """Follows one run as long as somebody watches; get one from `followed`.

    Args:
        flow_run_id: the run.
        client: to read with.
    """

    def __init__(self, flow_run_id: UUID, client: Client) -> None:
        self.client = client
        self.flow_run_id = flow_run_id
        self.watchers = 0
        self.ended = threading.Event()
        """Set when there is nothing more to come."""
        self.trouble = ""
        """Why it stopped before the run ended; empty if it did not."""
        self.version = 1
        """Grows when the run's picture changes; log lines have numbers of their own."""
        self._lock = threading.Lock()
        run = client.read_flow_run(flow_run_id)
        self._view = RunView(str(flow_run_id))
        self._view.load(run, client.read_flow(run.flow_id).name)

    @property
    def state(self) -> str:
        """The name of the run's state."""
        return self._view.state

    @property
    def flow(self) -> str:
        """The name of the run's flow."""
        return self._view.flow

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._view.done

    def start(self) -> None:
        """Begin to read."""
        # In the context of the cell, so that whatever is printed stays with it.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._read,), name="millrace-follower", daemon=True).start()

    def picture(self) -> dict[str, object]:
        """What the page draws, now."""
        with self._lock:
            return {**self._view.snapshot(), "now": now().isoformat()}

    def lines_after(self, number: int, count: int) -> list[Line]:
        """Log lines beyond a number: see `RunView.lines_after`."""
        with self._lock:
            return self._view.lines_after(number, count)

    def view(self) -> RunView:
        """A copy of the view that nobody changes."""
        with self._lock:
            return self._view.copy()

    def artifacts(self, count: int) -> list[Artifact]:
        """The artifacts of the run, latest first, at most so many."""
        with self._lock:
            return self._view.latest_artifacts(count)

    def read_artifacts(self) -> None:
        """Ask for the artifacts that the stream told of."""
        with self._lock:
            wanted = sorted(self._view.unread)[-_AT_ONCE:]
        if wanted:
            only = ArtifactFilter(id=IdCondition(any_=wanted))
            found = self.client.read_artifacts(ArtifactQuery(artifacts=only))
            with self._lock:
                self._view.unread.difference_update(wanted)
                self._view.load_artifacts(found)
                self.version += 1

    def explain(self) -> None:
        """Ask why the run waits, if it does."""
        if not (self._view.is_waiting and self._view.pool):
            return
        around = look(self.client, self._view.pool)
        with self._lock:
            self.version += self._view.explain(now(), around)

    def read_pause(self) -> None:
        """Ask what the run waits for, if it is paused and nobody has asked."""
        if self._view.state_type is StateType.PAUSED and self._view.pause is None:
            found = read_pause(self.client, self.flow_run_id)
            with self._lock:
                if self._view.state_type is StateType.PAUSED:
                    self._view.pause = found
                    self.version += 1

    def release(self) -> None:
        """One watcher less; the thread ends at the next message when nobody is left."""
        with _guard:
            self.watchers -= 1

    def _read(self) -> None:
        try:
            for message in follow(self.client, self.flow_run_id):
                if self._unwanted():
                    return
                with self._lock:
                    self._view.apply(message)
                    self.version += not isinstance(message, list)
            self._take_truth()
        except MillraceError as error:
            self.trouble = error.message
        finally:
            with _guard:
                if _followers.get(self.flow_run_id) is self:
                    del _followers[self.flow_run_id]
            self.ended.set()

    def _unwanted(self) -> bool:
        with _guard:
            if self.watchers <= 0 and _followers.get(self.flow_run_id) is self:
                del _followers[self.flow_run_id]
            return self.watchers <= 0

    def _take_truth(self) -> None:
        # The stored run is the truth; the stream told how it came about.
        run = self.client.read_flow_run(self.flow_run_id)
        only = FlowRunFilter(id=IdCondition(any_=[self.flow_run_id]))
        tasks = self.client.read_task_runs(TaskRunQuery(flow_runs=only))
        own = ArtifactFilter(flow_run_id=IdCondition(any_=[self.flow_run_id]))
        newest = ArtifactQuery(artifacts=own, sort=ArtifactSort.CREATED_DESC, limit=_AT_ONCE)
        artifacts = self.client.read_artifacts(newest)
        with self._lock:
            self._view.load(run)
            self._view.load_artifacts(artifacts)
            self._view.unread.clear()
            if self._view.kind == "task":
                self._view.load_tasks(
                    sorted(tasks, key=lambda task: (task.start_time is None, task.start_time, task.id))
                )
            self.version += 1


def _begun(task: TaskRun) -> tuple[bool, float, UUID]:
    return task.start_time is None, task.start_time.timestamp() if task.start_time else 0.0, task.id


def followed(flow_run_id: UUID, client: Client) -> Follower:
    """The follower of a run, one for all who watch it; `release` it afterwards.

    Args:
        flow_run_id: the run.
        client: to read with.

    Raises:
        NotFound: no run has this id.
    """
    with _guard:
        known = _followers.get(flow_run_id)
        if known is not None and not known.ended.is_set():
            known.watchers += 1
            return known
    made = Follower(flow_run_id, client)
    with _guard:
        made.watchers = 1
        _followers[flow_run_id] = made
    made.start()
    return made


def followed_runs() -> list[UUID]:
    """The runs that are being followed."""
    with _guard:
        return list(_followers)
