"""run_deployment and its async twin."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from jupyter_client.manager import start_new_kernel
from yard import Yard, open_yard

from millrace.client.handle import RunHandle
from millrace.deployments.run import DeploymentRun, arun_deployment, run_deployment
from millrace.errors import InvalidInput, MissingDeployment, MissingResult, ParameterError
from millrace.schema.pools import WorkQueueQuery
from millrace.schema.queries import FlowRunQuery, TaskRunQuery
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType

JOB = """
@flow
def job(n: int = 1, seconds: float = 0):
    note('begin', colour=os.environ.get('COLOUR'), n=n)
    time.sleep(seconds)
    return n if n >= 0 else object()
"""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """One server and one worker for all tests; each begins without runs."""
    with pytest.MonkeyPatch.context() as patch:
        for yard in open_yard(tmp_path_factory.mktemp("yard"), patch):
            yard.deployment(JOB)
            yard.start_worker()
            yield yard


@pytest.fixture(autouse=True)
def _no_runs(yard: Yard) -> None:
    for run in yard.client.read_flow_runs():
        yard.client.delete_flow_run(run.id)


def test_waits_for_the_end(yard: Yard) -> None:
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


def test_a_time_may_be_an_iso_text(yard: Yard) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    naive = due.astimezone().replace(tzinfo=None)
    for given in (due, naive, due.isoformat(), naive.isoformat()):
        assert run_deployment("job/d", timeout=0, scheduled_time=given).expected_start_time == due
    for wrong in ("tomorrow", timedelta(hours=1)):
        with pytest.raises(InvalidInput, match=r"scheduled_time .* is no moment: give a datetime"):
            run_deployment("job/d", timeout=0, scheduled_time=wrong)  # type: ignore[arg-type]


def test_a_time_out_returns_the_run_as_it_is(yard: Yard) -> None:
    began = time.monotonic()
    run = run_deployment("job/d", parameters={"seconds": 60}, timeout=4, poll_interval=0.2)
    assert 3.5 < time.monotonic() - began < 30
    assert run.state_type in (StateType.RUNNING, StateType.PENDING)


def test_what_is_said_of_a_run_can_be_done_with_it(yard: Yard) -> None:
    run = run_deployment("job/d", parameters={"n": 4}, timeout=0)
    ended = run.wait(60)
    assert (type(ended), ended.id, ended.state_name) == (DeploymentRun, run.id, "Completed")
    later = run_deployment("job/d", timeout=0, scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(TimeoutError, match="it goes on"):
        later.wait(0.01)
    assert repr(later.cancel()) == "Cancelled(message='cancelled by a user before it ran', type=CANCELLED)"
    said = inspect.getsource(RunHandle.wait)
    assert {name for name in re.findall(r"`\.(\w+)\(\)`", said) if not hasattr(DeploymentRun, name)} == set()


def test_why_a_run_kept_no_result_is_in_its_log(yard: Yard) -> None:
    run = run_deployment("job/d", parameters={"n": -1})
    with pytest.raises(MissingResult, match=r"cannot be stored, as the run's log then says"):
        run.result()
    yard.until(lambda: any("of type object, cannot be stored" in line.message for line in run.logs()))


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


def test_the_arguments_are_those_of_the_reference() -> None:
    wanted = {
        "client": None,
        "parameters": None,
        "scheduled_time": None,
        "flow_run_name": None,
        "timeout": None,
        "poll_interval": 5,
        "tags": None,
        "idempotency_key": None,
        "work_queue_name": None,
        "as_subflow": True,
        "job_variables": None,
    }
    for function in (run_deployment, arun_deployment):
        parameters = inspect.signature(function).parameters
        assert list(parameters) == ["name", *wanted]
        assert {name: parameters[name].default for name in wanted} == wanted


def test_a_queue_is_named(yard: Yard) -> None:
    run = run_deployment("job/d", work_queue_name="side", timeout=0)
    assert run.work_queue_name == "side"
    assert run_deployment("job/d", timeout=0).work_queue_name == "default"
    assert "side" in [queue.name for queue in yard.client.read_work_queues("yard", WorkQueueQuery())]


def test_parameters_and_job_variables_are_checked_before_there_is_a_run(yard: Yard) -> None:
    with pytest.raises(ParameterError, match="'n'"):
        run_deployment("job/d", parameters={"n": "many"}, timeout=0)
    for value, said in (
        (math.nan, "no form for NaN"),
        (b"\xff", "no UTF-8"),
        ("\ud800", "surrogates"),
        (object(), "object"),
    ):
        with pytest.raises(ParameterError, match=f"The parameter 'n' of the deployment 'job/d' cannot be sent.*{said}"):
            run_deployment("job/d", parameters={"n": value}, timeout=0)
    with pytest.raises(ParameterError, match="a dict of values by name"):
        run_deployment("job/d", parameters=[1], timeout=0)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="Job variable 'env'"):
        run_deployment("job/d", job_variables={"env": "none"}, timeout=0)
    assert yard.client.count_flow_runs(FlowRunQuery()) == 0


PARENTS = """
from millrace import arun_deployment, flow, run_deployment, task

