"""Pausing and resuming runs that are called here, with what is asked and answered."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from millrace import (
    FlowRunContext,
    RunInput,
    apause_flow_run,
    aresume_flow_run,
    flow,
    pause_flow_run,
    resume_flow_run,
    suspend_flow_run,
    task,
)
from millrace.client.handle import RunHandle
from millrace.client.synchronous import Client
from millrace.errors import InvalidInput, MissingContext, NotPaused, PauseTimedOut, RunCancelled, StateRefused
from millrace.input import receive_input, send_input
from millrace.schema.runs import FlowRun
from millrace.schema.states import State, StateType


def runs_of(client: Client, name: str) -> list[FlowRun]:
    return client.read_flow_runs(flows={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_DESC", limit=5)


def names(client: Client, run: FlowRun) -> list[str | None]:
    return [state.name for state in client.read_flow_run_states(run.id)]


def until_paused(client: Client, name: str, key: str | None = None) -> FlowRun:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in runs_of(client, name):
            if run.state is not None and run.state.is_paused() and key in (None, run.state.state_details.pause_key):
                asks = run.state.state_details.run_input_keyset
                if not asks or client.filter_flow_run_inputs(run.id, prefix=asks["schema"]):
                    return run
        time.sleep(0.05)
    raise AssertionError(f"no run of {name} is paused: {runs_of(client, name)}")


class Meanwhile:
    """Does something in a thread, and raises at the end what went wrong there."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work, self._error = work, None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error  # type: ignore[assignment]

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(90)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def test_a_paused_flow_goes_on_where_it_stood(client: Client) -> None:
    @task
    def count(n: int) -> int:
        return n

    @flow(name="stands")
    def stands() -> list[int]:
        first = count(1)
        assert pause_flow_run() is None
        return [first, count(2)]

    def resume() -> None:
        run = until_paused(client, "stands")
        assert run.state is not None and run.state.state_details.pause_timeout is not None
        resume_flow_run(run.id)
        with pytest.raises(NotPaused, match="only a paused run"):
            resume_flow_run(run.id)

    with Meanwhile(resume):
        assert stands() == [1, 2]
    [run] = runs_of(client, "stands")
    assert names(client, run)[-4:] == ["Running", "Paused", "Running", "Completed"]
    assert run.run_count == 1


class Approval(RunInput):
    approved: bool
    remark: str = "none"


class Place(BaseModel):
    city: str


@pytest.mark.parametrize(
    ("label", "asked", "given", "got"),
    [
        ("input", Approval, {"approved": True}, {"approved": True, "remark": "none"}),
        ("initial", Approval.with_initial_data("Fine?", remark="so so"), {"approved": False}, {"remark": "so so"}),
        ("int", int, {"value": 3}, 3),
        ("list", list[int], {"value": [1, 2]}, [1, 2]),
        ("model", Place, {"city": "Olten"}, {"city": "Olten"}),
        ("maybe", int | None, {"value": None}, None),
    ],
)
def test_a_flow_gets_what_it_asked_for(client: Client, label: str, asked: Any, given: Any, got: Any) -> None:
    name = f"asks-{label}"

    @flow(name=name)
    def asks() -> Any:
        return pause_flow_run(wait_for_input=asked, timeout=60)

    def resume() -> None:
        run = until_paused(client, name)
        for wrong in (None, {"no such": 1}):
            with pytest.raises(StateRefused, match="Input"):
                resume_flow_run(run.id, wrong)
            assert RunHandle(run.id).state.is_paused()
        resume_flow_run(run.id, given)

    with Meanwhile(resume):
        answer = asks()
    if isinstance(got, dict):
        answer = {field: getattr(answer, field) for field in got}
    assert answer == got
    if label == "initial":
        [run] = runs_of(client, name)
        assert client.read_flow_run_input(run.id, "paused-1-description") == '"Fine?"'


def test_async_flows_pause_without_stopping_the_loop(client: Client) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.02)

    @flow(name="loop")
    async def loop() -> Any:
        ticking = asyncio.create_task(tick())
        first = await apause_flow_run(wait_for_input=int, key="first")
        second = await apause_flow_run(wait_for_input=str, key="second")
        ticking.cancel()
        return first, second

    async def both() -> Any:
        async def resume() -> None:
            for key, value in (("first", 1), ("second", "b")):
                run = await asyncio.to_thread(until_paused, client, "loop", key)
                await aresume_flow_run(run.id, {"value": value})

        return (await asyncio.gather(loop(), resume()))[0]

    assert asyncio.run(both()) == (1, "b")
    assert max(b - a for a, b in pairwise(ticks)) < 3


