"""A deployment as it is configured in Python, before and while it is given to the server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from millrace import plugins
from millrace.client.handle import Id
from millrace.deployments import found, preflight, request, source
from millrace.deployments import given as accepted
from millrace.deployments import triggers as automations
from millrace.engine.deployable import Deployable
from millrace.entrypoints import EntrypointType, parse
from millrace.errors import InvalidInput
from millrace.schema.deployments import CatchUp, ConcurrencyLimitConfig, ConcurrencyOptions, DeploymentScheduleCreate
from millrace.schema.fields import JsonObject
from millrace.storage.kinds import CodeStorage


class RunnerDeployment(BaseModel):
    """What a deployment is to be; `apply` makes it so.

    `from_flow`, `from_entrypoint` and `from_storage` make one: they find the code and read the flow's parameters.

    Args:
        name: its name.
        flow_name: the name of its flow.
        description: what it is for; the flow's own when not given.
        version: the version of the code; the flow's own, or a hash of the code, when not given.
        tags: its tags.
        schedules: when it runs.
        concurrency_limit: how many of its runs may run at once.
        concurrency_options: what becomes of one more.
        paused: whether the schedules rest; None leaves it as it is on the server.
        parameters: over the flow's defaults.
        entrypoint: where the flow is, relative to the directory of its code.
        triggers: what else starts it.
        enforce_parameter_schema: the server refuses runs with parameters that do not fit.
        work_pool_name: the pool whose workers run it.
        work_queue_name: a queue of that pool.
        job_variables: settings of its jobs, over the pool's.
        catch_up: what becomes of fires missed while nothing ran.
        labels: small facts about it.

    Example:
        >>> RunnerDeployment.from_flow(etl, "nightly", cron="0 3 * * *").apply("default")  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True, extra="forbid")

    name: str
    flow_name: str | None = None
    description: str | None = None
    version: str | None = None
    tags: list[str] = Field(default_factory=list)
    schedules: list[DeploymentScheduleCreate] = Field(default_factory=list)
    concurrency_limit: int | None = None
    concurrency_options: ConcurrencyOptions | None = None
    paused: bool | None = None
    parameters: JsonObject = Field(default_factory=dict)
    entrypoint: str | None = None
    triggers: list[Any] = Field(default_factory=list)
    enforce_parameter_schema: bool = True
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    job_variables: JsonObject = Field(default_factory=dict)
    catch_up: CatchUp | None = None
    labels: dict[str, bool | int | float | str] = Field(default_factory=dict)

    _source: source.Source | None = PrivateAttr(default=None)
    _schema: JsonObject = PrivateAttr(default_factory=dict)
    _own: dict[str, str | None] = PrivateAttr(default_factory=dict)

    # -- making one

    @classmethod
    def from_flow(
        cls,
        flow: Any,
        name: str,
        interval: Iterable[float | timedelta] | float | timedelta | None = None,
        cron: Iterable[str] | str | None = None,
        rrule: Iterable[str] | str | None = None,
        paused: bool | None = None,
        schedules: Iterable[Any] | None = None,
        schedule: Any = None,
        is_schedule_active: bool | None = None,
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
        concurrency_limit: int | ConcurrencyLimitConfig | dict[str, Any] | None = None,
        anchor_date: datetime | str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
        labels: dict[str, bool | int | float | str] | None = None,
    ) -> Self:
        """A deployment of a flow object.

        Args:
            flow: the flow. One defined in notebook cells is exported with everything it needs.
            name: the deployment's name; a file name gives its stem.
            interval: seconds or a timedelta between two runs; several make several schedules.
            cron: a cron expression, or several.
            rrule: a recurrence (RFC 5545), or several.
            paused: whether the schedules rest; when not given, a redeployment leaves it as it is.
            schedules: schedules of any kind: `Interval(…)`, `Cron(…)`, `RRule(…)`, or dicts: `{"cron": "@daily"}`.
            schedule: one such schedule.
            is_schedule_active: the old word for the opposite of `paused`.
            parameters: over the flow's defaults, for all its runs.
            triggers: events that start runs.
            description: what it is for; the flow's own when not given.
            tags: its tags, which its runs have too.
            version: the version of the code; the flow's own, or a hash of the code, when not given.
            enforce_parameter_schema: the server refuses runs with parameters that do not fit.
            work_pool_name: the pool whose workers run it.
            work_queue_name: a queue of that pool; its default queue when not given.
            job_variables: settings of its jobs, over the pool's: see `millrace work-pool inspect`.
            entrypoint_type: find the flow by its file, by its module, or in the notebook's file.
            concurrency_limit: how many of its runs may run at once: a number, or `ConcurrencyLimitConfig(…)`.
            anchor_date: one of the fires of `interval`.
            timezone: the zone of `interval`, `cron` or `rrule`.
            catch_up: fires missed while nothing ran: `skip` them, run the `latest`, or run `all`.
            labels: small facts about it.

        Raises:
            EntrypointError: no other process could find the flow.
            ClosureError: a name that it needs cannot be shipped.
            ParameterError: a parameter is unknown or has the wrong type.
            InvalidInput: two kinds of schedule, or an argument that does not fit.
        """
        options = {key: value for key, value in locals().items() if key not in ("cls", "flow", "name")}
        if not isinstance(flow, Deployable):
            raise InvalidInput(f"{flow!r} is no flow: only what @flow makes of a function can be deployed.")
        kind = accepted.entrypoint_type(options.pop("entrypoint_type"))
        return cls.configured(flow, name, source.of_flow(flow, kind), **options)

    @classmethod
    def from_entrypoint(
        cls,
        entrypoint: str,
        name: str,
        interval: Iterable[float | timedelta] | float | timedelta | None = None,
        cron: Iterable[str] | str | None = None,
        rrule: Iterable[str] | str | None = None,
        paused: bool | None = None,
        schedules: Iterable[Any] | None = None,
        schedule: Any = None,
        is_schedule_active: bool | None = None,
        parameters: dict[str, Any] | None = None,
        triggers: list[Any] | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        version: str | None = None,
        enforce_parameter_schema: bool = True,
        work_pool_name: str | None = None,
        work_queue_name: str | None = None,
        job_variables: dict[str, Any] | None = None,
        *,
        concurrency_limit: int | ConcurrencyLimitConfig | dict[str, Any] | None = None,
        anchor_date: datetime | str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
        labels: dict[str, bool | int | float | str] | None = None,
    ) -> Self:
        """A deployment of the flow that an entrypoint leads to, from the current directory.

        Args:
            entrypoint: `file.py:fn`, `pkg.mod.fn`, `book.ipynb:fn` or `book.ipynb`.
            name: the deployment's name.
            interval, cron, rrule, paused, schedules, schedule, is_schedule_active, parameters, triggers, description:
                see `from_flow`.
            tags, version, enforce_parameter_schema, work_pool_name, work_queue_name, job_variables: see `from_flow`.
            concurrency_limit, anchor_date, timezone, catch_up, labels: see `from_flow`.

        Raises:
            EntrypointError: it leads nowhere.
            MissingFlow: there is no such flow.
            InvalidInput: as `from_flow`.
        """
        options = {key: value for key, value in locals().items() if key not in ("cls", "entrypoint", "name")}
        there = found.in_directory(Path.cwd(), entrypoint)
        return cls.configured(there.flow, name, there.code, **options)

    @classmethod
    def from_storage(
        cls,
        storage: Path | str | CodeStorage,
        entrypoint: str,
        name: str,
        interval: Iterable[float | timedelta] | float | timedelta | None = None,
        cron: Iterable[str] | str | None = None,
        rrule: Iterable[str] | str | None = None,
        paused: bool | None = None,
        schedules: Iterable[Any] | None = None,
        schedule: Any = None,
        is_schedule_active: bool | None = None,
        parameters: dict[str, Any] | None = None,
        triggers: list[Any] | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        version: str | None = None,
        enforce_parameter_schema: bool = True,
        work_pool_name: str | None = None,
        work_queue_name: str | None = None,
        job_variables: dict[str, Any] | None = None,
        *,
        concurrency_limit: int | ConcurrencyLimitConfig | dict[str, Any] | None = None,
        anchor_date: datetime | str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
        labels: dict[str, bool | int | float | str] | None = None,
    ) -> Self:
        """A deployment of code that lies somewhere: in a directory, a git repository or an object store.

        Args:
            storage: the directory, the URL, or a storage such as `GitRepository(…)`; see `millrace.storage`.
            entrypoint: relative to it.
            name: the deployment's name.
            interval, cron, rrule, paused, schedules, schedule, is_schedule_active, parameters, triggers, description:
                see `from_flow`.
            tags, version, enforce_parameter_schema, work_pool_name, work_queue_name, job_variables: see `from_flow`.
            concurrency_limit, anchor_date, timezone, catch_up, labels: see `from_flow`.

        Raises:
            InvalidInput: there is no such directory, nothing reads such a URL, or as `from_flow`.
            PullFailed: the code could not be fetched.
        """
        options = {key: value for key, value in locals().items() if key not in ("cls", "storage", "entrypoint", "name")}
        there = found.found(storage, entrypoint)
        return cls.configured(there.flow, name, there.code, **options)

    @classmethod
    def configured(cls, flow: Any, name: str, code: source.Source, **options: Any) -> Self:
        """A deployment of a flow whose code was found.

        Args:
            flow: the flow: its name, description, version and parameters count.
            name: the deployment's name.
            code: where its code is.
            options: those of `from_flow`; None counts as not given.

        Raises:
            InvalidInput: as `from_flow`.
        """
        own = {
            "version": getattr(flow, "_version", None) or code.version or flow.version,
            "description": getattr(flow, "description", None),
        }
        schema = accepted.schema_of(flow)
        fields = accepted.fields(name, flow.name, schema, own, options)
        try:
            deployment = cls(entrypoint=code.entrypoint, **fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InvalidInput(
                f"The deployment {name!r}: {place} cannot be {first['input']!r}: {first['msg']}."
            ) from None
        deployment._source = code
        deployment._schema = schema
        deployment._own = own
        return deployment

    # -- what it is

    @property
    def path(self) -> Path | None:
        """The directory that the entrypoint is relative to."""
        return self._source.path if self._source else None

    @property
    def code(self) -> source.Source:
        """Where its code is.

        Raises:
            InvalidInput: it was made without a flow.
        """
        if self._source is None or self.flow_name is None:
            raise InvalidInput(
                f"Nobody knows where the code of the deployment {self.name!r} is. Make it with "
                "RunnerDeployment.from_flow, .from_entrypoint or .from_storage."
            )
        return self._source

    def placed(self, code: source.Source, **job_variables: Any) -> RunnerDeployment:
        """The same deployment with its code elsewhere.

        Args:
            code: where its runs find it.
            job_variables: added where the deployment has none of that name.
        """
        variables = {**job_variables, **self.job_variables}
        moved = self.model_copy(update={"job_variables": variables, "entrypoint": code.entrypoint})
        moved._source = code
        return moved

    @property
    def entrypoint_type(self) -> EntrypointType:
        """How the entrypoint names the flow."""
        if self._source is not None and self._source.origin is not None:
            return EntrypointType.NOTEBOOK_PATH
        kind = parse(self.entrypoint).kind if self.entrypoint else "file"
        return EntrypointType.MODULE_PATH if kind == "module" else EntrypointType.FILE_PATH

    @property
    def own(self) -> dict[str, str | None]:
        """What its code says of version and description, which stands where nothing else is given."""
        return self._own

    @property
    def parameter_openapi_schema(self) -> JsonObject:
        """The flow's parameters as JSON Schema."""
        return self._schema

    @property
    def full_name(self) -> str:
        """`flow name/deployment name`."""
        return f"{self.flow_name}/{self.name}"

    # -- as a specification file

    def to_yaml(self, directory: Path | str | None = None) -> str:
        """What `millrace.yaml` says of it; `from_yaml` gives it back.

        Args:
            directory: where the file will be; the current directory when not given.
        """
        place = Path(directory).absolute() if directory else None
        return str(plugins.load("millrace.deployments.written:to_yaml")([self], place))

    @classmethod
    def from_yaml(cls, text: str, name: str | None = None, directory: Path | str | None = None) -> RunnerDeployment:
        """A deployment that a text describes in the form of `millrace.yaml`.

        Args:
            text: the text.
            name: which, where it describes several.
            directory: what entrypoints are relative to; the current directory when not given.

        Raises:
            SpecError: the text cannot be used; the message names the line.
            UnspecifiedDeployment: it describes several and no name is given.
            MissingDeployment: it describes none of this name.
        """
        place = Path(directory).absolute() if directory else Path.cwd()
        made: RunnerDeployment = plugins.load("millrace.deployments.specified:of_text")(text, name, place)
        return made

    # -- giving it to the server

    def apply(self, work_pool_name: str | None = None, image: str | None = None) -> Id:
        """Create the deployment, or replace the one of this flow and name.

        Args:
            work_pool_name: the pool, if not the deployment's own.
            image: only for pools that run containers.

        Returns:
            Its id, which can be awaited too.

        Raises:
            InvalidInput: an image, a queue or job variables without a pool.
            PreflightFailed: code from cells does not load in a clean process.
            DeploymentApplyError: the server refused it.
            NotSupported: it has triggers, and there are no automations.
        """
        pool = work_pool_name or self.work_pool_name
        request.check(self, pool, image)
        preflight.require(self.code)
        client = plugins.load("millrace.client.locate:connect")()
        automations.require(self.triggers, self.parameter_openapi_schema, str(self.flow_name))
        id = request.send(client, self, pool, image)
        automations.declare(client, id, self.name, self.triggers)
        return Id(str(id))
