"""Flows and tasks against the embedded server: what people see in the call is what the server has."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millrace import InlineTaskRunner, flow, get_run_logger, settings, tags, task, unmapped
from millrace.client.synchronous import Client
from millrace.engine.context import FlowRunContext
from millrace.engine.recorder import recorder
from millrace.errors import LeaseLost, ParameterError, RunCancelled, RunTimedOut
from millrace.schema.runs import FlowRun, FlowRunCreate, TaskRun
from millrace.schema.states import StateCreate, StateType, named


def last_run(client: Client, name: str) -> FlowRun:
    runs = client.read_flow_runs(flows={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_DESC", limit=1)
    return runs[0]


def task_runs(client: Client, run: FlowRun) -> dict[str, TaskRun]:
    found = client.read_task_runs(task_runs={"flow_run_id": {"any_": [run.id]}}, limit=200)
    return {one.name: one for one in found}


def log_lines(client: Client, run: FlowRun) -> list[str]:
    recorder().flush(logs=True)
    return [line.message for line in client.read_logs(logs={"flow_run_id": {"any_": [run.id]}}, limit=200)]


def names(client: Client, run: FlowRun) -> list[str | None]:
    return [state.name for state in client.read_flow_run_states(run.id)]


def test_a_flow_of_tasks(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    @task(tags=["sum"])
    def add(a: int, b: int = 1) -> int:
        print(f"adding {a}")
        return a + b

    @flow(name="sums", log_prints=True, flow_run_name="sums of {n}")
    def sums(n: int) -> Any:
        get_run_logger().warning("careful")
        first = add.submit(n)
        second = add.submit(first, b=add.submit([first][0]))
        return add(1), second, add.map([1, 2], unmapped(10)), {"in": [first]}

    with tags("nightly", "eu"):
        assert sums("4") == (2, 11, [11, 12], {"in": [5]})
    run = last_run(client, "sums")
    assert (run.name, run.parameters, run.tags, run.run_count) == ("sums of 4", {"n": 4}, ["nightly", "eu"], 1)
    assert (run.state_type, run.flow_version) == (StateType.COMPLETED, sums.version)
    assert names(client, run)[-2:] == ["Running", "Completed"]
    found = task_runs(client, run)
    assert sorted(found) == [f"add-{n}" for n in range(6)]
    assert {one.state_type for one in found.values()} == {StateType.COMPLETED}
    assert set(found["add-0"].tags) == {"nightly", "eu", "sum"}
    assert {one.id for one in found["add-2"].task_inputs["a"]} == {found["add-0"].id}
    lines = log_lines(client, run)
    assert "careful" in lines and "adding 4" in lines
    assert "Completed" in lines[-1]
    assert "adding 4" in capsys.readouterr().out


def test_an_async_flow(client: Client) -> None:
    @task
    async def later(n: int) -> int:
        await asyncio.sleep(0.01)
        return n + 1

    @task
    def now(n: int) -> int:
        return n * 10

    @flow(name="async")
    async def all_of(n: int) -> Any:
        both = await asyncio.gather(later(n), later(n + 1))
        return both, await now.submit(n), later.submit(n)

    assert asyncio.run(all_of(1)) == ([2, 3], 10, 2)
    assert last_run(client, "async").state_type is StateType.COMPLETED
    assert len(task_runs(client, last_run(client, "async"))) == 4


def test_flow_retries_are_decided_by_the_server(client: Client) -> None:
    calls: list[float] = []

    @flow(name="retried", retries=2, retry_delay_seconds=1)
    def retried() -> str:
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise ValueError("not yet")
        return "now"

    assert retried() == "now"
    assert calls[1] - calls[0] >= 0.9
    run = last_run(client, "retried")
    assert run.run_count == 3
    found = [name for name in names(client, run) if name in ("Running", "Retrying", "AwaitingRetry", "Completed")]
    assert found == ["Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"]


def test_the_users_own_exception(client: Client) -> None:
    class Mine(Exception): ...

    @flow(name="fails")
    def fails() -> None:
        raise Mine("at noon")

    with pytest.raises(Mine, match="at noon") as caught:
        fails()
    assert [entry.name for entry in caught.traceback][-1] == "fails"
    state = fails(return_state=True)
    assert (state.type, state.message) == (StateType.FAILED, "Mine: at noon")
    assert isinstance(state.result(raise_on_failure=False), Mine)
    run = last_run(client, "fails")
    assert (run.state_type, run.state and run.state.message) == (StateType.FAILED, "Mine: at noon")
    lines = "\n".join(log_lines(client, run))
    assert "Traceback" in lines and "millrace/engine" not in lines


def test_task_retries_and_states(client: Client) -> None:
    @task(retries=2, retry_delay_seconds=[0.05, 0.1])
    def flaky(box: list[int]) -> int:
        box.append(1)
        if len(box) < 3:
            raise OSError("gone")
        return len(box)

    @task
    def never(x: Any) -> None: ...

    @task
    def broken() -> None:
        raise ValueError("broken")

    @flow(name="task states")
    def steps() -> str:
        assert flaky([]) == 3
        upstream = broken.submit()
        after = never.submit(upstream)
        after.wait()
        assert after.state.name == "NotReady"
        assert broken(return_state=True).type is StateType.FAILED
        return "done"

    assert steps() == "done"
    found = task_runs(client, last_run(client, "task states"))
    assert (found["flaky-0"].state_type, found["flaky-0"].run_count) == (StateType.COMPLETED, 3)
    assert found["broken-0"].state_name == "Failed"
    assert found["never-0"].state_name == "NotReady"


def test_a_returned_failure_fails_the_flow(client: Client) -> None:
    @task
    def broken() -> None:
        raise ValueError("broken")

    @flow(name="returned failure")
    def returns() -> Any:
        return broken.submit()

    with pytest.raises(ValueError, match="broken"):
        returns()
    assert last_run(client, "returned failure").state_type is StateType.FAILED


def test_time_limits(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    @task(timeout_seconds=0.2)
    def slow_task() -> None:
        while True:
            time.sleep(0.01)

    @flow(name="slow", timeout_seconds=0.3)
    def slow() -> None:
        time.sleep(20)

    @flow(name="slow async", timeout_seconds=0.3)
    async def slow_async() -> None:
        await asyncio.sleep(20)

    @flow(name="slow tasks")
    def tasks() -> tuple[str | None, str | None]:
        states = [slow_task.submit(return_state=True), slow_task(return_state=True)]
        assert {state.message for state in states} == {"The task 'slow_task' took longer than its time limit of 0.2 s."}
        return states[0].name, states[1].name

    began = time.monotonic()
    with pytest.raises(RunTimedOut, match=r"^The flow 'slow' took longer than its time limit of 0\.3 s\.$") as caught:
        slow()
    assert any(frame.name == "slow" for frame in traceback.extract_tb(caught.tb))  # where it was
    line = slow.fn.__code__.co_firstlineno + 2
    assert f"Raised: RunTimedOut: {caught.value} (test_engine_runs.py:{line})" in capsys.readouterr().err
    with pytest.raises(TimeoutError, match=r"The flow 'slow async' took longer"):
        asyncio.run(slow_async())
    assert tasks() == ("TimedOut", "TimedOut")
    assert time.monotonic() - began < 10
    assert last_run(client, "slow").state_name == "TimedOut"
    assert last_run(client, "slow async").state_name == "TimedOut"


def test_a_flow_in_a_flow(client: Client) -> None:
    @flow(name="inner")
    def inner(n: int) -> int:
        return n * 2

    @flow(name="outer")
    def outer() -> int:
        return inner(2) + inner(3)

    assert outer() == 10
    parent = last_run(client, "outer")
    found = task_runs(client, parent)
    assert {name: one.state_name for name, one in found.items()} == {"inner-0": "Completed", "inner-1": "Completed"}
    children = client.read_flow_runs(flows={"name": {"any_": ["inner"]}})
    assert {run.parent_task_run_id for run in children} == {one.id for one in found.values()}


def test_a_kernel_interrupt_cancels(client: Client) -> None:
    @flow(name="interrupted")
    def sleeps() -> None:
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        time.sleep(20)

    @flow(name="interrupted async")
    async def sleeps_async() -> None:
        await asyncio.sleep(20)

    async def cancelled() -> None:
        work = asyncio.create_task(sleeps_async())
        await asyncio.sleep(0.5)
        work.cancel()
        await work

    with pytest.raises(KeyboardInterrupt):
        sleeps()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert last_run(client, "interrupted").state_type is StateType.CANCELLED
    assert last_run(client, "interrupted async").state_type is StateType.CANCELLED


def test_cancelling_from_elsewhere_stops_the_call(client: Client) -> None:
    @flow(name="cancelled")
    def sleeps() -> None:
        run = FlowRunContext.get()
        assert run is not None
        client.set_flow_run_state(run.flow_run.id, StateCreate(type=StateType.CANCELLING))
        time.sleep(60)

    began = time.monotonic()
    with pytest.raises(RunCancelled):
        sleeps()
    assert time.monotonic() - began < 15
    assert last_run(client, "cancelled").state_type is StateType.CANCELLED


def test_sys_exit_is_a_crash(client: Client) -> None:
    @flow(name="exits")
    def exits() -> None:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        exits()
    assert last_run(client, "exits").state_type is StateType.CRASHED


def test_hooks_see_the_run_and_change_nothing(client: Client) -> None:
    seen: list[tuple[str, str | None]] = []

    def note(flow: Any, flow_run: FlowRun, state: Any) -> None:
        seen.append((flow.name, state.name))

    async def anote(flow: Any, flow_run: FlowRun, state: Any) -> None:
        await asyncio.sleep(0)
        seen.append(("async", flow_run.state_name))

    def bad(flow: Any, flow_run: FlowRun, state: Any) -> None:
        raise RuntimeError("hook")

    @flow(name="hooked", on_running=[note], on_completion=[bad, note, anote], on_failure=[note])
    def hooked(fail: bool) -> int:
        if fail:
            raise ValueError
        return 1

    assert hooked(False) == 1
    assert seen == [("hooked", "Running"), ("hooked", "Completed"), ("async", "Completed")]
    assert "RuntimeError: hook" in "\n".join(log_lines(client, last_run(client, "hooked")))
    hooked(True, return_state=True)
    assert seen[-2:] == [("hooked", "Running"), ("hooked", "Failed")]


def claimed(client: Client, name: str, **fields: Any) -> FlowRun:
    made = client.create_flow(name=name)
    return client.create_flow_run(FlowRunCreate(flow_id=made.id, state=named("Pending"), **fields))


def test_a_claimed_run(client: Client) -> None:
    @flow(name="claimed", retries=1, log_prints=True)
    def work(day: datetime) -> dict[str, Any]:
        print("working")
        context = FlowRunContext.get()
        assert context is not None
        if context.running == 1:
            raise ValueError("once")
        return {"day": day, "share": 0.5}

    run = claimed(client, "claimed", parameters={"day": "2026-11-21T00:00:00Z"})
    state = work.run_claimed(run, None, client)
    assert state.type is StateType.COMPLETED
    stored = client.read_flow_run(run.id)
    assert stored.state is not None and stored.run_count == 2
    assert stored.state.result() == {"day": datetime(2026, 11, 21, tzinfo=UTC), "share": 0.5}
    assert [line for line in log_lines(client, run) if line == "working"] == ["working"] * 2


def test_a_claimed_run_with_wrong_parameters_fails(client: Client) -> None:
    @flow(name="claimed wrong")
    def work(n: int) -> None: ...

    run = claimed(client, "claimed wrong", parameters={"n": "x"})
    state = work.run_claimed(run, None, client)
    assert state.type is StateType.FAILED
    assert "got 'x'" in (state.message or "")
    with pytest.raises(ParameterError):
        state.result()  # type: ignore[attr-defined]


def test_a_claimed_async_run(client: Client) -> None:
    @flow(name="claimed async")
    async def work() -> object:
        await asyncio.sleep(0)
        return object()

    state = work.run_claimed(claimed(client, "claimed async"), None, client)
    assert (state.type, state.data) == (StateType.COMPLETED, None)


def test_a_result_that_must_be_kept_and_cannot(client: Client) -> None:
    @flow(name="keeps", persist_result=True)
    def keeps() -> object:
        return object()

    assert "cannot be stored as json" in str(keeps(return_state=True).message)


def test_another_attempt_takes_the_run_away(client: Client) -> None:
    @flow(name="lost")
    def lost() -> None:
        context = FlowRunContext.get()
        assert context is not None and context.lease is not None
        stale = context.lease.model_copy(update={"attempt": context.lease.attempt + 7})
        fenced = client.with_lease(stale)
        with pytest.raises(LeaseLost):
            fenced.set_flow_run_state(context.flow_run.id, StateCreate(type=StateType.COMPLETED))
        context.stoppable.stop(LeaseLost("another attempt has the run"))
        time.sleep(20)

    with pytest.raises(LeaseLost):
        lost()
    assert last_run(client, "lost").state_type is StateType.RUNNING  # its end is for the attempt that holds it


def test_leases_hold_while_the_run_lives(client: Client) -> None:
    @flow(name="leased")
    def leased() -> Any:
        context = FlowRunContext.get()
        assert context is not None and context.lease is not None
        return context.lease.expires

    expires = leased()
    assert expires - datetime.now(UTC) > timedelta(seconds=10)


def test_inline_tasks(client: Client) -> None:
    @task
    def where() -> str:
        return threading.current_thread().name

    @task
    async def awhere() -> int:
        return 1

    @flow(name="inline", task_runner=InlineTaskRunner())
    def inline() -> Any:
        return where.submit(), awhere.submit()

    assert inline() == (threading.current_thread().name, 1)


def test_threads_log_into_their_own_run(client: Client) -> None:
    @task
    def speak(n: int) -> None:
        get_run_logger().info("task %d", n)

    @flow(name="speaker")
    def speaker(n: int) -> None:
        speak.map([n] * 5).wait()

    threads = [threading.Thread(target=speaker, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in client.read_flow_runs(flows={"name": {"any_": ["speaker"]}}):
        said = {line for line in log_lines(client, run) if line.startswith("task ")}
        assert said == {f"task {run.parameters['n']}"}


def test_lines_reach_pythons_own_logging_too(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    @flow(name="plain logging")
    def plain() -> None:
        get_run_logger().info("seen by both")

    with caplog.at_level(logging.INFO):
        plain()
    assert "seen by both" in caplog.text


def test_the_spool_lies_in_the_run_directory(client: Client) -> None:
    @flow(name="spooled")
    def spooled() -> None:
        get_run_logger().info("kept")

    spooled()
    run = last_run(client, "spooled")
    recorder().flush(logs=True)
    directory = settings.current().run_directory(run.id)
    spool = directory / f"{run.attempt}.log.jsonl"
    assert "kept" in spool.read_text()
    assert int((directory / f"{run.attempt}.log.sent").read_text()) == spool.stat().st_size
    assert Path(spool).stat().st_mode & 0o077 == 0


def test_a_task_alone(client: Client) -> None:
    @task
    def alone(n: int) -> int:
        return n + 1

    assert alone(1) == 2
    assert alone.submit(2).result() == 3
    assert recorder().flush()
    found = client.read_task_runs(task_runs={"name": None}, limit=200)
    assert {one.state_name for one in found if one.task_key.startswith("alone-")} == {"Completed"}