def test_a_pause_that_nobody_ends_fails_the_run(client: Client) -> None:
    @flow(name="waits")
    def waits() -> None:
        pause_flow_run(timeout=0.3, poll_interval=0.1)

    with pytest.raises(PauseTimedOut, match="nobody resumed it within"):
        waits()
    [run] = runs_of(client, "waits")
    assert (run.state_type, run.run_count) == (StateType.FAILED, 1)
    with pytest.raises(NotPaused):
        resume_flow_run(run.id)


def test_a_retried_flow_asks_again(client: Client) -> None:
    tries: list[int] = []

    @flow(name="again", retries=1)
    def again() -> int:
        value: int = pause_flow_run(wait_for_input=int)
        tries.append(value)
        if len(tries) == 1:
            raise ValueError("not that one")
        return value

    def resume() -> None:
        first = until_paused(client, "again")
        resume_flow_run(first.id, {"value": 1})
        deadline = time.monotonic() + 60
        while names(client, first).count("Paused") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        resume_flow_run(until_paused(client, "again").id, {"value": 2})

    with Meanwhile(resume):
        assert again() == 2
    assert tries == [1, 2]


def test_a_paused_flow_is_cancelled(client: Client) -> None:
    @flow(name="unwanted")
    def unwanted() -> None:
        pause_flow_run()

    with Meanwhile(lambda: RunHandle(until_paused(client, "unwanted").id).cancel()), pytest.raises(RunCancelled):
        unwanted()
    [run] = runs_of(client, "unwanted")
    assert run.state_type is StateType.CANCELLED


@pytest.mark.parametrize("colour", ["def", "async def"])
def test_a_paused_flow_is_cancelled_with_its_processes(client: Client, colour: str) -> None:
    name, started = f"unwanted {colour}", []

    def start() -> None:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]))

    def body() -> None:
        start()
        pause_flow_run()

    async def abody() -> None:
        start()
        await apause_flow_run()

    made: Any = flow(name=name)(body if colour == "def" else abody)  # type: ignore[arg-type]
    with Meanwhile(lambda: RunHandle(until_paused(client, name).id).cancel()), pytest.raises(RunCancelled):
        made() if colour == "def" else asyncio.run(made())
    try:
        started[0].wait(30)
    finally:
        started[0].kill()
    assert runs_of(client, name)[0].state_type is StateType.CANCELLED


def test_a_run_without_a_deployment_is_paused_but_not_suspended(client: Client) -> None:
    @flow(name="called")
    def called() -> None:
        suspend_flow_run()

    with pytest.raises(StateRefused, match="without a deployment"):
        called()
    assert runs_of(client, "called")[0].state_type is StateType.FAILED


def test_pausing_is_for_flows(client: Client) -> None:
    for function in (pause_flow_run, suspend_flow_run):
        with pytest.raises(MissingContext, match="within a flow"):
            function()

    @flow(name="odd")
    def odd() -> None:
        pause_flow_run(wait_for_input=int, key="not allowed")

    with pytest.raises(InvalidInput, match="letters, digits and dashes"):
        odd()

    @task
    def suspends() -> None:
        suspend_flow_run()

    @flow(name="in-task")
    def in_task() -> State:
        return suspends(return_state=True)  # type: ignore[no-any-return]

    with pytest.raises(StateRefused, match="task"):
        in_task()


class Greeting(RunInput):
    text: str


def test_runs_send_each_other_messages(client: Client) -> None:
    @flow(name="listens")
    def listens() -> list[Any]:
        heard: list[Any] = []
        for greeting in Greeting.receive(timeout=20, poll_interval=0.2):
            heard.append(greeting.text)
            greeting.respond(len(heard))
            if len(heard) == 2:
                break
        return heard

    @flow(name="speaks")
    def speaks(to: UUID) -> list[int]:
        numbers = receive_input(int, timeout=20, poll_interval=0.2)
        answers = []
        for word in ("hello", "bye"):
            Greeting(text=word).send_to(to)
            answers.append(numbers.next())
        return answers

    heard: list[Any] = []
    listening = threading.Thread(target=lambda: heard.extend(listens()))
    listening.start()
    deadline = time.monotonic() + 60
    while not runs_of(client, "listens"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert speaks(runs_of(client, "listens")[0].id) == [1, 2]
    listening.join(60)
    assert heard == ["hello", "bye"]


def test_a_loop_over_messages_ends_when_none_comes(client: Client) -> None:
    @flow(name="silence")
    def silence(strict: bool) -> list[Any]:
        return list(receive_input(int, timeout=0.2, poll_interval=0.1, raise_timeout_error=strict))

    assert silence(False) == []
    with pytest.raises(TimeoutError, match="No message came"):
        silence(True)

    @flow(name="full")
    def full() -> list[Any]:
        context = FlowRunContext.get()
        assert context is not None
        for number in (1, 2):
            send_input(number, context.flow_run.id)
        return list(receive_input(int, timeout=0.2, poll_interval=0.1))

    assert full() == [1, 2]
