"""Deployments in the form of the first Prefect 2: `DeploymentSpec` in scripts, and one of several chosen by name."""

from __future__ import annotations

import contextvars
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from millrace import declarations, entrypoints, plugins
from millrace.client.handle import Id
from millrace.deployments import given as accepted
from millrace.deployments import specfile, specified
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import MillraceError, MissingDeployment, SpecError, UnspecifiedDeployment

D = TypeVar("D")
Places = dict["DeploymentSpec", dict[str, Any]]
_new: contextvars.ContextVar[Places | None] = contextvars.ContextVar("specs", default=None)


class DeploymentSpec:
    """A deployment to create: of a flow object, or of a flow in a file.

    Args:
        name: its name; the flow's when not given.
        flow: the flow.
        flow_name: the flow's name, where the file holds several.
        flow_location: the file that holds it: a script or a notebook; that of `flow` when not given.
        parameters: over the flow's defaults.
        schedule: when it runs.
        tags: its tags.
        work_pool_name: the pool whose workers run it.
        job_variables: settings of its jobs.
        flow_runner, flow_storage: of the old form; they are refused with what says the same now.

    Example:
        >>> DeploymentSpec(flow=etl, name="nightly", schedule=Cron("0 3 * * *"))  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str | None = None,
        flow: Any = None,
        flow_name: str | None = None,
        flow_location: str | os.PathLike[str] | None = None,
        parameters: dict[str, Any] | None = None,
        schedule: Any = None,
        tags: list[str] | None = None,
        work_pool_name: str | None = None,
        job_variables: dict[str, Any] | None = None,
        flow_runner: Any = None,
        flow_storage: Any = None,
    ) -> None:
        if flow_runner is not None:
            raise SpecError("flow_runner is of an older version. Where runs happen is said by work_pool_name.")
        if flow_storage is not None:
            raise SpecError("flow_storage is of an older version. Deploy from storage with flow.from_source(…).")
        self.name = accepted.named(name) if name is not None else None
        self.flow = flow
        self.flow_name = flow_name
        self.flow_location = None if flow_location is None else str(Path(flow_location).expanduser().absolute())
        self.parameters = parameters or {}
        self.schedule = schedule
        self.tags = tags or []
        self.work_pool_name = work_pool_name
        self.job_variables = job_variables or {}
        registered = _new.get()
        if registered is not None:
            frame = sys._getframe(1)
            registered[self] = {"file": frame.f_code.co_filename, "line": frame.f_lineno}

    def __repr__(self) -> str:
        return f"DeploymentSpec({self.name!r}, flow_name={self.flow_name!r}, flow_location={self.flow_location!r})"

    def load_flow(self) -> Any:
        """The flow, loaded from its file if it was not given."""
        if self.flow is None:
            self.validate()
        return self.flow

    def validate(self) -> None:
        """Find the flow and what follows from it: its location, its name, and the deployment's name.

        Raises:
            SpecError: neither a flow nor a location is given; they are of different files; the name is another; or
                the file holds no such flow.
        """
        if not self.flow_location and self.flow is None:
            raise SpecError("Either flow_location or flow must be given.")
        if self.flow is None:
            self.flow = self._loaded()
        function = getattr(self.flow, "fn", self.flow)
        file = getattr(function, "__globals__", {}).get("__file__")
        if not self.flow_location:
            self.flow_location = str(Path(file).absolute()) if file else None
        elif file and not self.flow_location.endswith(".ipynb") and not _same(file, self.flow_location):
            raise SpecError(
                f"flow_location {self.flow_location!r} is not the file of the flow {self.flow.name!r}, which is "
                f"{file!r}. Leave flow_location out."
            )
        if not self.flow_location:
            raise SpecError(f"Nobody knows where the flow {self.flow.name!r} is. Say it with flow_location.")
        if self.flow_name and self.flow_name not in (self.flow.name, function.__name__):
            raise SpecError(
                f"flow_name and the flow's own name must be the same: {self.flow_name!r}, {self.flow.name!r}."
            )
        self.flow_name = self.flow.name
        self.name = self.name or self.flow_name

    def _loaded(self) -> Any:
        place = Path(str(self.flow_location))
        try:
            if place.suffix == ".ipynb":
                entrypoint = f"{place.name}:{self.flow_name}" if self.flow_name else place.name
            else:
                entrypoint = f"{place.name}:{self._variable(place)}"
            return entrypoints.load(entrypoint, place.parent)
        except SpecError:
            raise
        except MillraceError as error:
            raise SpecError(str(error), self.flow_location) from error

    def _variable(self, place: Path) -> str:
        wanted = self.flow_name
        held = [(one.variable, str(one.options(["name"])["name"])) for one in declarations.flows_of(place)]
        fits = [variable for variable, name in held if wanted in (None, variable, name)]
        if len(fits) == 1:
            return fits[0]
        names = ", ".join(repr(name) for _, name in held) or "none"
        missing = f"has no flow {wanted!r}" if wanted else f"holds {len(held)} flows"
        raise SpecError(f"It {missing}. Its flows: {names}. Say which with flow_name.", str(place))

    def to_deployment(self) -> RunnerDeployment:
        """The deployment as the rest of this package has it.

        Raises:
            SpecError: as `validate`.
            InvalidInput: a value does not fit.
        """
        self.validate()
        options: dict[str, Any] = {
            "parameters": self.parameters,
            "schedule": self.schedule,
            "tags": self.tags,
            "work_pool_name": self.work_pool_name,
            "job_variables": self.job_variables,
        }
        place = Path(str(self.flow_location))
        function = getattr(self.flow, "fn", self.flow)
        if function.__module__ == "__main__" and place.suffix != ".ipynb":
            # The script that is running is not to be run once more, without end, to find its own flow.
            return RunnerDeployment.from_flow(self.flow, str(self.name), **options)
        own = function.__name__
        entrypoint = place.name if place.suffix == ".ipynb" and own == "run" else f"{place.name}:{own}"
        return RunnerDeployment.from_storage(place.parent, entrypoint, str(self.name), **options)

    def create_deployment(self, validate: bool = True) -> Id:
        """Store it.

        Args:
            validate: as in the original; what is stored is always checked.

        Returns:
            Its id.
        """
        return self.to_deployment().apply()


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


@contextmanager
def _registering() -> Iterator[dict[DeploymentSpec, dict[str, Any]]]:
    found: dict[DeploymentSpec, dict[str, Any]] = {}
    token = _new.set(found)
    try:
        yield found
    finally:
        _new.reset(token)


def deployment_specs_from_script(path: str | os.PathLike[str]) -> dict[DeploymentSpec, dict[str, Any]]:
    """The specifications that a script makes when it is run, each with its file and line.

    Args:
        path: the script.

    Raises:
        EntrypointError: it raised; the message names its line.
    """
    return deployment_specs_and_flows_from_script(path)[0]


def deployment_specs_and_flows_from_script(
    path: str | os.PathLike[str],
) -> tuple[dict[DeploymentSpec, dict[str, Any]], set[Any]]:
    """The specifications that a script makes when it is run, and its flows.

    Args:
        path: the script.

    Raises:
        EntrypointError: it raised; the message names its line.
    """
    with _registering() as found:
        flows: set[Any] = plugins.load("millrace.loading:load_flows_from_script")(path)
    return found, flows


def deployment_specs_from_yaml(path: str | os.PathLike[str]) -> dict[DeploymentSpec, dict[str, Any]]:
    """The specifications of a file, each with its file and line. Nothing is run.

    Args:
        path: a specification file, in the old form or the new.

    Raises:
        SpecError: it cannot be used; the message names the line.
    """
    found = {}
    for one in specfile.read(Path(path)):
        entry, pool = one.entry, one.entry.work_pool
        location, _, name = specified.entrypoint_of(one).partition(":")
        spec = DeploymentSpec(
            entry.name,
            flow_name=entry.flow_name or name or None,
            flow_location=one.directory / location,
            parameters=entry.parameters,
            schedule=one.times[0] if one.times else None,
            tags=entry.tags,
            work_pool_name=pool.name,
            job_variables=pool.job_variables,
        )
        found[spec] = {"file": one.file, "line": one.line}
    return found


def load_deployments_from_yaml(path: str | os.PathLike[str]) -> list[RunnerDeployment]:
    """The deployments of a specification file; their flows are loaded, nothing is stored.

    Args:
        path: the file.

    Raises:
        SpecError: it cannot be used; the message names file, line and field.
    """
    return [specified.made(one) for one in specfile.read(Path(path))]


def select_deployment(
    deployments: Iterable[D],
    deployment_name: str | None = None,
    flow_name: str | None = None,
    from_message: str | None = None,
) -> D:
    """The only one of some deployments, or that of a name.

    Args:
        deployments: `RunnerDeployment`s or `DeploymentSpec`s.
        deployment_name: its name.
        flow_name: the name of its flow.
        from_message: where they are from, for messages, such as `in script 'etl.py'`.

    Raises:
        MissingDeployment: there is none, or none of this name.
        UnspecifiedDeployment: there are several and no name is given, or several of this name.

    Example:
        >>> select_deployment([nightly, weekly], "weekly").name  # doctest: +SKIP
        'weekly'
    """
    known = list(deployments)
    place = f" {from_message}" if from_message else ""
    if not known:
        raise MissingDeployment(f"No deployments found{place}.")
    fits = [one for one in known if deployment_name in (None, _name(one))]
    if not fits:
        raise MissingDeployment(f"Deployment {deployment_name!r} not found{place}. There are: {_listed(known, _name)}.")
    if flow_name is not None:
        right = [one for one in fits if _flow_name(one) == flow_name]
        if not right and deployment_name is not None:
            raise MissingDeployment(
                f"Deployment {deployment_name!r} for flow {flow_name!r} not found{place}. There is one of this name "
                f"for: {_listed(fits, _flow_name)}."
            )
        if not right:
            raise MissingDeployment(
                f"Deployment for flow {flow_name!r} not found{place}. There are deployments for: "
                f"{_listed(known, _flow_name)}."
            )
        fits = right
    if len(fits) > 1:
        shown = _listed(fits, lambda one: f"{_flow_name(one)}/{_name(one)}")
        raise UnspecifiedDeployment(
            f"Found {len(fits)} deployments{place}: {shown}. Say which by deployment_name and flow_name."
        )
    return fits[0]


def _name(one: Any) -> Any:
    return one.name or _flow_name(one)


def _flow_name(one: Any) -> Any:
    if not one.flow_name and hasattr(one, "load_flow"):
        return one.load_flow().name
    return one.flow_name


def _listed(known: Iterable[Any], name: Callable[[Any], Any]) -> str:
    return ", ".join(repr(name(one)) for one in known)
