"""A yard whose runs execute in containers of a real Docker Engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from yard import LEDGER, Yard, open_yard

import containers
from millrace.deployments.deployment import RunnerDeployment
from millrace.schema.pools import WorkPoolCreate
from millrace.schema.runs import FlowRun
from millrace.workers.docker import RUN_LABEL, DockerKind
from millrace.workers.execution import template_of

POOL = "boxes"
WAIT = 120.0
"""Seconds that a container may take on a busy machine."""


class Boxes(Yard):
    """A yard whose runs execute in containers."""

    pool = POOL

    def deployment(self, text: str, function: str = "job", name: str = "d", **options: Any) -> UUID:
        """Write a flow and deploy it to the docker pool; its directory is mounted."""
        file = self.code / f"{name}_flow.py"
        file.write_text(f"LEDGER = {str(self.ledger_file)!r}\n{LEDGER}\n{text}")
        given = {
            "image": containers.image(),
            "volumes": [f"{self.code}:{self.code}"],
            **options.pop("job_variables", {}),
        }
        made = RunnerDeployment.from_storage(self.code, f"{file.name}:{function}", name, job_variables=given, **options)
        return made.apply(work_pool_name=POOL)

    def containers(self, flow_run: FlowRun) -> list[Any]:
        """The containers of a run, ended ones too."""
        found: list[Any] = containers.engine().containers.list(
            all=True, filters={"label": f"{RUN_LABEL}={flow_run.id}"}, ignore_removed=True
        )
        return found


def open_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[Boxes]:
    """Boxes with a running server; everything of them is gone afterwards."""
    containers.image()
    for yard in open_yard(tmp_path, monkeypatch, **environment):
        boxes = Boxes(yard.home, yard.code)
        boxes.processes = yard.processes
        boxes.client.create_work_pool(
            WorkPoolCreate(name=POOL, type="docker", base_job_template=template_of(DockerKind))
        )
        yield boxes
        for container in containers.engine().containers.list(
            all=True, filters={"label": RUN_LABEL}, ignore_removed=True
        ):
            if str(boxes.home) in str(container.attrs.get("HostConfig", {}).get("Binds")):
                container.remove(force=True)
