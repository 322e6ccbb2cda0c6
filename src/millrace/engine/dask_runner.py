"""The task runner that calls tasks on a Dask cluster. The one place that knows Dask; install `millrace[dask]`."""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self
from uuid import uuid4

import dask
import distributed
import distributed.utils

from millrace.engine import travel
from millrace.engine.alarms import TimeLimitReached
from millrace.engine.context import run_thread
from millrace.engine.crews import Crew, Places
from millrace.engine.errands import Errand
from millrace.engine.homeward import Inbox, Message
from millrace.engine.interrupts import SLICE, CallLost, Stoppable
from millrace.engine.parcels import packed, packed_flow
from millrace.engine.processes import GRACE_SECONDS
from millrace.engine.remote_calls import make
from millrace.engine.runners import THREADS, CrewTaskRunner
from millrace.errors import RunCancelled

AHEAD = 8
"""How many calls a thread of the cluster is given at a time: it works on one while others are on their way."""

SMALL_BYTES = 64 * 1024
"""What is larger comes straight from the worker, and not through the scheduler."""

RESENT = 4
"""How often a call is sent that is given up before it began, because a worker died that had it in its queue."""


# -- on a worker of the cluster

_under_way: dict[str, Stoppable] = {}


def call_there(topic: str, number: str, flow: bytes, errand: bytes) -> tuple[bool, bytes] | None:
    """Makes a call on a worker: whether it gave a value, and value or exception; None if a message says it.

    Args:
        topic: where messages go.
        number: which call.
        flow: the flow run's part.
        errand: the call.
    """
    worker = distributed.get_worker()

    def send(message: Message) -> None:
        worker.log_event(topic, {"call": number, "message": message})

    # acknowledged before the function begins: if the worker dies, home knows whether it had begun
    began = {"call": number, "message": {"began": worker.address}}
    distributed.utils.sync(worker.loop, worker.scheduler.log_event, topic=topic, msg=began)
    stoppable = _under_way[number] = Stoppable()
    try:
        good, body = make(flow, errand, send, stoppable)
    finally:
        _under_way.pop(number, None)
    if len(body) > SMALL_BYTES:
        send({"kept": True})
        return good, body
    send({"good": good, "body": body})
    return None


def stop_there(number: str) -> None:
    """Stops a call, on whichever worker makes it.

    Args:
        number: which call.
    """
    found = _under_way.get(number)
    if found is not None:
        found.stop(RunCancelled("The run was stopped."))


# -- here


class _NeverBegan(Exception):
    """Dask gave a call up that no worker had begun."""


@dataclass
class _Waiting:
    """A call that is being made on the cluster, as its conversation sees it."""

    inbox: Inbox
    came: queue.SimpleQueue[Message] = field(default_factory=queue.SimpleQueue)
    began: float | None = None
    worker: str = ""
    stopped: float | None = None

    def take(self, message: Message) -> None:
        """Does what a message says.

        Raises:
            CallLost: Dask makes the call again, because its worker died.
        """
        if "began" not in message:
            self.inbox.take(message)
        elif self.began is None:
            self.began, self.worker = time.monotonic(), message["began"]
        else:
            raise CallLost(f"the Dask worker {self.worker} died before its task ended")


