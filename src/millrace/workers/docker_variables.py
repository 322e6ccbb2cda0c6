"""What may be set for a job in a container; at once the variables of a docker pool. The names are Prefect's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from millrace.schema.fields import Model
from millrace.workers.variables import Environment

IMAGE = "millrace:latest"
_SIZE = "^[0-9]+([.][0-9]+)?([bkmgtBKMGT][bB]?)?$"
"""A size in bytes as the engine's library reads it."""


class DockerVariables(Model):
    """The variables of a docker pool."""

    image: str = Field(
        IMAGE,
        title="Image",
        min_length=1,
        description="The image that containers are made from; it has Millrace and the packages of the flow in it.",
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] | None = Field(
        None,
        title="Image Pull Policy",
        description="When to pull the image; unset: Always for the tag latest or none, else IfNotPresent.",
    )
    registry_credentials: dict[str, SecretStr | None] | None = Field(
        None,
        title="Registry Credentials",
        description="username, password and registry_url; the password by the name of a secret. "
        "Unset: those of `docker login`.",
    )
    env: Environment = Field(
        default_factory=dict, title="Environment Variables", description="Environment variables of the container."
    )
    command: str | None = Field(
        None, title="Command", description="Run this instead of Millrace's own runner; it finds the run's id in env."
    )
    name: str | None = Field(None, title="Name", description="The beginning of the container's name.")
    labels: dict[str, str] = Field(default_factory=dict, title="Labels", description="Labels of the container.")
    volumes: list[str] = Field(
        default_factory=list, title="Volumes", description="Mounts, as source:target or source:target:ro."
    )
    networks: list[str] = Field(
        default_factory=list, title="Networks", description="Networks of the engine to connect the container to."
    )
    network_mode: str | None = Field(None, title="Network Mode", description="Such as bridge or host.")
    mem_limit: str | None = Field(
        None, title="Memory Limit", description="Such as 512m or 2g; more is killed.", pattern=_SIZE
    )
    memswap_limit: str | None = Field(
        None, title="Memory and Swap Limit", description="Memory and swap together; -1: any.", pattern=f"{_SIZE}|^-1$"
    )
    cpus: float | None = Field(None, gt=0, title="CPUs", description="How many processors it may use, such as 1.5.")
    privileged: bool = Field(False, title="Privileged", description="Give it the rights of the host.")
    user: str | None = Field(None, title="User", description="The user, as uid:gid or name; unset: the image's.")
    working_dir: str | None = Field(None, title="Working Directory", description="In the container.")
    auto_remove: bool = Field(True, title="Auto Remove", description="Remove the container after its end.")
    stream_output: bool = Field(True, title="Stream Output", description="Keep what it prints with the run's logs.")
    container_create_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        title="Container Settings",
        description="Other settings, as docker-py's containers.create takes them.",
    )

    @field_validator("volumes")
    @classmethod
    def _mounts(cls, value: list[str]) -> list[str]:
        for one in value:
            if len(one.split(":")) not in (2, 3):
                raise ValueError(f"{one!r} is no mount: write source:target or source:target:ro")
        return value

    @property
    def credentials(self) -> dict[str, str] | None:
        """Credentials as docker-py takes them; None: those of `docker login`."""
        if not self.registry_credentials:
            return None
        given = {name: value.get_secret_value() for name, value in self.registry_credentials.items() if value}
        if "registry_url" in given:
            given["registry"] = given.pop("registry_url")
        return given
