"""The kind of worker that runs each job in a container of a Docker Engine.

The container talks to the server by itself. An embedded server is reached through its Unix socket: its directory is
mounted into the container at the same path, as are the directory of the run, where the log spool lies, the results of
this machine, and the exported code of a deployment that has no image of its own. A server on this machine's loopback is
reached through the host's network. Containers carry the run and the attempt as labels: by these a worker that was
started again finds them.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from millrace import plugins, settings
from millrace.client.endpoint import Endpoint
from millrace.errors import InvalidInput, MillraceError
from millrace.workers.docker_variables import DockerVariables
from millrace.workers.execution import Variables
from millrace.workers.jobs import Job
from millrace.workers.process import own_environment

log = logging.getLogger("millrace.worker")
RUN_LABEL, ATTEMPT_LABEL = "millrace.flow-run-id", "millrace.attempt"
COMMAND = "python -m millrace.workers.child"
GATEWAY = "host.docker.internal"
OUT_OF_MEMORY = 137
_GONE = "is gone, and nobody saw how it ended"


class EngineFailed(MillraceError):
    """The Docker Engine could not do what was asked of it."""


class DockerKind:
    """Starts jobs in containers.

    Args:
        warm: of no meaning here.
    """

    type: ClassVar[str] = "docker"
    variables: ClassVar[Variables] = DockerVariables

    def __init__(self, warm: bool = True) -> None:
        self._docker: Any = None
        self._engine: Any = None
        self._endpoint: Endpoint | None = None

    # -- the engine

    def prepare(self, endpoint: Endpoint) -> None:
        """Find the engine.

        Raises:
            PluginMissing: the package docker is not installed.
            EngineFailed: no engine answers.
        """
        self._endpoint = endpoint
        self._docker = plugins.load("docker", install="pip install 'millrace[docker]'")
        try:
            self._engine = self._docker.from_env(timeout=300)
            self._engine.ping()
        except Exception as error:  # docker-py, requests and urllib3 each raise their own
            at = os.environ.get("DOCKER_HOST", "its usual place")
            raise EngineFailed(
                f"No Docker Engine answers at {at}: {error}. Start it or set DOCKER_HOST, then start this worker again."
            ) from None

    def close(self) -> None:
        """Give up the connections; containers live on."""
        if self._engine is not None:
            self._engine.close()

    @property
    def _local(self) -> bool:
        return str(self._engine.api.base_url).startswith(("http+docker://localhost", "unix://", "npipe://"))

    # -- jobs

    def start(self, job: Job, config: DockerVariables) -> ContainerExecution:
        """Start a job; its note gets the container's id.

        Args:
            job: the job.
            config: its variables.

        Raises:
            InvalidInput: there is no such image, or the engine refuses the settings.
        """
        job.out.parent.mkdir(parents=True, exist_ok=True)
        image = self._image(config)
        settings_ = self._settings(job, config)
        try:
            container = self._engine.containers.create(image, **settings_)
            job.container = container.id
            job.write()
            for network in config.networks[1:]:
                self._engine.networks.get(network).connect(container)
            container.start()
        except self._docker.errors.APIError as error:
            if job.container:
                self._engine.api.remove_container(job.container, force=True)
            raise InvalidInput(f"The container could not be started: {error.explanation or error}") from None
        except (
            self._docker.errors.DockerException,
            TypeError,
            ValueError,
        ) as error:
            # the engine was not even asked
            raise InvalidInput(f"The settings of the container cannot be used: {error}") from None
        return ContainerExecution(job, container, keep=not config.auto_remove).following()

    def find(self, job: Job) -> ContainerExecution:
        """The container of a job that a worker before us started."""
        found = self._labelled(f"{ATTEMPT_LABEL}={job.label}")
        if found:
            job.container = found[0].id
            keep = found[0].labels.get("millrace.keep") == "true"
            return ContainerExecution(job, found[0], keep=keep).following()
        return ContainerExecution(job, None)

    def oust(self, earlier: Job) -> None:
        """Kill the containers of earlier attempts of the same run."""
        for container in self._labelled(f"{RUN_LABEL}={earlier.flow_run_id}"):
            if container.status in ("running", "paused", "restarting", "created"):
                container.remove(force=True, v=True)

    def _labelled(self, label: str) -> list[Any]:
        found: list[Any] = self._engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return found

    def _image(self, config: DockerVariables) -> str:
        name = config.image
        newest = name.rpartition("/")[2].partition("@")[0].partition(":")[2] in ("", "latest") and "@" not in name
        policy = config.image_pull_policy or ("Always" if newest else "IfNotPresent")
        if policy != "Always":
            try:
                self._engine.images.get(name)
                return name
            except self._docker.errors.ImageNotFound:
                if policy == "Never":
                    raise InvalidInput(
                        f"The image {name!r} is not on this machine, and the job variable image_pull_policy is Never."
                    ) from None
        try:
            self._engine.images.pull(name, auth_config=config.credentials)
        except self._docker.errors.APIError as error:
            if policy == "Always" and newest and config.image_pull_policy is None and self._there(name):
                return name  # built here and never pushed
            raise InvalidInput(f"The image {name!r} could not be pulled: {error.explanation or error}") from None
        return name

    def _there(self, name: str) -> bool:
        try:
            self._engine.images.get(name)
        except self._docker.errors.ImageNotFound:
            return False
        return True

    # -- what the container is made of

    def _settings(self, job: Job, config: DockerVariables) -> dict[str, Any]:
        given = config.container_create_kwargs
        if refused := sorted({"image", "command", "detach", "auto_remove"} & set(given)):
            raise InvalidInput(f"The job variable container_create_kwargs cannot hold {', '.join(refused)}.")
        volumes = [*self._mounts(), *config.volumes]
        made: dict[str, Any] = {
            "name": _name(config.name or job.flow_run_name, job),
            "command": config.command or COMMAND,
            "environment": self._environment(job, config),
            "labels": {**config.labels, **_labels(job), "millrace.keep": str(not config.auto_remove).lower()},
            "volumes": [*self._mounts_of(job), *volumes],
            "init": True,
            "network": config.networks[0] if config.networks else None,
            "network_mode": config.network_mode,
            "mem_limit": config.mem_limit,
            "memswap_limit": config.memswap_limit,
            "nano_cpus": round(config.cpus * 1e9) if config.cpus else None,
            "privileged": config.privileged or None,
            "user": config.user or self._own_user,
            "working_dir": config.working_dir,
        }
        if self._on_loopback and not config.networks and not config.network_mode:
            made |= {"network_mode": "host"} if self._shares_network else {"extra_hosts": {GATEWAY: "host-gateway"}}
        return {name: value for name, value in made.items() if value is not None} | given

    @property
    def _own_user(self) -> str | None:
        """Files that a container writes into the directory of its run belong to the user of the worker."""
        return f"{os.getuid()}:{os.getgid()}" if self._local and hasattr(os, "getuid") else None

    @property
    def _on_loopback(self) -> bool:
        endpoint = self._endpoint
        return endpoint is not None and endpoint.socket is None and endpoint.local

    @property
    def _shares_network(self) -> bool:
        return self._local and "Docker Desktop" not in str(self._engine.info().get("OperatingSystem"))

    def _mounts(self) -> list[str]:
        endpoint = self._endpoint
        if not self._local:
            return []
        where = settings.current()
        # Results outlive the container, and other runs of this machine read them.
        where.results_directory.mkdir(parents=True, exist_ok=True)
        kept = [f"{where.results_directory}:{where.results_directory}"]
        code = [f"{where.code_directory}:{where.code_directory}:ro"] if where.code_directory.is_dir() else []
        if endpoint is None or endpoint.socket is None:
            return [*kept, *code]
        own = {str(Path(endpoint.socket).parent), str(where.runtime_file.parent)}
        return [*(f"{directory}:{directory}" for directory in sorted(own)), *kept, *code]

    def _mounts_of(self, job: Job) -> list[str]:
        return [f"{job.directory}:{job.directory}"] if self._local else []

    def _environment(self, job: Job, config: DockerVariables) -> dict[str, str]:
        where = settings.current()
        home = str(where.home) if self._local else "/tmp/millrace"
        env = {"PYTHONUNBUFFERED": "1", "MILLRACE_HOME": home, "MILLRACE_DISPLAY": "text"}
        if self._local and not config.user and os.getuid():
            env["HOME"] = "/tmp"  # the image knows no such user
        env |= {name: value for name, value in config.env.items() if value is not None}
        endpoint = self._endpoint
        if endpoint is None or endpoint.socket is not None:
            if not self._local:
                raise InvalidInput(
                    "A container of another machine cannot reach the embedded server's socket. Use a shared server: "
                    "millrace server start, and MILLRACE_API_URL."
                )
            return env | own_environment(job)
        url = endpoint.url
        if self._on_loopback and not (self._shares_network or config.network_mode == "host"):
            url = url.replace(str(urlsplit(url).hostname), GATEWAY, 1)
        env.setdefault("MILLRACE_API_URL", url)
        env.setdefault("PREFECT_API_URL", url)
        if endpoint.token:
            env.setdefault("PREFECT_API_AUTH_STRING" if endpoint.basic else "MILLRACE_API_TOKEN", endpoint.token)
        return env | own_environment(job)


@dataclass
class ContainerExecution:
    """A job in a container.

    Args:
        job: the job.
        container: as docker-py has it; None: it is gone.
        keep: leave it there after its end.
    """

    job: Job
    container: Any
    keep: bool = False
    code: int | None = None
    memory_killed: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def place(self) -> str:
        """The id of the container."""
        return str(self.job.container or "")[:12]

    def following(self) -> ContainerExecution:
        """Copy its output to the job's file, and see its end, on a thread."""
        name = f"millrace-container-{self.place}"
        threading.Thread(target=self._follow, name=name, daemon=True).start()
        return self

    def _follow(self) -> None:
        while not self._ended.is_set():
            try:
                self._copy_output()
                status = self.container.wait(timeout=3600)
                self.container.reload()
                self.memory_killed = bool(self.container.attrs["State"].get("OOMKilled"))
                self.code = _as_signal(int(status["StatusCode"]), self.memory_killed)
                self._copy_output()
                self._ended.set()
            except Exception as error:
                if "404" in str(error) or "No such container" in str(error):
                    self._ended.set()  # somebody removed it
                else:
                    log.debug("The container %s could not be followed: %s", self.place, error)
                    time.sleep(1.0)

    def _copy_output(self) -> None:
        """Appends what is not in the file yet: the engine tells the output from its beginning."""
        with self.job.out.open("ab") as file:
            known = file.tell()
            for chunk in self.container.logs(stream=True, follow=True, stdout=True, stderr=True):
                if known >= len(chunk):
                    known -= len(chunk)
                    continue
                file.write(chunk[known:])
                file.flush()
                known = 0

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most that many seconds."""
        return self.container is None or self._ended.wait(timeout)

    def end(self, grace: float) -> str:
        """Stop it, and kill it after that many seconds."""
        if self.container is None:
            return "The run was cancelled; its container is gone."
        try:
            self.container.stop(timeout=max(0, round(grace)))
        except Exception as error:
            log.debug("The container %s could not be stopped: %s", self.place, error)
        gone = self._ended.wait(grace + 15.0)
        return f"The run was cancelled; its container {'is gone' if gone else 'could not be stopped'}."

    def clear(self) -> None:
        """Remove the container, unless it is to be kept."""
        if self.container is None or self.keep:
            return
        try:
            self.container.remove(force=True, v=True)
        except Exception as error:
            log.debug("The container %s could not be removed: %s", self.place, error)

    def described(self) -> str:
        """How it ended."""
        name = f"The container {self.place} of the run"
        if self.code is None:
            return f"{name} {_GONE}."
        if self.memory_killed:
            limit = (self.container.attrs.get("HostConfig") or {}).get("Memory") or 0
            said = f"its limit of {limit / 2**20:g} MiB of memory" if limit else "more memory than there was"
            return f"{name} was killed because it used {said} (exit code {OUT_OF_MEMORY})."
        if self.code < 0:
            return f"{name} was killed by signal {-self.code} (exit code {128 - self.code})."
        return f"{name} exited with code {self.code}."


def _as_signal(status: int, memory_killed: bool) -> int:
    # The engine gives 128 + n for a signal, as a shell does.
    return 128 - status if memory_killed or status in (137, 143, 139, 134) else status


def _labels(job: Job) -> dict[str, str]:
    return {
        RUN_LABEL: str(job.flow_run_id),
        ATTEMPT_LABEL: job.label,
        "millrace.flow-run-name": job.flow_run_name,
        "io.prefect.flow-run-id": str(job.flow_run_id),
    }


def _name(wanted: str, job: Job) -> str:
    slug = re.sub(r"[^a-zA-Z0-9_.-]+", "-", wanted).strip("-.") or "run"
    return f"{slug[:40]}-{job.flow_run_id.hex[-8:]}-{job.attempt}"