@task
def count():
    return 7

@task
def ask(n):
    return str(run_deployment('job/d', parameters={'n': n}).id)

@flow
def plain():
    run_deployment('job/d', parameters={'n': count.submit()})

@flow
async def coloured():
    await arun_deployment('job/d', parameters={'n': count.submit()})

@flow
def from_a_task():
    ask(9)

@flow
def alone():
    run_deployment('job/d', parameters={'n': 5}, as_subflow=False)
"""


def _parent(yard: Yard, name: str) -> FlowRun:
    deployment = yard.deployment(PARENTS, function=name, name=f"p_{name}")
    run = yard.wait(yard.run(deployment), seconds=120)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    return run


def _child(yard: Yard, parent: FlowRun) -> FlowRun:
    (child,) = [run for run in yard.client.read_flow_runs() if run.id != parent.id]
    return child


@pytest.mark.parametrize("name", ["plain", "coloured"])
def test_the_graph_shows_where_its_parameters_came_from(yard: Yard, name: str) -> None:
    parent = _parent(yard, name)
    child = _child(yard, parent)
    assert child.parameters["n"] == 7
    nodes = {node.label: node for _, node in yard.client.read_flow_run_graph(parent.id).nodes}
    (nested,) = [node for node in nodes.values() if node.kind == "flow-run"]
    assert nested.id == child.id
    assert [edge.id for edge in nested.parents] == [nodes["count-0"].id]


def test_from_a_task_it_lies_within_the_task(yard: Yard) -> None:
    parent = _parent(yard, "from_a_task")
    child = _child(yard, parent)
    nodes = {node.label: node for _, node in yard.client.read_flow_run_graph(parent.id).nodes}
    (nested,) = [node for node in nodes.values() if node.kind == "flow-run"]
    assert nested.id == child.id and [edge.id for edge in nested.encapsulating] == [nodes["ask-0"].id]


def test_without_as_subflow_it_is_a_run_of_its_own(yard: Yard) -> None:
    parent = _parent(yard, "alone")
    assert _child(yard, parent).parent_task_run_id is None
    assert yard.client.read_task_runs(TaskRunQuery()) == []


def test_in_a_kernel(yard: Yard) -> None:
    manager, kernel = start_new_kernel(kernel_name="python3")
    code = """
from millrace import arun_deployment, run_deployment
first = run_deployment('job/d', parameters={'n': 2})
second = await arun_deployment('job/d', parameters={'n': 3})
print(first.state_name, second.state_name)
"""
    said: list[str] = []
    try:
        answer = kernel.execute_interactive(
            code, timeout=120, output_hook=lambda message: said.append(str(message["content"]))
        )
        assert answer["content"]["status"] == "ok", said
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "Completed Completed" in "".join(said)
    assert sorted(run.parameters["n"] for run in yard.client.read_flow_runs()) == [2, 3]
