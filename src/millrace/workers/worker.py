"""A worker: claims due runs of a pool and starts a process, or a container, for each.

A run outlives its worker: each job is a session of its own that extends its own lease. A worker that is told to stop
claims nothing more and leaves; the next one on this machine takes its jobs over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, TypeVar
from uuid import UUID

from millrace import plugins, settings
from millrace.errors import Conflict, InvalidInput, MillraceError, NotFound, ServerUnavailable
from millrace.schema.flows import IdCondition
from millrace.schema.pools import WorkerHeartbeat, WorkPoolCreate
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import (
    ExtendLeases,
    FlowRunFilter,
    FlowRunUpdate,
    StateCondition,
    StateTypeCondition,
)
from millrace.schema.states import StateType
from millrace.workers import aftermath, jobs
from millrace.workers.attempt import Attempt
from millrace.workers.claims import Claimed, Leased, Polled, Source
from millrace.workers.ending import release
from millrace.workers.execution import KINDS, Execution, Kind, configured, template_of
from millrace.workers.lifeline import Keeper, Lifeline, patiently
from millrace.workers.process import ProcessKind

log = logging.getLogger("millrace.worker")
_MANY = 10
_PAGE = 200
_PATIENCE = 1.0
T = TypeVar("T")


class Worker:
    """Claims and runs; `run` blocks until `stop`.

    Args:
        pool: the pool; created if there is none. None: `source` says where runs come from.
        name: this worker's name; made from machine and process when not given.
        limit: how many runs at once; None: as many as are due.
        kind: the kind of infrastructure; None: as the pool says.
        queue_names: only these queues of the pool; None: all.
        source: another source of runs than the pool.
        warm: keep a warm parent, from which jobs start in milliseconds.
        client: the client; the process-wide one when not given.

    Example:
        >>> Worker("default", limit=4).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        pool: str | None = "default",
        name: str | None = None,
        limit: int | None = None,
        kind: str | None = None,
        queue_names: list[str] | None = None,
        *,
        source: Source | None = None,
        warm: bool = True,
        client: Any = None,
    ) -> None:
        if kind is not None and kind not in KINDS.names:
            raise InvalidInput(f"There is no type of worker {kind!r}; there are {', '.join(KINDS.names)}.")
        if limit is not None and limit < 1:
            raise InvalidInput(f"The limit of a worker must be at least 1, not {limit}.")
        self.pool = pool
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.limit = limit
        self.queue_names = queue_names
        self._client = client
        self._source = source
        self._type = kind
        self._kind: Kind = ProcessKind(warm)
        self._attempts: dict[UUID, Attempt] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._freed = threading.Event()
        self._me = jobs.Watcher.here()
        self._line = Lifeline()
        self._keeper: Keeper | None = None
        self._gone: NotFound | None = None

    # -- its life

    def run(self) -> None:
        """Work until `stop`, SIGTERM or SIGINT; jobs that still run then live on.

        Raises:
            InvalidInput: the pool is of another type.
            NotFound: the pool was deleted meanwhile.
        """
        self._keeper = Keeper.appointed()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._signalled)
        client = patiently(self._connect, self._stopping)
        if client is None or not self._prepare(client):
            return
        source = self._source
        care = threading.Thread(target=self._care, args=(client,), name="millrace-care", daemon=True)
        care.start()
        if self.pool is not None:
            log.info("Worker %r takes runs of the pool %r.", self.name, self.pool)
        asking = _hasty(client)
        while not self._stopping.is_set():
            source = source or Leased(asking, str(self.pool), self.name, self.queue_names)
            source = self._round(client, source)
            if self._keeper is not None and self._keeper.look():
                self.stop()
        self._leave(asking, care)
        if self._gone is not None:
            raise self._gone

    def stop(self) -> None:
        """Claim nothing more and return from `run` within some seconds."""
        self._stopping.set()
        self._freed.set()

    @property
    def running(self) -> list[UUID]:
        """The runs it watches; once it has stopped, those that live on."""
        with self._lock:
            return list(self._attempts)

    @property
    def names(self) -> list[str]:
        """The names of these runs."""
        with self._lock:
            return [attempt.job.flow_run_name for attempt in self._attempts.values()]

    def _connect(self) -> Any:
        if self._client is None:
            self._client = plugins.load("millrace.client.locate:connect")()
        return self._client

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        log.info("Stopping: %s runs live on.", len(self._attempts))
        self.stop()

    def _leave(self, client: Any, care: threading.Thread) -> None:
        with self._lock:
            attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.leave()
        for attempt in attempts:
            attempt.thread.join(2)
        care.join(2)
        if self.pool is not None and not self._line.is_lost:
            self._try(lambda: self._beat(client, last=True))
        self._kind.close()

    def _prepare(self, client: Any) -> bool:
        """Whether it could: it was not stopped before its server answered."""
        if self.pool is not None:
            pool, asking = self.pool, _hasty(client)
            patiently(lambda: self._pool(asking, pool), self._stopping)
            if self._stopping.is_set():
                return False
        self._kind.prepare(client.endpoint)
        self._adopt(client)
        return True

    def _pool(self, client: Any, name: str) -> None:
        try:
            pool = client.read_work_pool(name)
        except NotFound:
            if self._keeper is not None:  # its server made the pool, and a person took it away
                raise
            kind = self._type or "process"
            template = template_of(KINDS.load(kind))
            with contextlib.suppress(Conflict):  # another worker was faster
                client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
                log.warning("There was no pool %r; it was made now. If that is a slip, stop this worker.", name)
            pool = client.read_work_pool(name)
        if self._type not in (None, pool.type) or pool.type not in KINDS.names:
            raise InvalidInput(
                f"The pool {name!r} is of type {pool.type!r}; a {self._type or 'Millrace'} worker cannot serve it. "
                "Start a worker of that type, or name another pool."
            )
        if pool.type != self._kind.type:
            self._kind = KINDS.load(pool.type)()

    # -- claiming

    def _round(self, client: Any, source: Source) -> Source:
        """Take what is due once; the source to use next."""
        free = self._free()
        if free == 0:
            self._freed.clear()
            if self._free() == 0:
                self._freed.wait(1.0)
            return source
        try:
            taken = source.take(free)
        except ServerUnavailable as error:
            self._line.lost(error)
            self._stopping.wait(0.5)
            return source
        except NotFound:
            if self._lacks_pool(client):
                return source
            if isinstance(source, Leased):
                log.info("This server gives no leases: polling.")
                self._try(lambda: self._beat(client))  # a claim says that a worker lives, a poll does not
                return Polled(_hasty(client), str(self.pool), self.queue_names)
            self._stopping.wait(2.0)
            return source
        except MillraceError as error:
            log.warning("Claiming failed: %s", error)
            self._stopping.wait(2.0)
            return source
        self._line.found()
        for claimed in taken:
            self._begin(client, claimed)
        return source

    def _free(self) -> int:
        if self.limit is None:
            return _MANY
        with self._lock:
            return max(0, min(_MANY, self.limit - len(self._attempts)))

    def _lacks_pool(self, client: Any) -> bool:
        """Whether the pool was deleted, in which case it stops, or nobody can say."""
        if self.pool is None:
            return False
        try:
            client.read_work_pool(self.pool)
        except NotFound:
            self._gone = NotFound(
                f"The work pool {self.pool!r} was deleted: its worker {self.name!r} stops; {len(self.running)} runs "
                "live on. `millrace work-pool create` makes it again."
            )
            self.stop()
            return True
        except MillraceError as error:
            log.debug("%s", error)
            return True
        return False

    def _begin(self, client: Any, claimed: Claimed) -> None:
        flow_run, lease = claimed.flow_run, claimed.lease
        job = jobs.Job(
            flow_run_id=flow_run.id,
            flow_run_name=flow_run.name,
            attempt=lease.attempt if lease else flow_run.attempt or flow_run.run_count + 1,
            lease=lease,
            pool=self.pool,
            worker_pid=self._me.pid,
            worker_create_time=self._me.create_time,
        )
        fenced = client.with_lease(lease) if lease else client
        if self._stopping.is_set() and lease is not None:
            self._try(lambda: release(fenced, job, "the worker was stopped"))
            return
        of = f" of the deployment {claimed.deployment.name!r}" if claimed.deployment else ""
        log.info("Run %s%s begins.", flow_run.name, of)
        self._watch(self._attempt(client, job, lambda: self._start(client, claimed, job)))

    def _attempt(self, client: Any, job: jobs.Job, start: Callable[[], Execution]) -> Attempt:
        return Attempt(job, start, client, self._ended, lambda: aftermath.begin(self._kind, client, job))

    def _start(self, client: Any, claimed: Claimed, job: jobs.Job) -> Execution:
        config: Any = configured(self._kind.variables, claimed.template, claimed.deployment, claimed.flow_run)
        earlier = jobs.read(job.directory)
        if earlier is not None:
            self._kind.oust(earlier)
        job.kind, job.keep_output = self._kind.type, config.stream_output
        job.write()
        execution = self._kind.start(job, config)
        job.write()
        place = FlowRunUpdate(infrastructure_pid=execution.place)
        self._try(lambda: client.update_flow_run(job.flow_run_id, place))
        return execution

    def _watch(self, attempt: Attempt) -> None:
        with self._lock:
            self._attempts[attempt.job.flow_run_id] = attempt
        attempt.thread.start()

    def _ended(self, attempt: Attempt) -> None:
        with self._lock:
            if self._attempts.get(attempt.job.flow_run_id) is attempt:
                del self._attempts[attempt.job.flow_run_id]
        self._freed.set()

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except MillraceError as error:
            log.debug("%s", error)

    # -- jobs of a worker before us

    def _adopt(self, client: Any) -> None:
        for job in jobs.notes(settings.current().home):
            if job.pool != self.pool or job.kind != self._kind.type or job.watched:
                continue
            job.worker_pid, job.worker_create_time = self._me.pid, self._me.create_time
            execution = self._kind.find(job)
            job.write()
            if not self._is_over(client, job):
                log.info("Taking over run %s.", job.flow_run_name)
            self._watch(self._attempt(client, job, partial(_found, execution)))

    def _is_over(self, client: Any, job: jobs.Job) -> bool:
        try:
            state = client.read_flow_run(job.flow_run_id).state
        except NotFound:
            return True
        except MillraceError:
            return False
        return state is not None and state.is_final()

    # -- care: leases, cancellation, heartbeats

    def _care(self, client: Any) -> None:
        lease = settings.current().lease_seconds
        every = min(lease / 3, 10.0)
        beats = extended = 0.0
        elapsed = 0.0
        tick = min(1.0, every)
        while not self._stopping.wait(tick):
            elapsed += tick
            try:
                self._heed_cancellations(client)
                if elapsed - extended >= every:
                    extended = elapsed
                    self._extend(client, lease)
                if self.pool is not None and elapsed - beats >= settings.current().worker_heartbeat_seconds:
                    beats = elapsed
                    self._beat(client)
            except MillraceError as error:
                log.debug("%s", error)

    def _beat(self, client: Any, *, last: bool = False) -> None:
        interval = 0 if last else settings.current().worker_heartbeat_seconds
        beat = WorkerHeartbeat(name=self.name, heartbeat_interval_seconds=interval)
        client.worker_heartbeat(str(self.pool), beat)

    def _chunks(self) -> Iterator[dict[UUID, Attempt]]:
        with self._lock:
            items = list(self._attempts.items())
        for start in range(0, len(items), _PAGE):
            yield dict(items[start : start + _PAGE])

    def _extend(self, client: Any, seconds: float) -> None:
        for chunk in self._chunks():
            held = [(run_id, a.job.attempt) for run_id, a in chunk.items() if a.job.lease is not None and not a.ended]
            if not held:
                continue
            answer = client.extend_leases(ExtendLeases(leases=held, lease_seconds=seconds))
            for run_id in answer.cancelling:
                chunk[run_id].cancel()
            for run_id in answer.lost:
                self._lost(client, chunk[run_id])

    def _lost(self, client: Any, attempt: Attempt) -> None:
        try:
            flow_run = client.read_flow_run(attempt.job.flow_run_id)
        except NotFound:
            attempt.abandon(at_once=True)
            return
        ended = flow_run.state is not None and flow_run.state.is_final() and flow_run.attempt == attempt.job.attempt
        attempt.abandon(at_once=not ended)

    def _heed_cancellations(self, client: Any) -> None:
        wanted = StateCondition(type=StateTypeCondition(any_=[StateType.CANCELLING, StateType.CANCELLED]))
        for chunk in self._chunks():
            runs = FlowRunFilter(id=IdCondition(any_=list(chunk)), state=wanted)
            for flow_run in client.read_flow_runs(FlowRunQuery(flow_runs=runs)):
                chunk[flow_run.id].cancel()


def _found(execution: Execution) -> Execution:
    return execution


def _hasty(client: Any) -> Any:
    """The same client without patience: a worker asks again anyway, and a stop must not wait for an absent server."""
    return type(client)(client.endpoint, patience=_PATIENCE, pool=client.pool)
