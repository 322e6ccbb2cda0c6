"""Serve deployments from this process: no pool and no other worker is needed."""

from __future__ import annotations

import atexit
import threading
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.markup import escape

from millrace import plugins
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import InvalidInput, MillraceError
from millrace.notebooks import live


class ServeHandle:
    """Deployments that are being served in the background of a notebook.

    Args:
        worker: what runs them.
        ids: the deployments.
        names: their full names.
        pause: whether their schedules rest once it stops.
        client: the client.
    """

    def __init__(self, worker: Any, ids: list[UUID], names: list[str], pause: bool, client: Any) -> None:
        self.ids = ids
        self.names = names
        self._worker = worker
        self._pause = pause
        self._client = client
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="millrace-serve", daemon=True)

    def __repr__(self) -> str:
        state = "stopped" if self._done.is_set() else "serving"
        return f"<ServeHandle {state} {', '.join(self.names)}>"

    @property
    def serving(self) -> bool:
        """Whether runs are still started."""
        return self._thread.is_alive() and not self._done.is_set()

    def start(self) -> None:
        """Serve in the background until `stop` or the end of this process."""
        atexit.register(self.stop)
        self._thread.start()

    def stop(self, timeout: float = 15.0) -> None:
        """Start no more runs; those that run go on.

        Args:
            timeout: seconds to wait for it.
        """
        if not self._done.is_set():
            self._worker.stop()
            self._thread.join(timeout)
        atexit.unregister(self.stop)

    def block(self) -> None:
        """Serve in this thread until SIGINT or SIGTERM."""
        self._run()

    def _run(self) -> None:
        try:
            self._worker.run()
        finally:
            if self._pause:
                self._rest()
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
    limit: int | None = 10,
    print_starting_message: bool = True,
    webserver: bool = False,
) -> ServeHandle | None:
    """Make deployments and run what is due of them, here.

    A script waits until it is interrupted. In a notebook the prompt comes back at once, with a handle to stop it.

    Args:
        deployments: what `flow.to_deployment` makes.
        pause_on_shutdown: let the schedules rest once it stops.
        limit: how many runs at once; None for as many as are due.
        print_starting_message: say that it serves, and how to run one.
        webserver: not in this version.

    Returns:
        The handle in a notebook; None in a script, when it has stopped.

    Raises:
        InvalidInput: none is given, or one belongs to a pool.

    Example:
        >>> handle = serve(etl.to_deployment("here", interval=60))  # doctest: +SKIP
        >>> handle.stop()  # doctest: +SKIP
    """
    if webserver:
        raise InvalidInput("serve() has no web server of its own; leave webserver out and use `millrace status`.")
    if not deployments:
        raise InvalidInput("serve() needs at least one deployment, as flow.to_deployment(…) makes it.")
    for one in deployments:
        if one.work_pool_name:
            raise InvalidInput(
                f"The deployment {one.full_name!r} belongs to the pool {one.work_pool_name!r}, whose workers run it. "
                "Leave work_pool_name out to serve it, or use deploy()."
            )
    client = plugins.load("millrace.client.locate:connect")()
    ids: list[UUID] = [one.apply() for one in deployments]
    source = plugins.load("millrace.workers.claims:Served")(client, ids)
    worker = plugins.load("millrace.workers.worker:Worker")(None, limit=limit, source=source, client=client)
    handle = ServeHandle(worker, ids, [one.full_name for one in deployments], pause_on_shutdown, client)
    if print_starting_message:
        _say(handle)
    if live.in_kernel():
        handle.start()
        return handle
    handle.block()
    return None


def _say(handle: ServeHandle) -> None:
    console = Console()
    names = ", ".join(escape(repr(name)) for name in handle.names)
    console.print(f"[green]Serving {names}.[/green] To run one now:", highlight=False, soft_wrap=True)
    console.print(f"\n    $ millrace deployment run {escape(repr(handle.names[0]))}\n", highlight=False, soft_wrap=True)
    console.print("Stop with handle.stop()." if live.in_kernel() else "Stop with Ctrl-C.", highlight=False)
