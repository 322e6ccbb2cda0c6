"""Following a run on a real server: all of it, once, to its end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from millrace.client import stream
from millrace.client.asynchronous import AsyncClient
from millrace.client.endpoint import Endpoint
from millrace.client.follow import Message, afollow, follow
from millrace.client.handle import RunHandle, StoppedWatching, outcome
from millrace.client.synchronous import Client
from millrace.errors import NotFound, RunCancelled, RunCrashed, RunFailed, RunTimedOut
from millrace.schema.events import Event, ReceivedEvent
from millrace.schema.fields import now
from millrace.schema.logs import LogCreate
from millrace.schema.runs import BeginRun, FlowRun, FlowRunCreate
from millrace.schema.states import SetState, StateCreate, named
from promises import Promise

from .conftest import TOKEN, Running, run_server

NOBODY = UUID("00000000-0000-0000-0000-000000000001")


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(Endpoint(running.url, None, TOKEN)) as found:
        yield found


def begin(client: Client) -> FlowRun:
    body = BeginRun(flow_name="followed", flow_run=FlowRunCreate(flow_id=NOBODY), holder="a test")
    return client.begin_flow_run(body).flow_run


def say(client: Client, run: FlowRun, *texts: str) -> None:
    client.create_logs(
        [LogCreate(name="x", level=20, message=text, timestamp=now(), flow_run_id=run.id) for text in texts]
    )


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def live(client: Client, run: FlowRun) -> Callable[[], None]:
    """A run that talks, works on a task and ends; its last line comes after its end."""

    def act() -> None:
        for number in range(5):
            say(client, run, f"line {number}")
            time.sleep(0.05)
        task = uuid4()
        resource = {
            "prefect.resource.id": f"prefect.task-run.{task}",
            "prefect.resource.name": "t-0",
            "prefect.state-type": "COMPLETED",
            "prefect.state-name": "Completed",
        }
        related = [{"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.role": "flow-run"}]
        state = {"type": "COMPLETED", "name": "Completed", "timestamp": now().isoformat(), "id": str(uuid4())}
        payload = {
            "validated_state": state,
            "task_run": {"name": "t-0", "task_key": "t", "dynamic_key": "0", "flow_run_id": str(run.id)},
        }
        client.create_events(
            [Event(event="prefect.task-run.Completed", resource=resource, related=related, payload=payload)]
        )
        client.set_flow_run_state(run.id, named("Completed"))
        time.sleep(0.2)
        say(client, run, "afterwards")

    return act


def texts(messages: list[Message]) -> list[str]:
    return [line.message for message in messages if isinstance(message, list) for line in message]


def names(messages: list[Message]) -> list[str]:
    return [message.event for message in messages if isinstance(message, ReceivedEvent)]


EXPECTED = [*(f"line {number}" for number in range(5)), "afterwards"]


def test_tells_all_of_a_run_and_ends(client: Client) -> None:
    run = begin(client)
    with meanwhile(live(client, run)):
        found = list(follow(client, run.id))
    assert texts(found) == EXPECTED
    assert names(found)[-1] == "prefect.flow-run.Completed"
    assert "prefect.task-run.Completed" in names(found)
    assert "prefect.flow-run.Running" in names(found)


def test_tells_a_run_that_is_over(client: Client) -> None:
    run = begin(client)
    live(client, run)()
    soon = Promise(3)
    found = list(follow(client, run.id))
    assert texts(found) == EXPECTED
    assert names(found)[-1] == "prefect.flow-run.Completed"
    soon.kept()


def test_tells_a_run_that_is_run_again_to_its_new_end(client: Client) -> None:
    run = begin(client)
    client.set_flow_run_state(run.id, named("Failed"))
    client.set_flow_run_state(run.id, SetState(state=named("Scheduled"), force=True))

    def again() -> None:
        time.sleep(2 * stream.SETTLE)  # nothing comes for longer than a run that has ended is listened to
        for name in ("Pending", "Running", "Completed"):
            client.set_flow_run_state(run.id, named(name))

    with meanwhile(again):
        found = list(follow(client, run.id))
    assert [name.rpartition(".")[2] for name in names(found)] == [
        *("Pending", "Running", "Failed", "Scheduled", "Pending", "Running", "Completed")
    ]


def test_async(running: Running, client: Client) -> None:
    run = begin(client)

    async def watch() -> list[Message]:
        async with AsyncClient(Endpoint(running.url, None, TOKEN)) as other:
            return [message async for message in afollow(other, run.id)]

    with meanwhile(live(client, run)):
        found = asyncio.run(watch())
    assert texts(found) == EXPECTED
    assert names(found)[-1] == "prefect.flow-run.Completed"


def test_an_async_follower_can_be_cancelled_at_once(running: Running, client: Client) -> None:
    run = begin(client)

    async def watch() -> float:
        async with AsyncClient(Endpoint(running.url, None, TOKEN)) as other:

            async def endless() -> None:
                async for _ in afollow(other, run.id):
                    pass

            task = asyncio.create_task(endless())
            await asyncio.sleep(0.5)
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - began

    assert asyncio.run(watch()) < 5  # not after the half minute in which the server says nothing


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_server_without_a_stream_is_asked(
    running: Running, client: Client, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    monkeypatch.setattr(stream, "PATH", "/millrace/not-there")
    run = begin(client)

    async def watch() -> list[Message]:
        async with AsyncClient(Endpoint(running.url, None, TOKEN)) as other:
            return [message async for message in afollow(other, run.id, poll=0.2)]

    with meanwhile(live(client, run)):
        found = list(follow(client, run.id, poll=0.2)) if colour == "sync" else asyncio.run(watch())
    assert texts(found) == EXPECTED
    assert names(found)[-1] == "prefect.flow-run.Completed"
    assert "prefect.task-run.Completed" in names(found)


def test_a_restarted_server_loses_and_repeats_nothing(tmp_path: Path) -> None:
    endpoint = Endpoint("http://localhost/api", str(tmp_path / "server.sock"), TOKEN)
    found: list[Message] = []
    with Client(endpoint) as client:
        with run_server(tmp_path, unix=True):
            run = begin(client)
            say(client, run, "before")
            thread = threading.Thread(target=lambda: found.extend(follow(client, run.id)))
            thread.start()
            time.sleep(0.5)
        (tmp_path / "server.sock").unlink(missing_ok=True)
        time.sleep(0.3)
        with run_server(tmp_path, unix=True):
            say(client, run, "after")
            client.set_flow_run_state(run.id, named("Completed"))
            thread.join(20)
            assert not thread.is_alive()
    assert texts(found) == ["before", "after"]
    assert names(found).count("prefect.flow-run.Completed") == 1


def test_an_unknown_run(client: Client) -> None:
    with pytest.raises(NotFound):
        list(follow(client, NOBODY))


# -- handles


def test_a_handle_waits(client: Client) -> None:
    run = begin(client)
    handle = RunHandle(run.id, client)
    assert repr(handle) == f"<RunHandle {run.name!r}: Running, id {run.id}>"
    with pytest.raises(TimeoutError, match="Running after"):
        handle.wait(timeout=0.2)
    say(client, run, "hello")
    with meanwhile(lambda: (time.sleep(0.2), client.set_flow_run_state(run.id, named("Completed")))[0]):
        assert handle.wait(timeout=10).state_name == "Completed"
    assert [line.message for line in handle.logs()] == ["hello"]
    with pytest.raises(NotFound, match="kept no result"):
        handle.result()


def test_a_handle_can_be_awaited(running: Running, client: Client) -> None:
    run = begin(client)
    client.set_flow_run_state(run.id, named("Completed"))

    async def wait() -> FlowRun:
        return await RunHandle(run, client)

    assert asyncio.run(wait()).state_name == "Completed"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (named("Failed", "boom"), RunFailed),
        (named("TimedOut", "slow"), RunTimedOut),
        (named("Crashed", "lost"), RunCrashed),
        (named("Cancelled", "stopped"), RunCancelled),
    ],
)
def test_a_result_is_an_error_if_the_run_was(client: Client, state: StateCreate, kind: type[Exception]) -> None:
    body = BeginRun(flow_name="followed", flow_run=FlowRunCreate(flow_id=NOBODY), holder="a test")
    begun = client.begin_flow_run(body)
    run = begun.flow_run
    client.with_lease(begun.lease).set_flow_run_state(run.id, state)
    with pytest.raises(kind, match=str(state.message)) as caught:
        RunHandle(run.id, client).result()
    assert type(caught.value) is kind
    assert outcome(client.read_flow_run(run.id)).__class__ is kind


def test_a_stored_result_is_read(client: Client, tmp_path: Path) -> None:
    run = begin(client)
    path = tmp_path / "r.json"
    path.write_text('{"metadata": {}, "result": "[1, 2]"}')
    state = named("Completed", data={"storage_key": str(path), "serializer": {"type": "json"}})
    client.set_flow_run_state(run.id, state)
    assert RunHandle(run.id, client).result() == [1, 2]
    path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        RunHandle(run.id, client).result()


def test_a_handle_cancels(client: Client) -> None:
    handle = RunHandle(begin(client), client)
    assert handle.cancel().name == "Cancelling"
    flow = client.create_flow(name="later")
    waiting = RunHandle(client.create_flow_run(flow_id=flow.id, state=named("Scheduled")), client)
    assert waiting.cancel().name == "Cancelled"
    assert waiting.cancel().name == "Cancelled"


def test_an_interrupt_ends_the_watching_only(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = RunHandle(begin(client), client)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(StoppedWatching):
        handle.wait()
    assert "goes on" in capsys.readouterr().out


def test_a_card_shows_text_as_text(client: Client) -> None:
    run = begin(client)
    client.set_flow_run_state(run.id, named("Failed", "<script>alert(1)</script>"))
    handle = RunHandle(run.id, client)
    assert "<script>" not in handle._repr_html_()
    assert "&lt;script&gt;" in handle._repr_html_()
