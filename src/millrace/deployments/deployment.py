"""A deployment as it is configured in Python, before and while it is given to the server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from millrace import entrypoints, plugins
from millrace.client.handle import Id
from millrace.deployments import given as accepted
from millrace.deployments import preflight, source
from millrace.deployments.timing import schedules_from
from millrace.errors import (
    Busy,
    DeploymentApplyError,
    InvalidInput,
    MillraceError,
    NotAllowed,
    NotFound,
    ParameterError,
    ServerUnavailable,
)
from millrace.schema.deployments import (
    CATCH_UP_LABEL,
    CatchUp,
    ConcurrencyOptions,
    DeploymentCreate,
    DeploymentScheduleCreate,
    VersionInfo,
)
from millrace.schema.fields import JsonObject
from millrace.schema.flows import FlowCreate
from millrace.storage.kinds import CodeStorage, storage_of
from millrace.storage.local import SET_DIRECTORY, LocalStorage

EntrypointKind = Literal["file_path", "module_path"]


class RunnerDeployment(BaseModel):
    """What a deployment is to be; `apply` makes it so.

    Args:
        name: its name.
        flow_name: the name of its flow.
        description: what it is for; the flow's own when not given.
        version: the version of the code; a hash of it when not given.
        tags: its tags.
        schedules: when it runs.
        paused: whether the schedules rest.
        parameters: over the flow's defaults.
        entrypoint: where the flow is, relative to `path`.
        enforce_parameter_schema: the server refuses runs with parameters that do not fit.
        work_pool_name: the pool whose workers run it.
        work_queue_name: a queue of that pool.
        job_variables: settings of its jobs, over the pool's.
        concurrency_limit: how many of its runs may run at once.
        collision_strategy: what a run does when there are that many.
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
    paused: bool = False
    parameters: JsonObject = Field(default_factory=dict)
    entrypoint: str | None = None
    enforce_parameter_schema: bool = True
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    job_variables: JsonObject = Field(default_factory=dict)
    concurrency_limit: int | None = None
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] | None = None
    catch_up: CatchUp | None = None
    labels: dict[str, bool | int | float | str] = Field(default_factory=dict)

    _source: source.Source | None = PrivateAttr(default=None)
    _schema: JsonObject = PrivateAttr(default_factory=dict)

    # -- making one

    @classmethod
    def from_flow(
        cls, flow: Any, name: str, *, entrypoint_type: EntrypointKind = "file_path", **options: Any
    ) -> RunnerDeployment:
        """A deployment of a flow object.

        Args:
            flow: the flow. One defined in notebook cells is exported with everything it needs.
            name: the deployment's name; a file name gives its stem.
            entrypoint_type: find the flow by its file or by its module.
            options: see `configured`.

        Raises:
            EntrypointError: no other process could find the flow.
            ClosureError: a name that it needs cannot be shipped.
            ParameterError: a parameter is unknown or has the wrong type.
        """
        kind = getattr(entrypoint_type, "value", entrypoint_type)
        if kind not in ("file_path", "module_path"):
            raise InvalidInput(f"entrypoint_type is 'file_path' or 'module_path', not {kind!r}.")
        return cls.configured(flow, name, source.of_flow(flow, as_module=kind == "module_path"), **options)

    @classmethod
    def from_entrypoint(cls, entrypoint: str, name: str, **options: Any) -> RunnerDeployment:
        """A deployment of the flow that an entrypoint leads to.

        Args:
            entrypoint: `file.py:fn`, `pkg.mod.fn`, `book.ipynb:fn` or `book.ipynb`, from the current directory.
            name: the deployment's name.
            options: see `configured`.

        Raises:
            EntrypointError: it leads nowhere.
            MissingFlow: there is no such flow.
        """
        return cls.from_storage(Path.cwd(), entrypoint, name, **options)

    @classmethod
    def from_storage(
        cls, storage: Path | str | CodeStorage, entrypoint: str, name: str, **options: Any
    ) -> RunnerDeployment:
        """A deployment of code that lies somewhere: in a directory, a git repository or an object store.

        Args:
            storage: the directory, the URL, or a storage such as `GitRepository(…)`; see `millrace.storage`.
            entrypoint: relative to it.
            name: the deployment's name.
            options: see `configured`.

        Raises:
            InvalidInput: there is no such directory, or nothing reads such a URL.
            PullFailed: the code could not be fetched.
        """
        place = storage_of(storage)
        if not isinstance(place, LocalStorage):
            return cls._from_remote(place, entrypoint, name, options)
        directory = place.path
        if not directory.is_dir():
            raise InvalidInput(f"There is no directory {directory} to deploy from.")
        parsed = entrypoints.parse(entrypoint)
        book = directory / parsed.location
        if parsed.kind == "notebook":
            accepted.file_there(book, entrypoint)
            found = source.of_notebook(book)
        elif parsed.kind == "cell":
            accepted.file_there(book, entrypoint)
            found = source.of_notebook_flow(book, str(parsed.name))
        else:
            flow: Any = entrypoints.load(parsed, directory)
            written = str(parsed) if parsed.name else f"{parsed}:{getattr(flow, 'fn', flow).__name__}"
            version = source.of_file(directory / parsed.location) if parsed.kind == "file" else None
            return cls.configured(flow, name, source.Source(directory, written, version, directory), **options)
        assert found.path is not None
        return cls.configured(entrypoints.load(found.entrypoint, found.path), name, found, **options)

    @classmethod
    def _from_remote(
        cls, storage: CodeStorage, entrypoint: str, name: str, options: dict[str, Any]
    ) -> RunnerDeployment:
        """Runs fetch the code anew; here it is only read for the flow's name and parameters."""
        step = storage.to_pull_step()  # first: a token that must not be stored is refused before anything is fetched
        with tempfile.TemporaryDirectory(prefix="millrace-source-") as temporary:
            directory = storage.pull(Path(temporary))
            parsed = entrypoints.parse(entrypoint)
            flow: Any = entrypoints.load(parsed, directory)
            named = parsed.name or parsed.kind == "notebook"
            written = str(parsed) if named else f"{parsed}:{getattr(flow, 'fn', flow).__name__}"
            version = None if parsed.kind == "module" else source.of_file(directory / parsed.location)
            code = source.Source(None, written, version, None, pull_steps=(step,))
            return cls.configured(flow, name, code, **options)

    @classmethod
    def configured(
        cls,
        flow: Any,
        name: str,
        code: source.Source,
        *,
        interval: Iterable[float | timedelta] | float | timedelta | None = None,
        cron: Iterable[str] | str | None = None,
        rrule: Iterable[str] | str | None = None,
        schedule: Any = None,
        schedules: Iterable[Any] | None = None,
        anchor_date: datetime | None = None,
        timezone: str | None = None,
        paused: bool | None = None,
        parameters: dict[str, Any] | None = None,
        concurrency_limit: Any = None,
        **options: Any,
    ) -> RunnerDeployment:
        """A deployment of a flow whose code was found.

        Args:
            flow: the flow: its name, description, version and parameter schema count.
            name: the deployment's name.
            code: where its code is.
            interval: seconds or a timedelta, or several.
            cron: a cron expression, or several.
            rrule: a recurrence, or several.
            schedule: one schedule object.
            schedules: several schedule objects.
            anchor_date: one of the fires of `interval`.
            timezone: the zone of `interval`, `cron` or `rrule`.
            paused: whether the schedules rest.
            parameters: over the flow's defaults.
            concurrency_limit: a number, or a dict with `limit` and `collision_strategy`.
            options: the other fields of `RunnerDeployment`; those that are None count as not given.

        Raises:
            InvalidInput: an option is unknown or does not fit.
        """
        triggers = options.pop("triggers", None)
        if triggers:
            raise InvalidInput("Triggers come with automations, which this version does not have.")
        unknown = sorted(set(options) - set(cls.model_fields))
        if unknown:
            raise InvalidInput(f"A deployment has no option {', '.join(map(repr, unknown))}.")
        times = schedules_from(interval, cron, rrule, schedule, schedules, anchor_date=anchor_date, timezone=timezone)
        given = {key: value for key, value in options.items() if value is not None}
        given |= accepted.limits(concurrency_limit)
        given.pop("flow_name", None)
        given.setdefault("version", getattr(flow, "_version", None) or code.version or flow.version)
        given.setdefault("description", getattr(flow, "description", None))
        schema = accepted.schema_of(flow)
        values = accepted.checked(schema, parameters or {}, str(flow.name))
        try:
            deployment = cls(
                name=accepted.named(name),
                flow_name=flow.name,
                schedules=times,
                paused=bool(paused),
                parameters=values,
                entrypoint=code.entrypoint,
                **given,
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InvalidInput(
                f"The deployment {name!r}: {place} cannot be {first['input']!r}: {first['msg']}."
            ) from None
        deployment._source = code
        deployment._schema = schema
        return deployment

    # -- giving it to the server

    @property
    def path(self) -> Path | None:
        """The directory that the entrypoint is relative to."""
        return self._source.path if self._source else None

    @property
    def parameter_openapi_schema(self) -> JsonObject:
        """The flow's parameters as JSON Schema."""
        return self._schema

    @property
    def full_name(self) -> str:
        """`flow name/deployment name`."""
        return f"{self.flow_name}/{self.name}"

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
        """
        pool = work_pool_name or self.work_pool_name
        for value, what in (
            (image, "An image"),
            (self.work_queue_name, "A work queue"),
            (self.job_variables, "Job variables"),
        ):
            if value and not pool:
                raise InvalidInput(f"{what} can only be given with a work pool. Add work_pool_name=…")
        if self._source is None or self.flow_name is None:
            raise InvalidInput("Make a deployment with RunnerDeployment.from_flow or .from_entrypoint.")
        preflight.require(self._source)
        client = plugins.load("millrace.client.locate:connect")()
        try:
            flow = client.create_flow(FlowCreate(name=self.flow_name))
            return Id(str(client.create_deployment(self._body(flow.id, pool, image)).id))
        except (ServerUnavailable, NotAllowed, Busy, ParameterError):
            raise
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidInput(f"The deployment {self.full_name!r} cannot be made: {first['msg']}.") from None
        except NotFound as error:
            raise InvalidInput(f"The deployment {self.full_name!r} was not made: {error}") from error
        except MillraceError as error:
            raise DeploymentApplyError(f"The server refused the deployment {self.full_name!r}: {error}") from error

    def _body(self, flow_id: Any, pool: str | None, image: str | None) -> DeploymentCreate:
        code = self._source
        assert code is not None
        variables = dict(self.job_variables)
        if code.working_dir is not None:
            variables.setdefault("working_dir", str(code.working_dir))
        if image:
            variables["image"] = image
        labels = dict(self.labels)
        if self.catch_up:
            labels[CATCH_UP_LABEL] = self.catch_up
        path = str(code.path) if code.path else None
        options = ConcurrencyOptions(collision_strategy=self.collision_strategy) if self.collision_strategy else None
        return DeploymentCreate(
            name=self.name,
            flow_id=flow_id,
            paused=self.paused,
            schedules=self.schedules,
            concurrency_limit=self.concurrency_limit,
            concurrency_options=options,
            enforce_parameter_schema=self.enforce_parameter_schema,
            parameter_openapi_schema=self._schema,
            parameters=self.parameters,
            tags=self.tags,
            labels=labels,
            pull_steps=list(code.pull_steps) or ([{SET_DIRECTORY: {"directory": path}}] if path else []),
            work_queue_name=self.work_queue_name,
            work_pool_name=pool,
            description=self.description,
            path=path,
            version=self.version,
            version_info=VersionInfo(type="millrace:simple", version=self.version) if self.version else None,
            entrypoint=self.entrypoint,
            job_variables=variables,
        )
