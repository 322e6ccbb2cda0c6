"""The methods of a flow that lead to deployments: thin, for the package is loaded only when one is called."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from millrace import entrypoints, plugins
from millrace.entrypoints import EntrypointType
from millrace.errors import EntrypointError
from millrace.schema.deployments import CatchUp, ConcurrencyLimitConfig

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
        paused: bool | None = None,
        schedules: Iterable[Any] | None = None,
        concurrency_limit: int | ConcurrencyLimitConfig | dict[str, Any] | None = None,
        parameters: dict[str, Any] | None = None,
        triggers: list[Any] | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        version: str | None = None,
        enforce_parameter_schema: bool = True,
        work_pool_name: str | None = None,
        work_queue_name: str | None = None,
        job_variables: dict[str, Any] | None = None,
        entrypoint_type: EntrypointType = EntrypointType.FILE_PATH,
        *,
        schedule: Any = None,
        anchor_date: datetime.datetime | str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
        labels: dict[str, bool | int | float | str] | None = None,
    ) -> Any:
        """A deployment of this flow, not yet stored: for `deploy(…)`, `serve(…)` and its own `apply()`.

        Args:
            name: its name.
            interval: seconds or a timedelta between two runs; several make several schedules.
            cron: a cron expression, or several.
            rrule: a recurrence (RFC 5545), or several.
            paused: whether the schedules rest; when not given, a redeployment leaves it as it is.
            schedules: schedules of any kind: `Interval(…)`, `Cron(…)`, `RRule(…)`, or dicts: `{"cron": "@daily"}`.
            concurrency_limit: how many of its runs may run at once: a number, or `ConcurrencyLimitConfig(…)`.
            parameters: over the flow's defaults, for all its runs.
            triggers: events that start runs.
            description: what it is for; the flow's own when not given.
            tags: its tags, which its runs have too.
            version: the version of the code; the flow's own, or a hash of the code, when not given.
            enforce_parameter_schema: the server refuses runs with parameters that do not fit.
            work_pool_name: the pool whose workers run it.
            work_queue_name: a queue of that pool; its default queue when not given.
            job_variables: settings of its jobs, over the pool's.
            entrypoint_type: find the flow by its file, by its module, or in the notebook's file.
            schedule: one such schedule.
            anchor_date: one of the fires of `interval`.
            timezone: the zone of `interval`, `cron` or `rrule`.
            catch_up: fires missed while nothing ran: `skip` them, run the `latest`, or run `all`.
            labels: small facts about it.

        Returns:
            A `RunnerDeployment`.

        Raises:
            EntrypointError: no other process could find the flow.
            ParameterError: a parameter is unknown or has the wrong type.
            InvalidInput: two kinds of schedule, or an argument that does not fit.

        Example:
            >>> etl.to_deployment("nightly", cron="0 3 * * *", parameters={"n": 5})  # doctest: +SKIP
        """
        options = {key: value for key, value in locals().items() if key not in ("self", "name")}
        make = plugins.load(_DEPLOYMENT)
        if self._storage is None:
            return make.from_flow(self, name, **options)
        del options["entrypoint_type"]  # it was found by its file
        return make.from_storage(self._storage, self._entrypoint, name, **options)

    def deploy(
        self,
        name: str,
        work_pool_name: str | None = None,
        image: Any = None,
        build: bool = True,
        push: bool = True,
        work_queue_name: str | None = None,
        job_variables: dict[str, Any] | None = None,
        interval: Iterable[float | datetime.timedelta] | float | datetime.timedelta | None = None,
        cron: Iterable[str] | str | None = None,
        rrule: Iterable[str] | str | None = None,
        paused: bool | None = None,
        schedules: Iterable[Any] | None = None,
        concurrency_limit: int | ConcurrencyLimitConfig | dict[str, Any] | None = None,
        triggers: list[Any] | None = None,
        parameters: dict[str, Any] | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        version: str | None = None,
        enforce_parameter_schema: bool = True,
        entrypoint_type: EntrypointType = EntrypointType.FILE_PATH,
        print_next_steps: bool = True,
        ignore_warnings: bool = False,
        *,
        schedule: Any = None,
        anchor_date: datetime.datetime | str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
        labels: dict[str, bool | int | float | str] | None = None,
    ) -> Any:
        """Stores a deployment of this flow, which the workers of a pool run, and gives its id.

        Args:
            name: its name.
            work_pool_name: the pool whose workers run it; by default `settings.work_pool`.
            image: the container image, or what it is built from, for pools that use one.
            build: whether to build the image.
            push: whether to push it.
            work_queue_name: a queue of that pool; its default queue when not given.
            job_variables: settings of its jobs, over the pool's.
            interval: seconds or a timedelta between two runs; several make several schedules.
            cron: a cron expression, or several.
            rrule: a recurrence (RFC 5545), or several.
            paused: whether the schedules rest; when not given, a redeployment leaves it as it is.
            schedules: schedules of any kind: `Interval(…)`, `Cron(…)`, `RRule(…)`, or dicts: `{"cron": "@daily"}`.
            concurrency_limit: how many of its runs may run at once: a number, or `ConcurrencyLimitConfig(…)`.
            triggers: events that start runs.
            parameters: over the flow's defaults, for all its runs.
            description: what it is for; the flow's own when not given.
            tags: its tags, which its runs have too.
            version: the version of the code; the flow's own, or a hash of the code, when not given.
            enforce_parameter_schema: the server refuses runs with parameters that do not fit.
            entrypoint_type: find the flow by its file, by its module, or in the notebook's file.
            print_next_steps: say how to run it.
            ignore_warnings: do not say that nobody works for the pool.
            schedule: one such schedule.
            anchor_date: one of the fires of `interval`.
            timezone: the zone of `interval`, `cron` or `rrule`.
            catch_up: fires missed while nothing ran: `skip` them, run the `latest`, or run `all`.
            labels: small facts about it.

        Returns:
            Its id, which can be awaited too.

        Raises:
            InvalidInput: there is no such pool, it takes no image, or as `to_deployment`.
            DeploymentApplyError: the server refused it.

        Example:
            >>> etl.deploy("nightly", work_pool_name="default", cron="0 3 * * *")  # doctest: +SKIP
        """
        here = ("self", "name", "work_pool_name", "image", "build", "push", "print_next_steps", "ignore_warnings")
        options = {key: value for key, value in locals().items() if key not in (*here, "here")}
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

    def serve(
        self,
        name: str | None = None,
        interval: Iterable[float | datetime.timedelta] | float | datetime.timedelta | None = None,
        cron: Iterable[str] | str | None = None,
        rrule: Iterable[str] | str | None = None,
        paused: bool | None = None,
        schedules: Iterable[Any] | None = None,
        global_limit: int | ConcurrencyLimitConfig | dict[str, Any] | None = None,
        triggers: list[Any] | None = None,
        parameters: dict[str, Any] | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        version: str | None = None,
        enforce_parameter_schema: bool = True,
        pause_on_shutdown: bool = True,
        print_starting_message: bool = True,
        limit: int | None = None,
        webserver: bool | int = False,
        entrypoint_type: EntrypointType = EntrypointType.FILE_PATH,
        *,
        schedule: Any = None,
        anchor_date: datetime.datetime | str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
        labels: dict[str, bool | int | float | str] | None = None,
    ) -> Any:
        """Stores a deployment of this flow and runs what is due of it in processes of this machine, until stopped.

        Args:
            name: the deployment's name, or the script's file; by default the flow's.
            interval: seconds or a timedelta between two runs; several make several schedules.
            cron: a cron expression, or several.
            rrule: a recurrence (RFC 5545), or several.
            paused: whether the schedules rest; when not given, a redeployment leaves it as it is.
            schedules: schedules of any kind: `Interval(…)`, `Cron(…)`, `RRule(…)`, or dicts: `{"cron": "@daily"}`.
            global_limit: how many runs of the deployment may run at once, anywhere.
            triggers: events that start runs.
            parameters: over the flow's defaults, for all its runs.
            description: what it is for; the flow's own when not given.
            tags: its tags, which its runs have too.
            version: the version of the code; the flow's own, or a hash of the code, when not given.
            enforce_parameter_schema: the server refuses runs with parameters that do not fit.
            pause_on_shutdown: let the schedules rest once it stops.
            print_starting_message: say that it is served, once it is, and how to run it.
            limit: how many runs at once here; None for as many as are due.
            webserver: answer `http://127.0.0.1:8080/health` while it serves; a number is another port.
            entrypoint_type: find the flow by its file, by its module, or in the notebook's file.
            schedule: one such schedule.
            anchor_date: one of the fires of `interval`.
            timezone: the zone of `interval`, `cron` or `rrule`.
            catch_up: fires missed while nothing ran: `skip` them, run the `latest`, or run `all`.
            labels: small facts about it.

        Returns:
            A handle in a notebook; None in a script, when it has stopped.

        Example:
            >>> etl.serve("here", interval=60)  # doctest: +SKIP
        """
        here = ("self", "name", "pause_on_shutdown", "print_starting_message", "limit", "webserver", "global_limit")
        options = {key: value for key, value in locals().items() if key not in (*here, "here")}
        called = self.name if name is None else name
        return plugins.load("millrace.deployments.serve:serve")(
            self.to_deployment(called, concurrency_limit=global_limit, **options),
            pause_on_shutdown=pause_on_shutdown,
            print_starting_message=print_starting_message,
            limit=limit,
            webserver=webserver,
        )

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
