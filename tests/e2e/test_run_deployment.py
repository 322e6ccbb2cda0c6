"""run_deployment and its async twin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from yard import Yard, open_yard

from millrace.deployments.run import arun_deployment, run_deployment
from millrace.errors import InvalidInput, MissingDeployment
from millrace.schema.queries import FlowRunQuery, TaskRunQuery
from millrace.schema.states import StateType

JOB = """
@flow
def job(n: int = 1, seconds: float = 0):
    note('begin', colour=os.environ.get('COLOUR'), n=n)
    time.sleep(seconds)
    return n
"""


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    for yard in open_yard(tmp_path, monkeypatch):
        yard.deployment(JOB)
        yield yard


def test_waits_for_the_end(yard: Yard) -> None:
    yard.start_worker()
    run = run_deployment(
        "job/d", parameters={"n": 3}, flow_run_name="mine", tags=["a"], job_variables={"env.COLOUR": "green"}
    )
    assert run.state_type is StateType.COMPLETED and run.name == "mine" and "a" in run.tags
    (entry,) = yard.entries(run)
    assert (entry["n"], entry["colour"]) == (3, "green")


def test_by_id_and_without_waiting(yard: Yard) -> None:
    deployment = yard.client.read_deployment_by_name("job", "d")
    for name in (deployment.id, str(deployment.id)):
        run = run_deployment(name, timeout=0)
        assert run.state_type is StateType.SCHEDULED


def test_a_time_out_returns_the_run_as_it_is(yard: Yard) -> None:
    yard.start_worker()
    began = time.monotonic()
    run = run_deployment("job/d", parameters={"seconds": 60}, timeout=4, poll_interval=0.2)
    assert 3.5 < time.monotonic() - began < 10
    assert run.state_type in (StateType.RUNNING, StateType.PENDING)


def test_a_later_time(yard: Yard) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    run = run_deployment("job/d", scheduled_time=later, timeout=0)
    assert run.expected_start_time is not None and abs((run.expected_start_time - later).total_seconds()) < 1


def test_a_known_key_is_the_known_run(yard: Yard) -> None:
    first, second = (run_deployment("job/d", idempotency_key="k", timeout=0) for _ in range(2))
    assert first.id == second.id
    assert run_deployment("job/d", idempotency_key="other", timeout=0).id != first.id


def test_what_is_wrong_is_said(yard: Yard) -> None:
    with pytest.raises(InvalidInput, match="timeout cannot be negative"):
        run_deployment("job/d", timeout=-1)
    with pytest.raises(MissingDeployment, match="Did you mean 'job/d'"):
        run_deployment("jop/d")
    with pytest.raises(InvalidInput, match="flow name/deployment name"):
        run_deployment("job")
    with pytest.raises(MissingDeployment):
        run_deployment("0190a1b2-0000-7000-8000-000000000000")
    assert yard.client.count_flow_runs(FlowRunQuery()) == 0


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_from_a_flow_it_is_a_subflow(yard: Yard, colour: str) -> None:
    if colour == "plain":
        text = "@flow\ndef parent():\n    run_deployment('job/d', parameters={'n': 9})\n"
    else:
        text = "@flow\nasync def parent():\n    await arun_deployment('job/d', parameters={'n': 9})\n"
    imports = "from millrace import run_deployment, arun_deployment\n"
    deployment = yard.deployment(imports + text, function="parent", name="p")
    yard.start_worker()
    parent = yard.wait(yard.run(deployment))
    assert parent.state_type is StateType.COMPLETED, (parent.state, yard.output(parent))
    children = [run for run in yard.client.read_flow_runs() if run.id != parent.id]
    (child,) = children
    assert child.state_type is StateType.COMPLETED and child.parent_task_run_id is not None
    (link,) = [t for t in yard.client.read_task_runs(TaskRunQuery()) if t.id == child.parent_task_run_id]
    assert link.flow_run_id == parent.id


async def _both() -> tuple[object, object]:
    first = await arun_deployment("job/d", timeout=0)
    second = await run_deployment("job/d", timeout=0)
    return first, second


def test_in_async_code(yard: Yard) -> None:
    first, second = asyncio.run(_both())
    assert first.id != second.id  # type: ignore[attr-defined]
