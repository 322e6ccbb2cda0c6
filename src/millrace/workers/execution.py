"""What every kind of worker does: start a job somewhere, watch it, end it, and find it again.

A kind is one class with the variables of its pools. `millrace.workers` is the group of entry points for other kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar, cast

from pydantic import ValidationError

from millrace import plugins
from millrace.client.endpoint import Endpoint
from millrace.errors import InvalidInput
from millrace.plugins import Registry
from millrace.schema.deployments import Deployment
from millrace.schema.fields import JsonObject, Model
from millrace.schema.runs import FlowRun
from millrace.storage.placeholders import Values
from millrace.workers import variables
from millrace.workers.jobs import Job

V = TypeVar("V", bound=Model)
Variables = type[Model]

KINDS = Registry(
    "type of worker",
    "millrace.workers",
    {"process": "millrace.workers.process:ProcessKind", "docker": "millrace.workers.docker:DockerKind"},
)


class Execution(Protocol):
    """A job that was started: by this worker, or by one before it."""

    @property
    def place(self) -> str:
        """Where it executes, for people: the number of a process, the name of a container."""

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most that many seconds."""

    def end(self, grace: float) -> str:
        """Ask it to end, kill it after that many seconds, and say in a sentence what became of it."""

    def clear(self) -> None:
        """After its end: see to it that nothing of it is left."""

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None where nobody could see it."""

    def described(self) -> str:
        """How it ended, in a sentence."""


class Kind(Protocol):
    """A kind of infrastructure."""

    type: ClassVar[str]
    variables: ClassVar[Variables]

    def prepare(self, endpoint: Endpoint) -> None:
        """Make ready, so that the first job starts fast; jobs talk to this server."""

    def start(self, job: Job, config: Any) -> Execution:
        """Start a job and put into its note how to find it again."""

    def find(self, job: Job) -> Execution:
        """The execution of a job that a worker before us started; it may be gone."""

    def oust(self, earlier: Job) -> None:
        """Kill an attempt of before that lives on: two never run at once."""

    def close(self) -> None:
        """Give up what it holds; jobs live on."""


def template_of(kind: type[Kind]) -> JsonObject:
    """The base job template of a pool.

    Args:
        kind: the kind of its workers.
    """
    schema = kind.variables.model_json_schema(ref_template="#/definitions/{model}")
    properties = cast("JsonObject", schema["properties"])
    found: JsonObject = {
        "job_configuration": {name: f"{{{{ {name} }}}}" for name in properties},
        "variables": {"type": "object", "properties": properties},
    }
    if "$defs" in schema:
        found["variables"]["definitions"] = schema["$defs"]
    if required := schema.get("required"):
        found["variables"]["required"] = required
    return found


def configured(kind: type[V], template: Mapping[str, Any], deployment: Deployment | None, flow_run: FlowRun) -> V:
    """The variables of one job: the pool's defaults, the deployment's over them, the run's over those.

    Args:
        kind: the type of the variables.
        template: the pool's base job template.
        deployment: the run's deployment.
        flow_run: the run.

    Raises:
        InvalidInput: one has the wrong type, or stands for a secret or a variable that is not there.
    """
    values = variables.configure(template, deployment.job_variables if deployment else None, flow_run.job_variables)
    values = Values({}, {}, _secret, _variable, strict=False).filled(values)
    try:
        return kind.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"The job variable {name!r} cannot be {first['input']!r}: {first['msg']}.") from None


def _secret(name: str) -> Any:
    return plugins.load("millrace.storage.steps:secret")(name)


def _variable(name: str) -> Any:
    return plugins.load("millrace.storage.steps:variable")(name)
