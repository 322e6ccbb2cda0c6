"""The methods of a flow that lead to deployments: thin, for the package is loaded only when one is called."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from millrace import entrypoints, plugins
from millrace.engine.declared import check_characters
from millrace.errors import EntrypointError

_DEPLOYMENT = "millrace.deployments.deployment:RunnerDeployment"


class Deployable:
    """What can be deployed, served and exported."""

    name: str
    fn: Any
    _storage: Any
    _entrypoint: str

    def to_deployment(
        self,
        name: str,
        interval: Iterable[float | datetime.timedelta] | float | datetime.timedelta | None = None,
        cron: Iterable[str] | str | None = None,
        rrule: Iterable[str] | str | None = None,
        **options: Any,
    ) -> Any:
        """A deployment of this flow, not yet stored: see `RunnerDeployment.from_flow` for the options.

        Args:
            name: its name.
            interval: seconds or a timedelta between two runs; several make several schedules.
            cron: cron expressions.
            rrule: recurrence rules.
            options: paused, schedules, concurrency_limit, parameters, triggers, description, tags, version,
                enforce_parameter_schema, work_pool_name, work_queue_name, job_variables, entrypoint_type, catch_up.
        """
        check_characters(name)
        deployment = plugins.load(_DEPLOYMENT)
        times = {"interval": interval, "cron": cron, "rrule": rrule}
        if self._storage is not None:
            return deployment.from_storage(
                storage=self._storage, entrypoint=self._entrypoint, name=name, flow_name=self.name, **times, **options
            )
        return deployment.from_flow(self, name=name, **times, **options)

    def deploy(
        self,
        name: str,
        work_pool_name: str | None = None,
        image: Any = None,
        build: bool = True,
        push: bool = True,
        *,
        print_next_steps: bool = True,
        ignore_warnings: bool = False,
        **options: Any,
    ) -> Any:
        """Stores a deployment of this flow and gives its id.

        Args:
            name: its name.
            work_pool_name: the pool whose workers run it; by default `settings.work_pool`.
            image, build, push: the container image, for pools that use one.
            print_next_steps: say how to run it.
            ignore_warnings: do not warn.
            options: those of `to_deployment`.
        """
        made = plugins.load("millrace.deployments.batch:deploy")(
            self.to_deployment(name, **options),
            work_pool_name=work_pool_name,
            image=image,
            build=build,
            push=push,
            print_next_steps_message=print_next_steps,
            ignore_warnings=ignore_warnings,
        )
        return made.first

    def serve(self, name: str | None = None, *, global_limit: Any = None, **options: Any) -> Any:
        """Stores a deployment of this flow and runs its runs in processes of this machine until stopped.

        Args:
            name: the deployment's name; by default the flow's.
            global_limit: how many runs of the deployment may run at once, anywhere.
            options: those of `to_deployment`, and pause_on_shutdown, print_starting_message, limit.
        """
        keep = ("pause_on_shutdown", "print_starting_message", "limit")
        serving = {key: options.pop(key) for key in keep if key in options}
        if global_limit is not None:
            options["concurrency_limit"] = global_limit
        deployment = self.to_deployment(Path(name).stem if name else self.name, **options)
        return plugins.load("millrace.deployments.serve:serve")(deployment, **serving)

    @classmethod
    def from_source(cls, source: Any, entrypoint: str) -> Any:
        """A flow whose code lies elsewhere: in another directory, a git repository or an object store.

        Args:
            source: the directory, the URL, or a storage such as `GitRepository(…)`; see `millrace.storage`.
            entrypoint: `path/to/file.py:function` below it.

        Raises:
            InvalidInput: there is no such directory, or nothing reads such a URL.
            PullFailed: the code could not be fetched.

        Example:
            >>> etl = flow.from_source("https://example.org/team/flows.git", "etl.py:etl")  # doctest: +SKIP
        """
        storage = plugins.load("millrace.storage.kinds:storage_of")(source)
        directory = plugins.load("millrace.storage.kinds:pulled_for_now")(storage)
        made = cast(Any, entrypoints.load(entrypoints.parse(entrypoint), directory))
        made._storage, made._entrypoint = storage, entrypoint
        return made

    def export(self, directory: str | os.PathLike[str]) -> Any:
        """Writes the flow, with all it needs from other cells, as a module into a directory.

        Args:
            directory: where to; made if missing.

        Returns:
            What was exported, with the path of the module and its entrypoint.
        """
        live = plugins.load("millrace.notebooks.live")
        if getattr(self.fn, "__module__", None) != "__main__" or not live.in_kernel():
            raise EntrypointError(
                f"the flow {self.name!r} is not defined in a notebook cell: it is in {self._entrypoint}"
            )
        names = live.live_namespace()
        types = plugins.load("millrace.notebooks.remaking:live_types")(names)
        cells = live.executed_cells() or []
        find = plugins.load("millrace.notebooks.closure:find_closure")
        closure = find(cells, self._variable(names), live=types, directory=Path.cwd())
        return plugins.load("millrace.notebooks.export:export_module")(closure, Path(directory))

    def _variable(self, names: dict[str, Any]) -> str:
        """The variable that holds this flow; `_` and `_12` are IPython's."""
        own: str = self.fn.__name__
        if names.get(own) is self:
            return own
        return next((name for name, value in names.items() if value is self and not name.startswith("_")), own)
