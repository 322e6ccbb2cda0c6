"""Flows run by the real client: tasks called, submitted and mapped; retries; failures; subflows two deep."""

import asyncio
import json
import sys
import time

from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.states import Failed


@task
def double(x):
    return 2 * x


@task
def add(numbers):
    return sum(numbers)


@flow(log_prints=True, name="interop-tasks")
def tasks(n: int = 3):
    print("a printed line")
    get_run_logger().warning("a logged line")
    called = double(1)
    submitted = double.submit(called)
    mapped = double.map(range(n))
    return add.submit([submitted, *mapped]).result()


tries = []


@task(retries=1, retry_delay_seconds=0.5)
def shaky_task():
    tries.append(time.monotonic())
    if len(tries) == 1:
        raise ValueError("the task's first try")
    return len(tries)


flow_tries = []


@flow(retries=1, retry_delay_seconds=0.5, name="interop-retries")
def retries():
    flow_tries.append(time.monotonic())
    shaky_task()
    if len(flow_tries) == 1:
        raise ValueError("the flow's first try")
    return len(flow_tries)


@task
def broken():
    raise RuntimeError("a broken task")


@flow(name="interop-raises")
def raises():
    broken()


@flow(name="interop-says-failed")
def says_failed():
    return Failed(message="it said so itself")


@flow(name="interop-grandchild")
def grandchild(x: int):
    return double(x)


@flow(name="interop-child")
def child(x: int):
    return grandchild(x) + 1


@flow(name="interop-parent")
def parent(x: int = 20):
    return child(x) + 1


@task(tags=["a-tag"])
def tagged(x):
    return x


@task(cache_policy=INPUTS, persist_result=True)
def remembered(x):
    return x


@flow(name="interop-more")
def more():
    with tags("around"):
        tagged(1)
    create_markdown_artifact("# a heading", key="interop-note")
    return remembered(7) + remembered(7)


def told(state):
    return {
        "run": str(state.state_details.flow_run_id),
        "type": state.type.value,
        "name": state.name,
        "message": state.message,
    }


async def told_of(client, id, name):
    """The task runs and lines of a run, as soon as what the run still had to tell has come."""
    tasks, lines = FlowRunFilter(id={"any_": [id]}), LogFilter(flow_run_id={"any_": [id]})
    for _ in range(100):
        runs = await client.read_task_runs(flow_run_filter=tasks)
        logged = [log.message for log in await client.read_logs(lines)]
        if all(run.state.is_final() for run in runs) and (name != "tasks" or "a logged line" in logged):
            break
        await asyncio.sleep(0.2)
    return {"tasks": [[run.name.rsplit("-", 1)[0], run.state.name] for run in runs], "lines": logged}


async def read_back(ids):
    found = {}
    async with get_client() as client:
        for name, id in ids.items():
            run = await client.read_flow_run(id)
            states = await client.read_flow_run_states(id)
            graph = (await client._client.get(f"/flow_runs/{id}/graph-v2")).json()
            found[name] = {
                "state": run.state.name,
                "run_count": run.run_count,
                "parent": str(run.parent_task_run_id),
                "states": [state.name for state in states],
                "graph": graph,
                **await told_of(client, id, name),
            }
    return found


if __name__ == "__main__":
    answer = {}
    answer["tasks"] = told(state := tasks(return_state=True)) | {"value": state.result()}
    answer["retries"] = told(state := retries(return_state=True)) | {"value": state.result()}
    answer["task_tries"], answer["flow_tries"] = tries, flow_tries
    answer["raises"] = told(raises(return_state=True))
    answer["says_failed"] = told(says_failed(return_state=True))
    answer["parent"] = told(state := parent(return_state=True)) | {"value": state.result()}
    answer["more"] = told(state := more(return_state=True)) | {"value": state.result()}
    answer["read"] = asyncio.run(read_back({k: v["run"] for k, v in answer.items() if isinstance(v, dict)}))
    print("RESULT " + json.dumps(answer))
    sys.exit(0)
