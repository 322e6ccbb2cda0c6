"""Every setting, in one class. Each is read from the environment variable `MILLRACE_<NAME>`.

What an environment variable does not say, the file `settings.toml` of the data directory may (`millrace config set`).
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from millrace.errors import SettingsError

FILE = "settings.toml"
"""The file of settings in the data directory."""

OWN_WORKER = "MILLRACE__OWN_WORKER"
"""Set in the environment of the worker that an embedded server brings: it starts its server again if that is killed."""


def _default_home() -> Path:
    return Path(platformdirs.user_data_dir("millrace", appauthor=False))


class Settings(BaseModel):
    """The settings of this process.

    Example:
        >>> Settings(home="/tmp/mill").home
        PosixPath('/tmp/mill')
    """

    model_config = ConfigDict(extra="ignore", frozen=True, validate_default=True)

    home: Path = Field(
        default_factory=_default_home,
        description="The data directory: everything a user made lies under it.",
    )
    api_url: str | None = Field(
        None,
        description="The API of a shared server, such as http://host:4200/api. Unset: the embedded server of `home`.",
    )
    api_token: SecretStr | None = Field(None, description="The bearer token for `api_url`.")
    api_timeout: float = Field(30.0, gt=0, description="Seconds to wait for one answer of the server.")
    autostart: bool = Field(True, description="Start the embedded server when something needs it.")
    lease_seconds: float = Field(30.0, ge=1, description="How long a claim holds without being extended, in seconds.")
    late_after_seconds: float = Field(15.0, ge=0, description="Seconds after which a due run that nobody took is Late.")
    sweep_seconds: float = Field(5.0, gt=0, description="Seconds between two looks for lost leases and late runs.")
    worker_heartbeat_seconds: int = Field(
        10, ge=1, description="Seconds between two signs of life of a worker; after three missed ones it is OFFLINE."
    )
    cancel_grace_seconds: float = Field(10.0, ge=0, description="Seconds a cancelled run has to clean up.")
    idle_exit_seconds: float = Field(
        1800.0, ge=0, description="The embedded server exits after this many idle seconds with nothing scheduled."
    )
    work_pool: str = Field("default", description="The pool that deployments use when none is named.")
    docker_base_image: str | None = Field(
        None,
        description="The image that images of flows are made from. Unset: `python:3.x-slim`, with the version of here.",
    )
    default_docker_build_namespace: str | None = Field(
        None, description="Put before names of images that have none of their own, such as registry.example.org/team."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level of run logs kept."
    )
    log_console: Literal["DEBUG", "INFO", "WARNING", "ERROR", "OFF"] = Field(
        "INFO", description="Lowest level of run logs shown in the terminal or under the cell; OFF: none."
    )
    log_extra_loggers: str = Field(
        "", description="Names of other loggers, by comma, whose lines in a run are lines of the run."
    )
    log_prints: bool = Field(False, description="Turn print() into log lines in flows that do not say.")
    flow_default_retries: int = Field(0, ge=0, description="Retries of flows that do not say.")
    flow_default_retry_delay_seconds: float = Field(0.0, ge=0, description="Their delay, in seconds.")
    task_default_retries: int = Field(0, ge=0, description="Retries of tasks that do not say.")
    task_default_retry_delay_seconds: float = Field(0.0, ge=0, description="Their delay, in seconds.")
    results_persist: bool | None = Field(
        None, description="Keep the results of flows and tasks that do not say. Unset: of flow runs on workers."
    )
    results_storage: str | None = Field(
        None,
        description="Where results are kept: a directory or an fsspec URL such as s3://bucket/prefix. "
        "Unset: `results` in the data directory.",
    )
    results_serializer: str = Field(
        "json", description="How results are stored: json, pickle, compressed/json, compressed/pickle or one of yours."
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="The key of the secrets a server keeps (millrace secret new-key makes one). Unset: the file "
        "secrets.key of `home`, made with the first secret.",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="The mail server of automations that name none: smtp://user:password@host:25, smtps:// or "
        "smtp+starttls://.",
    )
    task_refresh_cache: bool = Field(
        False, description="Tasks that do not say compute anew and replace what is cached."
    )
    task_disable_caching: bool = Field(False, description="No task uses a cached result, whatever its cache policy.")
    display: Literal["auto", "widget", "html", "text"] = Field("auto", description="What notebooks show.")
    seed: int | None = Field(None, description="Makes the names of runs repeatable, for documents and tests.")
    allowed_hosts: str = Field("", description="Host names the TCP server answers to besides its own, by comma.")
    max_body_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="The largest request body, in bytes.")

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        # pydantic-settings does this and forty things more, in a fifth of the time that all of Millrace takes to load.
        variables = {name: f"MILLRACE_{name.upper()}" for name in cls.model_fields}
        said = {**{name: os.environ[key] for name, key in variables.items() if key in os.environ}, **given}
        return {**kept(Path(said.get("home") or _default_home())), **said}

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("api_url", mode="after")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://, for example http://127.0.0.1:4200/api")
        return value.rstrip("/")

    # Where things lie under `home`. Everyone asks here, nobody joins paths of their own.

    @property
    def database_path(self) -> Path:
        """The SQLite file of the embedded server."""
        return self.home / "millrace.db"

    @property
    def key_file(self) -> Path:
        """The key under which the server encrypts secrets; mode 0600."""
        return self.home / "secrets.key"

    @property
    def runtime_directory(self) -> Path:
        """What others need to reach the embedded server: its runtime file and its socket; mode 0700.

        A directory of its own, so that a container can be given it without the database beside it.
        """
        return self.home / "run"

    @property
    def runtime_file(self) -> Path:
        """What the running embedded server says of itself, as JSON (pid, socket, token, version); mode 0600."""
        return self.runtime_directory / "server.json"

    @property
    def logs_directory(self) -> Path:
        """The logs of the embedded server and its worker."""
        return self.home / "logs"

    @property
    def results_directory(self) -> Path:
        """Stored results of runs."""
        return self.home / "results"

    @property
    def locks_directory(self) -> Path:
        """Files that processes of this machine lock."""
        return self.home / "locks"

    @property
    def code_directory(self) -> Path:
        """Exported modules and notebooks of deployments, one folder per content hash."""
        return self.home / "code"

    @property
    def cache_directory(self) -> Path:
        """Code that was fetched from elsewhere; can be deleted at any time when nothing runs."""
        return self.home / "cache"

    def run_directory(self, flow_run_id: object) -> Path:
        """The folder of one run: its spool, raw output, executed notebook and HTML.

        Args:
            flow_run_id: the run's UUID.
        """
        return self.home / "runs" / str(flow_run_id)


def kept(home: Path) -> dict[str, Any]:
    """What the file of settings in a data directory says.

    Args:
        home: the data directory.

    Raises:
        SettingsError: it cannot be read, or names a setting that there is not.
    """
    file = home.expanduser() / FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}.") from None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is no TOML: {error}. Correct or delete it.") from None
    if unknown := sorted(set(found) - _keepable()):
        raise SettingsError(f"{file}: there is no setting {unknown[0]!r} to keep. millrace config view lists them.")
    return found


def keep(home: Path, changes: Mapping[str, str | None]) -> Path:
    """Write settings into the file of a data directory, where they hold for every process that uses it.

    Args:
        home: the data directory.
        changes: settings by name, as an environment variable would give them; None forgets one.

    Returns:
        The file.

    Raises:
        SettingsError: there is no such setting, or the value cannot be used.
    """
    if unknown := sorted(set(changes) - _keepable()):
        raise SettingsError(
            f"There is no setting MILLRACE_{unknown[0].upper()} to keep. millrace config view lists them."
        )
    after = {name: value for name, value in {**kept(home), **changes}.items() if value is not None}
    try:
        Settings(**{"home": home, **after})
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{first['loc'][0]} cannot be {first['input']!r}: {first['msg']}.") from None
    home.mkdir(parents=True, exist_ok=True)
    # a JSON text is a TOML text, but for one character
    lines = [
        f"{name} = " + json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") for name, value in after.items()
    ]
    handle, new = tempfile.mkstemp(dir=home, prefix=FILE)  # mode 0600: a token may be in it
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    os.replace(new, home / FILE)
    current.cache_clear()
    return home / FILE


def _keepable() -> set[str]:
    return set(Settings.model_fields) - {"home"}


@lru_cache(maxsize=1)
def current() -> Settings:
    """The settings of this process, read once; `current.cache_clear()` reads them anew.

    Raises:
        SettingsError: an environment variable has a value that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        if not error.errors()[0]["loc"]:  # the file as a whole
            raise SettingsError(str(error.errors()[0]["ctx"]["error"])) from None
        problems = "; ".join(f"MILLRACE_{str(e['loc'][0]).upper()}={e['input']!r}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{problems}. Correct or unset it, in the environment or in {FILE}.") from None