class _Connection:
    """A client of a cluster, and the cluster if it was made for this.

    Args:
        runner: whose options to use.
    """

    def __init__(self, runner: DaskTaskRunner) -> None:
        self.topic = f"millrace-{uuid4().hex}"
        self.made: Any = None
        self._waiting: dict[str, _Waiting] = {}
        cluster = runner.cluster
        if cluster is None and runner.address is None:
            make_cluster = runner.cluster_class or distributed.LocalCluster
            # Dask is not to make a call again when its worker dies: whether to is for the task's retries
            with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
                cluster = self.made = make_cluster(**runner.cluster_kwargs)
        if cluster is not None and runner.adapt_kwargs:
            cluster.adapt(**runner.adapt_kwargs)
        try:
            self.client = distributed.Client(cluster or runner.address, **runner.client_kwargs)
            self.client.subscribe_topic(self.topic, self._take)
        except BaseException:
            self.close()
            raise
        self.threads = sum(self.client.nthreads().values())

    client: Any = None

    def _take(self, event: tuple[float, Any]) -> None:
        waiting = self._waiting.get(event[1]["call"])
        if waiting is not None:
            waiting.came.put(event[1]["message"])

    def call(self, errand: Errand, stoppable: Stoppable) -> tuple[bool, bytes]:
        """Has a call made; whether it gave a value, and the value or the exception, packed."""
        body, flow = packed(errand), packed_flow(errand.flow)
        for left in reversed(range(RESENT)):
            try:
                return self._send(errand, stoppable, flow, body)
            except _NeverBegan as error:
                if not left:
                    raise CallLost(f"the Dask cluster did not begin the task: {error}") from None
        raise AssertionError

    def _send(self, errand: Errand, stoppable: Stoppable, flow: bytes, body: bytes) -> tuple[bool, bytes]:
        number = uuid4().hex
        waiting = self._waiting[number] = _Waiting(Inbox(errand.flow, errand.context))
        key = f"{errand.context.task.name}-{number}"
        # large arguments go straight to a worker, and not through the scheduler
        sent = self.client.scatter(body, hash=False) if len(body) > SMALL_BYTES else body
        future = self.client.submit(call_there, self.topic, number, flow, sent, key=key, pure=False)
        future.add_done_callback(lambda _: waiting.came.put({"status": future.status}))
        try:
            return stoppable.elsewhere(  # type: ignore[no-any-return]
                lambda: self._answer(waiting, future, errand.seconds), lambda: self._stop(waiting, number, future)
            )
        except BaseException:
            with suppress(Exception):
                future.cancel()
            raise
        finally:
            self._waiting.pop(number, None)

    def _answer(self, waiting: _Waiting, future: Any, seconds: float | None) -> tuple[bool, bytes]:
        while True:
            self._check(waiting, seconds)
            with suppress(queue.Empty):
                message = waiting.came.get(timeout=SLICE)
                if "good" in message:
                    return message["good"], message["body"]
                if "kept" in message or message.get("status") not in (None, "finished"):
                    return self._fetched(waiting, future)
                if "status" not in message:
                    waiting.take(message)

    @staticmethod
    def _fetched(waiting: _Waiting, future: Any) -> tuple[bool, bytes]:
        try:
            good, body = future.result()
        except (distributed.KilledWorker, distributed.CancelledError) as error:
            if waiting.began is None:
                raise _NeverBegan(str(error)) from None
            raise CallLost(f"the Dask worker {waiting.worker} died before its task ended: {error}") from None
        return good, body

    def _check(self, waiting: _Waiting, seconds: float | None) -> None:
        moment = time.monotonic()
        if waiting.stopped is not None and moment > waiting.stopped + GRACE_SECONDS:
            self._restart(waiting)
            raise RunCancelled("The run was stopped.")
        if seconds is not None and waiting.began is not None and moment > waiting.began + seconds + GRACE_SECONDS:
            self._restart(waiting)
            raise TimeLimitReached

    def _restart(self, waiting: _Waiting) -> None:
        """Ends a worker whose function did not react, if that takes nothing else with it."""
        if self.made is None or not waiting.worker or self.client.nthreads().get(waiting.worker) != 1:
            return
        self._apart(partial(self.client.restart_workers, [waiting.worker], raise_for_error=False))

    def _stop(self, waiting: _Waiting, number: str, future: Any) -> None:
        waiting.stopped = time.monotonic() - (GRACE_SECONDS if waiting.began is None else 0)
        if waiting.began is None:
            self._apart(future.cancel)
        self._apart(partial(self.client.run, stop_there, number, on_error="ignore"))

    @staticmethod
    def _apart(call: Callable[[], object]) -> None:
        """Asks something of the cluster that may take long, or find it closed by now."""

        def ask() -> None:
            with suppress(Exception):
                call()

        run_thread(ask, name="millrace-dask-stop")

    def close(self) -> None:
        """Leaves the cluster; one made for this ends."""
        for one in (self.client, self.made):
            if one is not None:
                with suppress(Exception):
                    one.close()


