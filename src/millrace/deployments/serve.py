"""Serve deployments from this process: no pool and no other worker is needed."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from uuid import UUID

from rich.markup import escape

from millrace import plugins
from millrace.deployments.batch import require_deployments, warn_of_missing_values
from millrace.deployments.deployment import RunnerDeployment
from millrace.deployments.screen import screen
from millrace.errors import InvalidInput, MillraceError
from millrace.notebooks import live

_PORT = 8080
_STALE = 30.0
"""Seconds without an answer of the server after which a served process does not count as healthy."""


class ServeHandle:
    """Deployments that are being served in the background of a notebook.

    Args:
        client: the client.
        ids: the deployments.
        names: their full names.
        limit: how many runs at once.
        pause: whether their schedules rest once it stops.
    """

    def __init__(self, client: Any, ids: list[UUID], names: list[str], *, limit: int | None, pause: bool) -> None:
        self.ids = ids
        self.names = names
        self._pause = pause
        self._say_so = False
        self._client = client
        self._asked = 0.0
        self._ready = threading.Event()
        self._done = threading.Event()
        self._health: Any = None
        source = plugins.load("millrace.workers.claims:Served")(client, ids, self._answered)
        self._worker = plugins.load("millrace.workers.worker:Worker")(None, limit=limit, source=source, client=client)
        self._thread = threading.Thread(target=self._run, name="millrace-serve", daemon=True)

    def __repr__(self) -> str:
        state = "stopped" if self._done.is_set() else "serving" if self._ready.is_set() else "starting"
        return f"<ServeHandle {state} {', '.join(self.names)}>"

    @property
    def serving(self) -> bool:
        """Whether runs are still started."""
        return self._thread.is_alive() and not self._done.is_set()

    @property
    def health_url(self) -> str | None:
        """Where it answers whether it is healthy; None without a web server."""
        return self._health.url if self._health else None

    def start(self, wait: float = 20.0) -> bool:
        """Serve in the background until `stop` or the end of this process.

        Args:
            wait: seconds to wait until it serves.

        Returns:
            Whether it serves by then; else it goes on trying.
        """
        atexit.register(self.stop)
        self._thread.start()
        return self._ready.wait(wait)

    def stop(self, timeout: float = 15.0) -> None:
        """Start no more runs; those that run go on.

        Args:
            timeout: seconds to wait for it.
        """
        if not self._done.is_set():
            self._worker.stop()
            self._thread.join(timeout)
        atexit.unregister(self.stop)

    def block(self, say_so: bool = True) -> None:
        """Serve in this thread until SIGINT or SIGTERM.

        Args:
            say_so: print that it serves, as soon as it does.
        """
        self._say_so = say_so
        with _shown() if say_so else nullcontext():
            self._run()
        if say_so:
            _say_what_lives_on(self._worker.names)

    def listen(self, port: int) -> None:
        """Answer on a port of this machine whether it is healthy.

        Args:
            port: the port; 0: any that is free.

        Raises:
            InvalidInput: the port is taken.
        """
        self._health = plugins.load("millrace.workers.health:Health")(self._report, port)

    def _report(self) -> tuple[bool, dict[str, Any]]:
        ago = time.monotonic() - self._asked if self._asked else None
        healthy = ago is not None and ago < _STALE and not self._done.is_set()
        return healthy, {
            "status": "healthy" if healthy else "unhealthy",
            "deployments": self.names,
            "running": len(self._worker.running),
            "seconds_since_poll": None if ago is None else round(ago, 1),
        }

    def _answered(self) -> None:
        self._asked = time.monotonic()
        if not self._ready.is_set():
            self._ready.set()
            if self._say_so:
                _say(self)

    def _run(self) -> None:
        try:
            self._worker.run()
        finally:
            if self._pause:
                self._rest()
            if self._health:
                self._health.close()
            self._done.set()

    def _rest(self) -> None:
        for deployment_id in self.ids:
            try:
                self._client.pause_deployment(deployment_id)
            except MillraceError:
                continue  # nothing is served any more either way


def serve(
    *deployments: RunnerDeployment,
    pause_on_shutdown: bool = True,
    print_starting_message: bool = True,
    limit: int | None = None,
    webserver: bool | int = False,
) -> ServeHandle | None:
    """Make deployments and run what is due of them, here.

    A script waits until it is interrupted. In a notebook the prompt comes back at once, with a handle to stop it.

    Args:
        deployments: what `flow.to_deployment` makes.
        pause_on_shutdown: let the schedules rest once it stops.
        print_starting_message: say that it serves, as soon as it does, and how to run one.
        limit: how many runs at once; None for as many as are due.
        webserver: answer `http://127.0.0.1:8080/health` meanwhile: 200 while the server tells what is due, 503 when
            it does not. A number is another port; 0 any that is free.

    Returns:
        The handle in a notebook; None in a script, when it has stopped.

    Raises:
        InvalidInput: none is given, one belongs to a pool, or the port is taken.

    Example:
        >>> handle = serve(etl.to_deployment("here", interval=60))  # doctest: +SKIP
        >>> handle.stop()  # doctest: +SKIP
    """
    require_deployments(deployments, "serve")
    for one in deployments:
        if one.work_pool_name:
            raise InvalidInput(
                f"The deployment {one.full_name!r} belongs to the pool {one.work_pool_name!r}, whose workers run it. "
                "Leave work_pool_name out to serve it, or use deploy()."
            )
    warn_of_missing_values(deployments)
    client = plugins.load("millrace.client.locate:connect")()
    ids: list[UUID] = [one.apply() for one in deployments]
    names = [one.full_name for one in deployments]
    handle = ServeHandle(client, ids, names, limit=limit, pause=pause_on_shutdown)
    if webserver is not False:
        handle.listen(_PORT if webserver is True else int(webserver))
    if live.in_kernel():
        if handle.start() and print_starting_message:
            _say(handle)
        return handle
    handle.block(print_starting_message)
    return None


class _Shown(logging.Handler):
    """Shows which runs are taken and what becomes of them; warnings are shown anyway."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            moment = time.strftime("%H:%M:%S", time.localtime(record.created))
            screen().print(escape(f"{moment} {record.getMessage()}"), highlight=False, soft_wrap=True)


@contextmanager
def _shown() -> Iterator[None]:
    log, handler = logging.getLogger("millrace.worker"), _Shown(logging.INFO)
    if logging.root.handlers:  # the script has its own way
        yield
        return
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _say(handle: ServeHandle) -> None:
    console = screen()
    names = ", ".join(escape(repr(name)) for name in handle.names)
    said = [f"[green]Serving {names}.[/green] To run one now:"]
    said += [f"    $ millrace deployment run {escape(repr(handle.names[0]))}"]
    said += [f"Its health: {handle.health_url}"] if handle.health_url else []
    said += ["Stop with handle.stop()." if live.in_kernel() else "Stop with Ctrl-C."]
    console.print("\n".join(said), highlight=False, soft_wrap=True)  # at once: a notebook shows one output


def _say_what_lives_on(runs: list[str]) -> None:
    number = f"{len(runs)} runs live on:" if len(runs) > 1 else "1 run lives on:"
    left = f" {number} {', '.join(map(escape, runs))}." if runs else ""
    screen().print(f"Stopped serving.{left}", highlight=False, soft_wrap=True)
