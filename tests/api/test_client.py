"""Both clients against a real server, and against one that misbehaves."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from millrace import errors
from millrace.client.asynchronous import AsyncClient
from millrace.client.endpoint import Endpoint
from millrace.client.synchronous import Client
from millrace.schema.deployments import DeploymentScheduleCreate
from millrace.schema.events import Event
from millrace.schema.fields import now
from millrace.schema.logs import LogCreate
from millrace.schema.operations import OPERATIONS
from millrace.schema.runs import BeginRun, FlowRunCreate
from millrace.schema.states import SetStateStatus, StateType, named, scheduled

from .conftest import TOKEN, Running
from .scripted import BUSY, HANG_UP, OK, Scripted, answer, scripted

NOBODY = UUID("00000000-0000-0000-0000-000000000001")


@pytest.fixture
def client(running: Running) -> Any:
    with Client(Endpoint(running.url, None, TOKEN)) as found:
        yield found


class Awaited:
    """A plain client in the clothes of the async one, so that one test body serves both; notes what was called."""

    def __init__(self, inner: Any, called: set[str]) -> None:
        self.inner = inner
        self.called = called

    def __getattr__(self, name: str) -> Callable[..., Any]:
        self.called.add(name)

        async def call(*args: Any, **fields: Any) -> Any:
            result = getattr(self.inner, name)(*args, **fields)
            return await result if asyncio.iscoroutine(result) else result

        return call


@asynccontextmanager
async def dressed(colour: str, endpoint: Endpoint, called: set[str]) -> AsyncIterator[Any]:
    if colour == "async":
        async with AsyncClient(endpoint) as client:
            yield Awaited(client, called)
    else:
        with Client(endpoint) as client:
            yield Awaited(client, called)


# -- every operation


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_tour_of_every_operation(running: Running, colour: str) -> None:
    called: set[str] = set()

    async def tour() -> None:
        async with dressed(colour, Endpoint(running.url, None, TOKEN), called) as client:
            await about_the_server(client)
            await about_automations(client)
            await about_slots(client)
            await about_tags(client)
            await about_runs(client, f"tour-{colour}")
            await about_deployments(client, f"tour-{colour}")
            await about_pools(client, f"pool-{colour}")
            await about_variables(client, f"tour-{colour}")
            await about_blocks(client, f"tour-{colour}")

    asyncio.run(tour())
    assert called == {operation.name for operation in OPERATIONS}


async def about_the_server(client: Any) -> None:
    assert await client.health() is True
    assert await client.ready() is True
    assert (await client.server_version()).startswith("3.")
    assert (await client.server_storage()).default_result_storage_block_id is None
    assert (await client.server_info()).features
    assert (await client.counters()).running >= 0
    assert (await client.read_collection("aggregate-worker-metadata"))["prefect"]["process"]["type"] == "process"


async def about_automations(client: Any) -> None:
    owner = f"prefect.deployment.{NOBODY}"
    fields = {"name": "a", "trigger": {"expect": ["x"]}, "actions": [{"type": "do-nothing"}]}
    made = await client.create_automation(**fields, owner_resource=owner)
    assert made.trigger.expect == {"x"}
    assert await client.read_automation(made.id) == made
    assert [one.id for one in await client.read_automations()] == [made.id]
    assert await client.count_automations() == 1
    await client.update_automation(made.id, **{**fields, "name": "b"})
    await client.patch_automation(made.id, enabled=False)
    (found,) = await client.read_related_automations(owner)
    assert (found.name, found.enabled) == ("b", False)
    await client.delete_owned_automations(owner)
    other = await client.create_automation(**fields)
    await client.delete_automation(other.id)
    assert await client.count_automations() == 0


async def about_slots(client: Any) -> None:
    assert await client.take_slots(names=["nobody's"], slots=1) == []
    assert (await client.lease_slots(names=["tag:nobody's"], slots=1)).limits == []
    made = await client.create_limit(name="gate", limit=2)
    await client.update_limit("gate", limit=3)
    taken = await client.lease_slots(names=["gate", "nobody's"], slots=2)
    assert [one.name for one in taken.limits] == ["gate"]
    await client.renew_slots(taken.lease_id)
    assert (await client.read_limit(str(made.id))).active_slots == 2
    assert [one.name for one in await client.read_limits()] == ["gate"]
    await client.return_slots(lease_id=taken.lease_id)
    await client.take_slots(names=["gate"], slots=1)
    await client.give_slots(names=["gate"], slots=1)
    assert (await client.read_limit("gate")).active_slots == 0
    await client.delete_limit("gate")


async def about_tags(client: Any) -> None:
    made = await client.create_tag_limit(tag="db", concurrency_limit=1)
    assert (await client.take_tag_slots(names=["db"], task_run_id=NOBODY))[0].name == "db"
    assert [str(id) for id in (await client.read_tag_limit("db")).active_slots] == [str(NOBODY)]
    await client.give_tag_slots(names=["db"], task_run_id=NOBODY)
    await client.reset_tag_limit("db")
    assert (await client.read_tag_limit_by_id(made.id)) == made
    assert await client.read_tag_limits() == [made]
    await client.delete_tag_limit("db")
    again = await client.create_tag_limit(tag="db", concurrency_limit=1)
    await client.delete_tag_limit_by_id(again.id)


async def about_runs(client: Any, name: str) -> None:
    flow = await client.create_flow(name=name, tags=["a", "a"])
    assert flow.tags == ["a"]
    assert (await client.read_flow(flow.id)) == (await client.read_flow_by_name(name))
    assert [found.id for found in await client.read_flows(flows={"name": {"any_": [name]}})] == [flow.id]

    run = await client.create_flow_run(flow_id=flow.id, parameters={"n": None}, state=named("Pending"))
    assert run.parameters == {"n": None}
    assert run.idempotency_key
    only = {"flow_runs": {"id": {"any_": [run.id]}}}
    assert [found.id for found in await client.read_flow_runs(**only, limit=5)] == [run.id]
    assert await client.count_flow_runs(**only) == 1
    await client.update_flow_run(run.id, tags=["x"])
    await client.label_flow_run(run.id, {"who": "me"})
    again = await client.read_flow_run(run.id)
    assert (again.tags, again.parameters, again.labels["who"]) == (["x"], {"n": None}, "me")
    result = await client.set_flow_run_state(run.id, named("Running"))
    assert result.status is SetStateStatus.ACCEPT
    await client.set_flow_run_state(run.id, state=named("Completed"), force=False)
    states = await client.read_flow_run_states(run.id)
    assert [state.type for state in states] == [StateType.PENDING, StateType.RUNNING, StateType.COMPLETED]

    assert [state.type for state in (await client.read_flow_run_graph(run.id)).states] == [s.type for s in states]

    task = await client.create_task_run(flow_run_id=run.id, task_key="t", dynamic_key="0", name="t-0")
    assert (await client.read_task_run(task.id)).name == "t-0"
    assert await client.count_task_runs(**only) == 1
    assert [found.id for found in await client.read_task_runs(**only)] == [task.id]
    await client.create_logs([LogCreate(name="x", level=20, message="hello", timestamp=now(), flow_run_id=run.id)])
    found = await client.read_logs(logs={"flow_run_id": {"any_": [run.id]}})
    assert [line.message for line in found] == ["hello"]
    event = Event(event="made.up", resource={"prefect.resource.id": f"made.up.{run.id}"})
    await client.create_events([event, event])
    page = await client.read_events(filter={"resource": {"id": [f"made.up.{run.id}"]}})
    assert [found.id for found in page.events] == [event.id]
    artifact = await client.create_artifact(key=name, type="markdown", data="# hi", flow_run_id=run.id)
    await client.update_artifact(artifact.id, description="words")
    assert (await client.read_artifacts(artifacts={"key": {"any_": [name]}}))[0].description == "words"
    assert (await client.read_latest_artifacts(artifacts={"key": {"any_": [name]}}))[0].latest_id == artifact.id

    about = {"artifacts": {"key": {"any_": [name]}}}
    assert await client.count_artifacts(**about) == await client.count_latest_artifacts(**about) == 1
    assert (await client.read_artifact(artifact.id)).id == (await client.read_latest_artifact(name)).id
    await client.delete_artifact(artifact.id)
    await client.keep_page(run.id, place="here:/executed.html", size=4, text="page")
    assert (await client.read_page(run.id)).text == "page"

    paused = await client.create_flow_run(flow_id=flow.id, state=named("Running"))
    await client.set_flow_run_state(paused.id, named("Paused"))
    await client.create_flow_run_input(paused.id, key="asked", value='"yes"')
    assert await client.read_flow_run_input(paused.id, "asked") == '"yes"'
    assert [one.key for one in await client.filter_flow_run_inputs(paused.id, prefix="ask")] == ["asked"]
    await client.delete_flow_run_input(paused.id, "asked")
    assert (await client.resume_flow_run(paused.id)).status is SetStateStatus.ACCEPT

    begun = await client.begin_flow_run(flow_name=name, flow_run=FlowRunCreate(flow_id=NOBODY), holder="me")
    pair = (begun.flow_run.id, begun.lease.attempt)
    assert (await client.extend_leases(leases=[pair])).extended == [begun.flow_run.id]
    await client.set_flow_run_state(begun.flow_run.id, named("Completed"))
    await client.delete_flow_run(run.id)
    await client.delete_flow(flow.id)
    with pytest.raises(errors.NotFound):
        await client.read_flow_run(run.id)


async def about_deployments(client: Any, name: str) -> None:
    await client.create_work_pool(name=name, type="process")
    flow = await client.create_flow(name=f"{name}-flow")
    deployment = await client.create_deployment(name="d", flow_id=flow.id, work_pool_name=name, entrypoint="f.py:f")
    both = [{"name": "d2", "flow_id": flow.id}, {"name": "d3", "flow_id": flow.id, "work_pool_name": "none"}]
    (second, refused) = (await client.create_deployments(deployments=both)).ids
    assert refused is None and (await client.read_deployment(second)).name == "d2"
    await client.delete_deployment(second)
    assert (await client.read_deployment(deployment.id)).name == "d"
    assert (await client.read_deployment_by_name(flow.name, "d")).id == deployment.id
    only = {"deployments": {"id": {"any_": [deployment.id]}}}
    assert [found.id for found in await client.read_deployments(**only)] == [deployment.id]
    assert await client.count_deployments(**only) == 1
    await client.update_deployment(deployment.id, description="words", parameters={"n": None})
    hourly = DeploymentScheduleCreate.model_validate({"schedule": {"interval": 3600}})
    (schedule,) = await client.create_deployment_schedules(deployment.id, [hourly])
    span = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T02:00:00Z"}
    await client.backfill_deployment(deployment.id, **span, dry_run=True)
    await client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    assert [found.active for found in await client.read_deployment_schedules(deployment.id)] == [False]
    await client.delete_deployment_schedule(deployment.id, schedule.id)
    assert await client.read_skipped_fires(deployment.id) == []
    await client.pause_deployment(deployment.id)
    assert (await client.read_deployment(deployment.id)).paused
    await client.resume_deployment(deployment.id)

    run = await client.create_flow_run_from_deployment(deployment.id, state=scheduled(now()), parameters={"n": 1})
    assert run.deployment_id == deployment.id
    due = await client.scheduled_runs_of_deployments(deployment_ids=[deployment.id], scheduled_before=now())
    assert run.id in [found.id for found in due]
    due = await client.scheduled_runs_of_pool(name, scheduled_before=now() + timedelta(seconds=10))
    assert run.id in [found.flow_run.id for found in due]
    await client.worker_heartbeat(name, name="w")
    (claimed,) = await client.claim_flow_runs(name, worker_name="w", wait_seconds=0.0)
    assert claimed.flow_run.id == run.id
    await client.release_lease(flow_run_id=run.id, attempt=claimed.lease.attempt)
    assert [worker.name for worker in await client.read_workers(name)] == ["w"]
    assert [(worker.name, worker.flow_runs) for worker in await client.read_busy_workers(name)] == [("w", [])]
    await client.delete_worker(name, "w")
    await client.delete_deployment(deployment.id)


async def about_pools(client: Any, name: str) -> None:
    pool = await client.create_work_pool(name=name, type="process", concurrency_limit=3)
    await client.update_work_pool(name, concurrency_limit=None)
    assert (await client.read_work_pool(name)).concurrency_limit is None
    assert pool.id in [found.id for found in await client.read_work_pools(limit=200)]
    assert (await client.work_pool_concurrency(name)).active_slots == 0
    queue = await client.create_work_queue(name, name="q/".strip("/"))
    assert (await client.read_work_queue(queue.id)) == (await client.read_work_queue_by_name(name, "q"))
    await client.update_work_queue(queue.id, description="words")
    assert "q" in [found.name for found in await client.read_work_queues(name)]
    assert (await client.read_work_queue_status(queue.id)).late_runs_count == 0
    await client.delete_work_queue(queue.id)
    await client.delete_work_pool(name)


async def about_variables(client: Any, name: str) -> None:
    made = await client.create_variable(name=name, value={"n": 1}, tags=["a"])
    assert (await client.read_variable(made.id)) == (await client.read_variable_by_name(name))
    only = {"variables": {"name": {"any_": [name]}}}
    assert [found.id for found in await client.read_variables(**only)] == [made.id]
    assert await client.count_variables(**only) == 1
    await client.update_variable(made.id, value=2)
    await client.update_variable_by_name(name, tags=["b"])
    again = await client.read_variable(made.id)
    assert (again.value, again.tags) == (2, ["b"])
    await client.delete_variable_by_name(name)
    other = await client.create_variable(name=name, value=None)
    await client.delete_variable(other.id)


async def about_blocks(client: Any, name: str) -> None:
    kind = await client.create_block_type(name=name, slug=name)
    await client.update_block_type(kind.id, description="words")
    assert (await client.read_block_type(kind.id)).description == "words"
    assert (await client.read_block_type_by_slug(name)).id == kind.id
    assert kind.id in [found.id for found in await client.read_block_types(block_types={"slug": {"any_": [name]}})]
    fields = {"title": name, "type": "object", "properties": {"x": {"type": "integer"}}, "secret_fields": []}
    schema = await client.create_block_schema(block_type_id=kind.id, fields=fields)
    assert (await client.read_block_schema(schema.id)) == (await client.read_block_schema_by_checksum(schema.checksum))
    assert schema.id in [found.id for found in await client.read_block_schemas()]
    made = await client.create_block_document(name="d", data={"x": 1}, block_schema_id=schema.id, block_type_id=kind.id)
    await client.update_block_document(made.id, data={"x": 2})
    assert (await client.read_block_document(made.id)).data == {"x": 2}
    assert (await client.read_block_document_by_name(name, "d")).id == made.id
    assert [found.id for found in await client.read_block_documents_of_type(name)] == [made.id]
    assert made.id in [found.id for found in await client.read_block_documents()]
    assert await client.count_block_documents() >= 1
    await client.delete_block_document(made.id)
    await client.delete_block_schema(schema.id)
    await client.delete_block_type(kind.id)


# -- errors


def test_errors_arrive_as_their_class(client: Client) -> None:
    with pytest.raises(errors.NotFound):
        client.read_flow_run(NOBODY)
    client.create_work_pool(name="twice")
    with pytest.raises(errors.AlreadyExists, match="twice"):
        client.create_work_pool(name="twice")
    with pytest.raises(errors.InvalidInput, match="limit"):
        client.read_flow_runs(limit=100_000)


def test_unknown_fields_are_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(errors.InvalidInput, match=r"create_flow has no field nmae; it has name, tags, labels"):
        client.create_flow(nmae="x")


def test_wrong_token(running: Running) -> None:
    with Client(Endpoint(running.url, None, "wrong")) as client, pytest.raises(errors.Unauthenticated):
        client.read_flows()


def test_a_lost_lease_stops_every_write(client: Client) -> None:
    begun = client.begin_flow_run(BeginRun(flow_name="fenced", flow_run=FlowRunCreate(flow_id=NOBODY), holder="me"))
    fenced = client.with_lease(begun.lease)
    line = LogCreate(name="x", level=20, message="m", timestamp=now(), flow_run_id=begun.flow_run.id)
    fenced.create_logs([line])
    stale = client.with_lease(begun.lease.model_copy(update={"attempt": begun.lease.attempt + 1}))
    with pytest.raises(errors.LeaseLost):
        stale.create_logs([line])
    with pytest.raises(errors.LeaseLost):
        stale.set_flow_run_state(begun.flow_run.id, named("Completed"))
    assert fenced.pool is client.pool


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (409, '{"detail": "gone", "code": "LeaseLost"}', errors.LeaseLost, "^gone$"),
        (409, '{"detail": "twice"}', errors.Conflict, "twice"),
        (404, '{"detail": "Not Found"}', errors.NotFound, "GET /api/health: Not Found"),
        (422, '{"detail": [{"loc": ["body", "name"], "msg": "Field required"}]}', errors.InvalidInput, "name: Field"),
        (422, '{"exception_detail": [{"loc": ["x"], "msg": "bad"}]}', errors.InvalidInput, "x: bad"),
        (422, '{"detail": "cron", "code": "ScheduleError"}', errors.ScheduleError, "cron"),
        (401, '{"detail": "no"}', errors.Unauthenticated, "no"),
        (403, '{"detail": "no"}', errors.NotAllowed, "no"),
        (413, '{"detail": "16 MiB"}', errors.TooLarge, "16 MiB"),
        (500, "<h1>oops</h1>", errors.MillraceError, "answered 500: Reason, and not in JSON. Is .* a Millrace server"),
        (501, "no\nway", errors.MillraceError, "answered 501: no way. Is 127.0.0.1:[0-9]+ a Millrace server"),
        (409, '{"detail": "x", "code": "MillraceError.__init__"}', errors.Conflict, "x"),
        (409, '{"detail": "x", "code": "annotations"}', errors.Conflict, "x"),
        (200, '"not a bool"', errors.MillraceError, "not what this version"),
    ],
)
def test_what_servers_say(status: int, body: str, kind: type[Exception], text: str) -> None:
    with scripted(answer(status, body)) as server, Client(server.endpoint) as client:
        with pytest.raises(kind, match=text) as caught:
            client.health()
        assert type(caught.value) is kind


def test_requests_are_not_in_the_log_of_whoever_turns_logging_on(
    running: Running, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client.health()
        httpx.get(running.url.removesuffix("/api") + "/elsewhere", trust_env=False)
    assert ["elsewhere" in record.getMessage() for record in caplog.records if record.name == "httpx"] == [True]


# -- trying again


def body_of(server: Scripted, number: int) -> Any:
    return json.loads(server.asked[number].partition(b"\r\n\r\n")[2])


def test_a_busy_server_is_asked_again() -> None:
    with scripted(BUSY, BUSY, OK) as server, Client(server.endpoint) as client:
        assert client.health()
        assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_an_error() -> None:
    with scripted(BUSY) as server, Client(server.endpoint, patience=0.3) as client:
        with pytest.raises(errors.Busy, match="busy") as caught:
            client.health()
        assert caught.value.retry_after == 0.05


def test_a_broken_read_is_repeated() -> None:
    with scripted(HANG_UP, OK) as server, Client(server.endpoint) as client:
        assert client.health()


def test_a_broken_write_that_would_be_done_twice_is_not_repeated() -> None:
    with scripted(HANG_UP, answer(201, "{}")) as server, Client(server.endpoint) as client:
        with pytest.raises(errors.ServerUnavailable):
            client.create_artifact(key="x")
        assert len(server.asked) == 1


def test_repeated_writes_carry_the_same_ids() -> None:
    with scripted(HANG_UP, answer(201, "null")) as server, Client(server.endpoint) as client:
        client.create_logs([LogCreate(name="x", level=20, message="m", timestamp=now())])
        assert body_of(server, 0) == body_of(server, 1)
        assert UUID(body_of(server, 0)[0]["id"])
    reply = json.dumps({"state": None, "status": "ABORT", "details": {"type": "abort_details"}})
    with scripted(HANG_UP, answer(201, reply)) as server, Client(server.endpoint) as client:
        client.set_flow_run_state(uuid4(), named("Running"))
        assert UUID(body_of(server, 0)["state"]["state_details"]["transition_id"])
        assert body_of(server, 0) == body_of(server, 1)


def test_a_second_delete_that_finds_nothing_has_done_it() -> None:
    with scripted(HANG_UP, answer(404, "{}")) as server, Client(server.endpoint) as client:
        client.delete_flow_run(uuid4())
        assert len(server.asked) == 2
    with scripted(answer(404, "{}")) as server, Client(server.endpoint) as client, pytest.raises(errors.NotFound):
        client.delete_flow_run(uuid4())


def test_a_server_that_wants_no_ids_of_lines_gets_none() -> None:
    with scripted(answer(422, '{"detail": "extra"}'), answer(201, "null")) as server, Client(server.endpoint) as client:
        for _ in range(2):
            client.create_logs([LogCreate(name="x", level=20, message="m", timestamp=now())])
        assert ["id" in body_of(server, number)[0] for number in range(3)] == [True, False, False]


def test_an_update_sends_only_what_was_given_and_nulls_too() -> None:
    with scripted(answer(204, "")) as server, Client(server.endpoint) as client:
        client.update_work_pool("p q", concurrency_limit=None)
        assert body_of(server, 0) == {"concurrency_limit": None}
        assert server.lines == ["PATCH /api/work_pools/p%20q"]


def test_nobody_there_says_what_to_do(tmp_path: Any) -> None:
    place = Endpoint("http://localhost/api", str(tmp_path / "none.sock"))
    with Client(place, patience=0.2) as client, pytest.raises(errors.ServerUnavailable, match="millrace up"):
        client.health()
    place = Endpoint("http://127.0.0.1:9/api", origin="MILLRACE_API_URL")
    with Client(place, patience=0.0) as client, pytest.raises(errors.ServerUnavailable, match="MILLRACE_API_URL"):
        client.health()


# -- threads, loops, forks


def test_many_threads_share_a_client(client: Client) -> None:
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(client.health())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20


def test_an_async_client_survives_its_loop(running: Running) -> None:
    client = AsyncClient(Endpoint(running.url, None, TOKEN))

    async def ask() -> list[bool]:
        return await asyncio.gather(*(client.health() for _ in range(5)))

    async def last() -> None:
        await client.health()
        await client.aclose()

    assert asyncio.run(ask()) == [True] * 5
    assert asyncio.run(ask()) == [True] * 5
    asyncio.run(last())


def test_a_fork_opens_connections_of_its_own(client: Client) -> None:
    client.health()
    inherited = client.pool._client()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if client.health() and client.pool._client() is not inherited else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.health()
    assert client.pool._client() is inherited
