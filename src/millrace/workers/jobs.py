"""A job: one attempt of a run on this machine, and the note of it that lets another worker take it over."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from millrace import settings
from millrace.schema.fields import Model
from millrace.schema.runs import Lease
from millrace.workers import tree

NOTE = "job.json"
HOOKS = "MILLRACE__HOOKS"
"""Tells a process of a run to call the hooks of the state that the run has ended in, and nothing else."""


class Job(Model):
    """What a worker must know of an attempt: written to `job.json` in the run's directory.

    `lease` is null for a run of a server that gives none.
    """

    flow_run_id: UUID
    flow_run_name: str = ""
    attempt: int = 0
    lease: Lease | None = None
    pool: str | None = None
    kind: str = "process"
    container: str | None = None
    keep_output: bool = True
    pid: int = 0
    create_time: float = 0.0
    worker_pid: int = 0
    worker_create_time: float = 0.0

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return settings.current().run_directory(self.flow_run_id)

    @property
    def label(self) -> str:
        """What every process of it carries in its environment."""
        return f"{self.flow_run_id}/{self.attempt}"

    @property
    def out(self) -> Path:
        """Where its raw output goes."""
        return self.directory / f"{self.attempt}.out"

    @property
    def session(self) -> int | None:
        """The session of its processes; None: not known, or it was before this machine started."""
        return self.pid if self.pid and self.create_time >= tree.boot_time() else None

    @property
    def alive(self) -> bool:
        """Whether its first process lives."""
        return bool(self.pid) and tree.same_process(self.pid, self.create_time)

    @property
    def watched(self) -> bool:
        """Whether a worker that lives watches it."""
        return bool(self.worker_pid) and tree.same_process(self.worker_pid, self.worker_create_time)

    def write(self) -> None:
        """Put the note where a worker finds it, at once or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.directory, prefix=".job", delete=False) as file:
            file.write(self.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self.directory / NOTE)

    def signed_in(self) -> tuple[int, float] | None:
        """Number and birth of the process that said it is this attempt; None if none did, or if it is gone."""
        file = _signature(self.flow_run_id, self.attempt)
        try:
            pid, written = int(file.read_text()), file.stat().st_mtime
        except (OSError, ValueError):
            return None
        born = tree.create_time(pid)
        return (pid, born) if 0 < born <= written + 1.0 else None

    def forget(self) -> None:
        """Take the note away: the job is settled. The note of a later attempt stays."""
        later = read(self.directory)
        if later is None or later.attempt == self.attempt:
            with contextlib.suppress(FileNotFoundError):
                (self.directory / NOTE).unlink()


def _signature(flow_run_id: UUID, attempt: int) -> Path:
    return settings.current().run_directory(flow_run_id) / f"{attempt}.pid"


def sign_in(flow_run_id: UUID, attempt: int) -> None:
    """Say that this process is an attempt of a run; done before the run can be RUNNING.

    A worker that is killed between starting a process and noting its number leaves one that nobody knows: a fork does
    not even show the label in its environment. By this file the next worker finds it.

    Args:
        flow_run_id: the run.
        attempt: the attempt.
    """
    file = _signature(flow_run_id, attempt)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(os.getpid()))


def read(directory: Path) -> Job | None:
    """The note in a run's directory, if there is one that can be read.

    Args:
        directory: the run's directory.
    """
    try:
        return Job.model_validate_json((directory / NOTE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError, json.JSONDecodeError):
        return None


def notes(home: Path) -> Iterator[Job]:
    """Every job that is noted on this machine.

    Args:
        home: the data directory.
    """
    with contextlib.suppress(FileNotFoundError), os.scandir(home / "runs") as entries:
        for entry in entries:
            job = read(Path(entry.path))
            if job is not None:
                yield job


@dataclass(frozen=True)
class Watcher:
    """Which process watches jobs: this one.

    Args:
        pid: its number.
        create_time: when it began.
    """

    pid: int
    create_time: float

    @classmethod
    def here(cls) -> Watcher:
        """This process."""
        return cls(os.getpid(), tree.create_time(os.getpid()))