class DaskTaskRunner(CrewTaskRunner):
    """Calls submitted tasks on the workers of a Dask cluster.

    The task's states, retries, caching and hooks stay in this process; its function, its arguments and its result
    travel, and what it logs and prints comes back. The workers need Millrace and the libraries the tasks use.

    Results do not stay on the cluster: the result of one task that is an argument of another comes here and is sent
    out again, once for each task that takes it, whether a future was passed or its value. So the flow may change what
    it was given, and no task is ever made again because a worker lost its result. For data of more than some megabytes
    let one task do both steps, or return where the data is stored. (64 MB on one machine: about 0.9 s for each use,
    where a Dask future takes 0.01 s.)

    Without `address` and `cluster`, each flow run that submits a task makes a cluster and ends it. Dask starts local
    worker processes in a way that imports the script again: guard the call in a script with
    `if __name__ == "__main__":`; a notebook needs no guard.

    A time limit and a cancellation interrupt the function on its worker where Python executes its next bytecode: Dask
    calls it in a thread, so a blocking call ends first. After five seconds more the task run ends without it, and a
    worker of a cluster made for the run is restarted if it has one thread. A task has begun (Running) when it is handed
    to Dask. One whose worker dies is Crashed, and tried again if it has retries; on a cluster that was there before,
    Dask itself may begin it again for a moment, as `distributed.scheduler.allowed-failures` says.

    Args:
        cluster: a cluster that runs.
        address: of a scheduler that runs.
        cluster_class: makes a cluster: a class, a function or its import path; by default `distributed.LocalCluster`.
        cluster_kwargs: its arguments.
        adapt_kwargs: arguments of the cluster's `adapt`; none: it is not adaptive.
        client_kwargs: arguments of `distributed.Client`.

    Raises:
        ValueError: `address` or `cluster` together with how to make one, or `asynchronous` in the arguments.
        PluginMissing: Dask is not installed.

    Example:
        >>> local = DaskTaskRunner(cluster_kwargs={"n_workers": 2, "threads_per_worker": 1})  # doctest: +SKIP
        >>> shared = DaskTaskRunner(address="tcp://10.0.0.7:8786")  # doctest: +SKIP
    """

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: str | Callable[..., Any] | None = None,
        cluster_kwargs: dict[str, Any] | None = None,
        adapt_kwargs: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if address and (cluster or cluster_class or cluster_kwargs or adapt_kwargs):
            raise ValueError(
                "Cannot specify `address` and `cluster`/`cluster_class`/`cluster_kwargs`/`adapt_kwargs`: the scheduler "
                "at that address runs already"
            )
        if cluster is not None and (cluster_class or cluster_kwargs):
            raise ValueError("Cannot specify `cluster` and `cluster_class`/`cluster_kwargs`: that cluster runs already")
        for name, given in (("client_kwargs", client_kwargs), ("cluster_kwargs", cluster_kwargs)):
            if "asynchronous" in (given or {}):
                raise ValueError(f"`{name}` cannot set `asynchronous`: Millrace does")
        self.cluster = cluster
        self.address = address
        self.cluster_class = _found(cluster_class) if isinstance(cluster_class, str) else cluster_class
        self.cluster_kwargs = dict(cluster_kwargs or {})
        self.adapt_kwargs = dict(adapt_kwargs or {})
        self.client_kwargs = {"set_as_default": False, **(client_kwargs or {})}
        super().__init__(THREADS)
        self._connection: _Connection | None = None
        self._shared = False
        self._connecting = threading.Lock()

    def __repr__(self) -> str:
        given = {name: value for name, value in self._options().items() if value}
        return f"DaskTaskRunner({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def _options(self) -> dict[str, Any]:
        names = ("cluster", "address", "cluster_class", "cluster_kwargs", "adapt_kwargs", "client_kwargs")
        return {name: getattr(self, name) for name in names}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DaskTaskRunner) and other._options() == self._options()

    def __hash__(self) -> int:
        return hash((type(self), self.address))

    def _arguments(self) -> tuple[Any, ...]:
        return tuple(self._options().values())

    def open(self) -> Self:
        """A runner for one run of a flow, with a connection of its own, or that of one that stays open."""
        made = super().open()
        if self._started:
            made._connection, made._shared = self._connection, True
        return made

    @property
    def client(self) -> Any:
        """The `distributed.Client`; connects, or makes the cluster, when it is first asked for."""
        return self._connected().client

    def _connected(self) -> _Connection:
        with self._connecting:
            if self._connection is None:
                self._connection = _Connection(self)
                if not self.adapt_kwargs:
                    self._crew = Crew(Places(max(AHEAD * self._connection.threads, 1)))
            return self._connection

    @property
    def carrier(self) -> Self:
        """Itself, connected."""
        self._connected()
        return self

    def carry(self, errand: Errand, stoppable: Stoppable) -> Any:
        """Has a function called on the cluster.

        Args:
            errand: the call.
            stoppable: stops it.

        Raises:
            CannotTravel: the function, an argument or the result cannot be sent.
            CallLost: the worker died before the function ended.
            TimeLimitReached: it took too long.
        """
        good, body = self._connected().call(errand, stoppable)
        if good:
            return travel.unpack(body)
        raise travel.unpack_error(body)

    def close(self, timeout: float | None = None) -> None:
        """Waits until every submitted call has ended, then leaves the cluster."""
        super().close(timeout)
        if not self._shared and not self._started:
            self._stop()

    def _start(self) -> None:
        self._connected()

    def _stop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"cluster_class must be an import path such as 'distributed.LocalCluster'; got {path!r}")
    return getattr(importlib.import_module(module), name)
