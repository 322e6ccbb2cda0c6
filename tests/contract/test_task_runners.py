"""One body for every task runner: in threads, in processes, in place, on a Dask cluster with workers of its own."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from runners_made import ELSEWHERE, MAKE

from millrace import (
    Completed,
    DaskTaskRunner,
    FlowRunContext,
    InlineTaskRunner,
    ProcessPoolTaskRunner,
    Secret,
    TaskRunContext,
    ThreadPoolTaskRunner,
    as_completed,
    concurrency,
    flow,
    get_run_logger,
    runtime,
    tags,
    task,
    unmapped,
)
from millrace.client.synchronous import Client
from millrace.engine.recorder import recorder
from millrace.engine.runners import TaskRunner
from millrace.errors import (
    AlreadyExists,
    CannotTravel,
    RunCancelled,
    RunFailed,
    RunTimedOut,
    UpstreamFailed,
    WorkerDied,
)
from millrace.schema.runs import FlowRun, TaskRun
from millrace.schema.states import StateType

pytestmark = [
    pytest.mark.timeout(300),
    # Dask: a worker that was killed on purpose leaves its sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def kind_of(runner: TaskRunner) -> str:
    return str(runner.kind)  # type: ignore[attr-defined]


def run_of(client: Client, name: str) -> FlowRun:
    runs = client.read_flow_runs(flows={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_DESC", limit=1)
    return runs[0]


def task_runs(client: Client, run: FlowRun) -> list[TaskRun]:
    recorder().flush()
    return client.read_task_runs(task_runs={"flow_run_id": {"any_": [run.id]}}, limit=200)


class Mine(Exception):
    """Cannot be made again from its `args`."""

    def __init__(self, where: str, number: int) -> None:
        super().__init__(f"{where} {number}")
        self.where, self.number = where, number


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def process_id(_: int = 0) -> int:
    return os.getpid()


# -- values


def test_submit_and_map(runner: TaskRunner) -> None:
    @flow(task_runner=runner)
    def sums() -> Any:
        first = add.submit(1)
        mapped = add.map([1, 2, 3], unmapped(10))
        return first.result(), mapped.result(), add.map(mapped, b=[1, 2, 3]).result(), add.submit(a=5, b=6).result()

    assert sums() == (2, [11, 12, 13], [12, 14, 16], 11)


def test_dependencies_in_nested_collections(runner: TaskRunner) -> None:
    @task
    def shape(thing: dict[str, Any], pair: tuple[int, int]) -> Any:
        return thing["list"][1], thing["dict"]["x"], sorted(thing["set"]), pair

    @flow(task_runner=runner)
    def nested() -> Any:
        one, two = add.submit(0), add.submit(1)
        return shape.submit({"list": [0, one], "dict": {"x": two}, "set": {one, 7}}, (one, two)).result()

    assert nested() == (1, 2, [1, 7], (1, 2))


def test_the_order_of_results_is_that_of_the_calls(runner: TaskRunner) -> None:
    @task
    def later(n: int) -> int:
        time.sleep(0.02 * (5 - n))
        return n

    @flow(task_runner=runner)
    def ordered() -> Any:
        futures = later.map(range(5))
        return {one.result() for one in as_completed(futures)}, futures.result()

    assert ordered() == ({0, 1, 2, 3, 4}, [0, 1, 2, 3, 4])


def test_wait_for(runner: TaskRunner, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")

    @task
    def write() -> None:
        time.sleep(0.2)
        Path(mark).write_text("there")

    @task
    def read() -> str:
        return Path(mark).read_text()

    @flow(task_runner=runner)
    def chained() -> str:
        return read.submit(wait_for=[write.submit()]).result()

    assert chained() == "there"


def test_large_arguments_and_results(runner: TaskRunner) -> None:
    @task
    def double(data: bytes) -> bytes:
        return data + data

    block = os.urandom(10_000_000)

    @flow(task_runner=runner)
    def large() -> bytes:
        return double.submit(block).result()

    assert large() == block + block


def test_coroutines(runner: TaskRunner) -> None:
    @task
    async def later(n: int) -> int:
        await asyncio.sleep(0.01)
        return n + 1

    @flow(task_runner=runner)
    def plain() -> Any:
        return later.map([1, 2, later.submit(2).result()]).result()

    @flow(task_runner=runner)
    async def awaiting() -> Any:
        return await later.submit(1), [await one for one in later.map([1, 2])], await add.submit(later.submit(5))

    assert plain() == [2, 3, 4]
    assert asyncio.run(awaiting()) == (2, [2, 3], 7)


def test_generators_give_lists(runner: TaskRunner) -> None:
    @task
    def upto(n: int) -> Iterator[int]:
        yield from range(n)

    @task
    async def aupto(n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @flow(name="lists of items", task_runner=runner)
    def work() -> Any:
        return upto.submit(3).result(), upto.map([1, 2]).result(), aupto.submit(3).result(), list(upto(2))

    assert work() == ([0, 1, 2], [[0], [0, 1]], [0, 1, 2], [0, 1])


def test_tasks_run_where_the_runner_says(runner: TaskRunner) -> None:
    @flow(task_runner=runner)
    def where() -> set[int]:
        return set(process_id.map(range(8)).result())

    found = where()
    if kind_of(runner) in ELSEWHERE:
        assert os.getpid() not in found and len(found) <= 2
    else:
        assert found == {os.getpid()}


def test_a_task_submits_tasks_of_the_same_flow_run(runner: TaskRunner, client: Client) -> None:
    @task
    def leaf(n: int) -> int:
        return n * 2

    @task
    def branch(n: int) -> int:
        return leaf(n) + sum(leaf.map([n, n]).result())

    @flow(name="branches", task_runner=runner)
    def branches() -> Any:
        return branch.map([1, 2, 3]).result()

    assert branches() == [6, 12, 18]
    found = task_runs(client, run_of(client, "branches"))
    assert len(found) == 12 and {one.state_type for one in found} == {StateType.COMPLETED}


@pytest.mark.parametrize("kind", [ThreadPoolTaskRunner, ProcessPoolTaskRunner, InlineTaskRunner])
@pytest.mark.timeout(120)
def test_few_places_are_enough_for_tasks_that_map_tasks(kind: Any, client: Client) -> None:
    @task
    def leaf(n: int) -> int:
        return n + 1

    @task
    def branch(how: str) -> list[int]:
        if how == "result":
            return leaf.map([1, 2, 3]).result()
        return sorted(future.result() for future in as_completed(leaf.map([1, 2, 3])))

    few = InlineTaskRunner() if kind is InlineTaskRunner else kind(max_workers=1)

    @flow(name="few places", task_runner=few)
    def few_places(how: str) -> list[int]:
        return branch.submit(how).result(timeout=60)

    assert [few_places("result"), few_places("as_completed")] == [[2, 3, 4]] * 2


def test_without_a_flow(runner: TaskRunner) -> None:
    assert runner.submit(add, {"a": 1, "b": 2}).result() == 3
    assert runner.map(add, {"a": [1, 2], "b": unmapped(5)}).result() == [6, 7]


def test_a_state_decides(runner: TaskRunner) -> None:
    @task
    def says() -> Any:
        return Completed(data=3, message="by hand", name="Good")

    @flow(task_runner=runner)
    def asked() -> Any:
        future = says.submit()
        return future.result(), future.state.name, add.submit(1, return_state=True).result()

    assert asked() == (3, "Good", 2)


# -- failures


def test_failures_keep_type_text_and_attributes(runner: TaskRunner, client: Client) -> None:
    class Local(ValueError): ...

    @task
    def fails(how: int) -> None:
        if how == 0:
            raise Local("of this function")
        raise Mine("here", how)

    @flow(name="failures", task_runner=runner)
    def failures() -> Any:
        first, second = fails.submit(0), fails.submit(2)
        after = add.submit(first)
        with pytest.raises(Local, match="of this function") as caught:
            first.result()
        with pytest.raises(UpstreamFailed, match="'fails-0' did not complete: Failed") as upstream:
            after.result()
        assert upstream.value.__cause__ is caught.value
        return caught.value, second.result(raise_on_failure=False), after.state.name

    local, mine, name = failures()
    assert type(local) is Local and type(mine) is Mine
    assert (mine.where, mine.number, str(mine)) == ("here", 2, "here 2")
    assert name == "NotReady"
    recorder().flush(logs=True)
    run = run_of(client, "failures")
    text = "\n".join(line.message for line in client.read_logs(logs={"flow_run_id": {"any_": [run.id]}}, limit=200))
    assert 'raise Mine("here", how)' in text and "in fails" in text
    states = {one.state.message for one in task_runs(client, run) if one.state and one.state.type is StateType.FAILED}
    assert states == {"Local: of this function", "Mine: here 2"}


def test_failures_tell_the_users_line(runner: TaskRunner, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    @task
    def reads(text: str) -> Any:
        try:
            return json.loads(text)  # this line: json's exceptions lose what is added to them on their way
        except json.JSONDecodeError as error:
            if text == "{":
                raise
            raise LookupError("no document") from error

    @flow(name="lines", task_runner=runner)
    def lines() -> Any:
        first, second = reads.submit("{"), reads.submit("[")
        return first.result(raise_on_failure=False), second.result(raise_on_failure=False)

    bad, caused = lines()
    assert type(caused) is LookupError and type(caused.__cause__) is json.JSONDecodeError
    source = Path(__file__).read_text().splitlines()
    number = next(number for number, line in enumerate(source, 1) if "# this line" in line)
    told = capsys.readouterr().err
    assert f"Failed: JSONDecodeError: {bad} (test_task_runners.py:{number})" in told
    assert f"Failed: LookupError: no document (test_task_runners.py:{number + 4})" in told
    recorder().flush(logs=True)
    run = run_of(client, "lines")
    logs = [line.message for line in client.read_logs(logs={"flow_run_id": {"any_": [run.id]}}, limit=200)]
    first, second = sorted((text for text in logs if text.startswith("Failed")), key=lambda text: "LookupError" in text)
    assert first.count("Traceback") == 1 and "return json.loads(text)" in first
    assert second.count("Traceback") == 2 and "direct cause" in second and "return json.loads(text)" in second


def test_retries(runner: TaskRunner, client: Client, tmp_path: Path) -> None:
    counter = str(tmp_path / "count")

    @task(retries=3, retry_delay_seconds=[0, 0.1, 0])
    def flaky() -> int:
        context = TaskRunContext.get()
        assert context is not None
        with open(counter, "a") as file:
            file.write("x")
        if len(Path(counter).read_text()) < 3:
            raise OSError("not yet")
        return context.run_count

    @flow(name="retries", task_runner=runner)
    def tried() -> int:
        return flaky.submit().result()

    assert tried() == 3
    (found,) = task_runs(client, run_of(client, "retries"))
    assert (found.run_count, found.state_name) == (3, "Completed")


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_a_time_limit(runner: TaskRunner, client: Client, colour: str) -> None:
    @task(timeout_seconds=0.3)
    def spins() -> None:
        while True:
            time.sleep(0.01)

    @task(timeout_seconds=0.3)
    async def sleeps() -> None:
        await asyncio.sleep(60)

    @flow(name="limits", task_runner=runner)
    def limited() -> Any:
        future = (spins if colour == "plain" else sleeps).submit()
        with pytest.raises(RunTimedOut, match=r"0\.3 s"):
            future.result()
        return future.state.name, add.submit(1).result()

    began = time.monotonic()
    assert limited() == ("TimedOut", 2)
    assert time.monotonic() - began < 20
    assert "TimedOut" in {one.state_name for one in task_runs(client, run_of(client, "limits"))}


def test_a_stopped_flow_stops_its_tasks(runner: TaskRunner, client: Client, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    path = str(beats)

    @task
    def lives() -> None:
        while True:
            with open(path, "a") as file:
                file.write("x")
            time.sleep(0.02)

    @flow(name="stopped", task_runner=runner, timeout_seconds=3)
    def stopped() -> None:
        lives.submit().result()

    with pytest.raises(RunTimedOut):
        stopped()
    size = beats.stat().st_size
    assert size
    time.sleep(0.5)
    assert beats.stat().st_size == size
    (found,) = task_runs(client, run_of(client, "stopped"))
    assert found.state_type is StateType.CANCELLED


# -- what belongs to the run


def test_logs_and_prints_belong_to_their_task(
    runner: TaskRunner, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    @task
    def speaks(n: int) -> UUID:
        print(f"printed {n}")
        get_run_logger().warning("logged %d", n)
        logging.getLogger("millrace.task_runs").error("by name %d", n)
        context = TaskRunContext.get()
        assert context is not None
        return context.id

    @flow(name="speaking", task_runner=runner, log_prints=True)
    def speaking() -> Any:
        return speaks.map([1, 2]).result()

    ids = speaking()
    recorder().flush(logs=True)
    run = run_of(client, "speaking")
    lines = client.read_logs(logs={"flow_run_id": {"any_": [run.id]}}, limit=200)
    for number, one in zip((1, 2), ids, strict=True):
        mine = [(line.message, line.level) for line in lines if line.task_run_id == one]
        wanted = [(f"printed {number}", 20), (f"logged {number}", 30), (f"by name {number}", 40)]
        assert [line for line in mine if line in wanted] == wanted
    seen = capsys.readouterr()
    assert seen.out.count("printed 1") == 1
    if kind_of(runner) in ELSEWHERE:
        assert (seen.out + seen.err).count("logged 1") == 1


def test_a_task_calls_a_flow(runner: TaskRunner, client: Client) -> None:
    @flow(name="within")
    def within(n: int) -> int:
        get_run_logger().warning("from within")
        return add(n)

    @task
    def calls(n: int) -> int:
        return within(n)

    @flow(name="around", task_runner=runner)
    def around() -> int:
        return calls.submit(5).result()

    assert around() == 6
    recorder().flush(logs=True)
    inner, outer = run_of(client, "within"), run_of(client, "around")
    assert inner.state_type is StateType.COMPLETED
    assert inner.parent_task_run_id in {one.id for one in task_runs(client, outer)}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = client.read_logs(logs={"flow_run_id": {"any_": [inner.id]}}, limit=50)
        if "from within" in {line.message for line in lines}:
            return
        time.sleep(0.1)
    raise AssertionError("the line did not arrive")


def test_the_contexts_are_there(runner: TaskRunner, client: Client) -> None:
    @task(task_run_name="of {x}", tags=["own"])
    def looks(x: int, y: int = 5) -> Any:
        run, mine = FlowRunContext.get(), TaskRunContext.get()
        assert run is not None and mine is not None
        assert runtime.flow_run.id == str(run.flow_run.id) and runtime.flow_run.parameters == {"n": 3}
        assert runtime.task_run.id == str(mine.id) and runtime.task_run.name == "of 3"
        return run.flow_run.id, run.flow.name, run.flow_run.parameters, mine.name, mine.parameters, mine.task.name

    @flow(name="looking", task_runner=runner)
    def looking(n: int) -> Any:
        with tags("outer"):
            return looks.submit(n).result()

    found = looking(3)
    run = run_of(client, "looking")
    assert found == (run.id, "looking", {"n": 3}, "of 3", {"x": 3, "y": 5}, "looks")
    (recorded,) = task_runs(client, run)
    assert set(recorded.tags) == {"own", "outer"}


@pytest.mark.parametrize("limited", [concurrency, importlib.import_module("millrace.concurrency")])
def test_secrets_and_slots_are_there(runner: TaskRunner, client: Client, limited: Any) -> None:
    database = f"database-{kind_of(runner)}"
    with suppress(AlreadyExists):
        client.create_limit(name=database, limit=1)
    Secret("hunter22").save("db", overwrite=True)

    @task(log_prints=True)
    def connects(loaded: Secret, named: Secret) -> list[str]:
        with limited(database):
            print(f"with {loaded.get()}")
            return [loaded.get(), named.get()]

    @flow(task_runner=runner)
    def job() -> list[str]:
        return connects.submit(Secret.load("db"), Secret.named("db")).result()

    assert job() == ["hunter22", "hunter22"]
    recorder().flush(10, logs=True)
    said = [log.message for log in client.read_logs(limit=200) if log.message.startswith("with ")]
    assert said and not any("hunter" in message for message in said)


def test_states_on_the_server(runner: TaskRunner, client: Client) -> None:
    @flow(name="states", task_runner=runner)
    def states() -> int:
        one = add.submit(1)
        return total.submit([one, one]).result()

    assert states() == 4
    found = {one.name.partition("-")[0]: one for one in task_runs(client, run_of(client, "states"))}
    assert {one.state_name for one in found.values()} == {"Completed"}
    assert {one.id for one in found["total"].task_inputs["values"]} == {found["add"].id}
    for one in found.values():
        assert one.run_count == 1 and one.start_time and one.end_time and one.expected_start_time
        assert one.expected_start_time <= one.start_time <= one.end_time
    assert found["add"].end_time <= found["total"].start_time  # type: ignore[operator]


# -- elsewhere


def test_what_cannot_travel_is_named(elsewhere: TaskRunner) -> None:
    lock = threading.Lock()

    @task
    def takes(thing: Any) -> Any: ...

    @task
    def gives() -> Any:
        return threading.Lock()

    @task
    def uses() -> Any:
        return lock

    @flow(task_runner=elsewhere)
    def travels() -> Any:
        return [one.result(raise_on_failure=False) for one in (takes.submit(lock), gives.submit(), uses.submit())]

    argument, result, used = travels()
    assert isinstance(argument, CannotTravel) and "'takes': the argument 'thing' (lock)" in str(argument)
    assert isinstance(result, CannotTravel) and "'gives': its result (lock)" in str(result)
    assert isinstance(used, CannotTravel) and "uses 'lock' (lock)" in str(used)


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_worker_that_dies(elsewhere: TaskRunner, client: Client, how: str) -> None:
    @task
    def dies() -> None:
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), 9)

    @flow(name=f"dies by {how}", task_runner=elsewhere)
    def mourned() -> Any:
        future = dies.submit()
        others = add.map(range(20))
        with pytest.raises(WorkerDied) as caught:
            future.result()
        return str(caught.value), others.result(), add.submit(1).result()

    text, others, after = mourned()
    assert "died" in text or "ended" in text
    assert (others, after) == ([n + 1 for n in range(20)], 2)
    found = task_runs(client, run_of(client, f"dies by {how}"))
    assert [one.state_type for one in found if one.name.startswith("dies")] == [StateType.CRASHED]


def test_a_worker_that_dies_is_worth_a_retry(elsewhere: TaskRunner, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = str(mark)

    @task(retries=1)
    def dies_once() -> str:
        with open(path, "a") as file:
            file.write("x")
        if len(Path(path).read_text()) == 1:
            os._exit(1)
        return "alive"

    @flow(task_runner=elsewhere)
    def tried() -> str:
        return dies_once.submit().result()

    assert tried() == "alive"
    assert mark.read_text() == "xx"


def test_a_function_that_does_not_react_loses_its_process(elsewhere: TaskRunner) -> None:
    @task(timeout_seconds=0.2)
    def deaf() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                time.sleep(1)
            except BaseException:
                continue

    @flow(task_runner=elsewhere)
    def shouted() -> Any:
        future = deaf.submit()
        with pytest.raises(RunTimedOut):
            future.result()
        return add.map(range(4)).result()

    began = time.monotonic()
    assert shouted() == [1, 2, 3, 4]
    assert time.monotonic() - began < 45


def test_an_exception_that_cannot_travel_is_described(elsewhere: TaskRunner) -> None:
    class Locked(Exception):
        def __init__(self) -> None:
            super().__init__("locked")
            self.lock = threading.Lock()

    @task
    def fails() -> None:
        raise Locked

    @flow(task_runner=elsewhere)
    def failing() -> Any:
        return fails.submit().result(raise_on_failure=False)

    found = failing()
    assert isinstance(found, RunFailed) and "Locked: locked" in str(found)
    assert any("raise Locked" in note for note in found.__notes__)


def test_a_traceback_shows_lines_of_the_user_only(elsewhere: TaskRunner) -> None:
    @task
    def fails() -> None:
        raise LookupError("in there")

    @flow(task_runner=elsewhere)
    def failing() -> Any:
        return fails.submit().result()

    with pytest.raises(LookupError) as caught:
        failing()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    shown = [frame.f_code.co_name for frame in frames if "__tracebackhide__" not in frame.f_locals]
    assert shown == ["test_a_traceback_shows_lines_of_the_user_only", "failing"]
    assert any('raise LookupError("in there")' in note for note in caught.value.__notes__)


def test_a_keyboard_interrupt_in_there_is_no_end_of_the_world(elsewhere: TaskRunner) -> None:
    @task
    def leaves() -> None:
        raise SystemExit(4)

    @flow(task_runner=elsewhere)
    def left() -> Any:
        state = leaves.submit(return_state=True)
        return state.name, state.message, add.submit(1).result()

    assert left() == ("Crashed", "The run's code called sys.exit(4).", 2)


def test_exceptions_keep_what_no_argument_holds(elsewhere: TaskRunner) -> None:
    @task
    def opens() -> None:
        Path("/no/such/file").read_text()

    @flow(task_runner=elsewhere)
    def opening() -> Any:
        return opens.submit().result(raise_on_failure=False)

    found = opening()
    assert (type(found), found.errno, found.filename) == (FileNotFoundError, 2, "/no/such/file")


# -- options


def test_a_flow_takes_a_class_or_an_instance() -> None:
    @flow(task_runner=ProcessPoolTaskRunner)
    def etl() -> None: ...

    assert etl.task_runner == ProcessPoolTaskRunner(max_workers=os.cpu_count())
    assert etl.with_options(task_runner=InlineTaskRunner()).task_runner == InlineTaskRunner()
    assert etl.with_options(task_runner=ThreadPoolTaskRunner(2)).task_runner == ThreadPoolTaskRunner(max_workers=2)
    assert {make().name for make in MAKE.values()} == {"threadpool", "processpool", "inline", "dask"}


def test_wrong_options_say_so() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ProcessPoolTaskRunner(max_workers=0)
    with pytest.raises(ValueError, match="Cannot specify `address` and"):
        DaskTaskRunner(address="tcp://x:1", cluster_class="distributed.LocalCluster")
    with pytest.raises(ValueError, match="`client_kwargs` cannot set `asynchronous`"):
        DaskTaskRunner(client_kwargs={"asynchronous": True})
    with pytest.raises(ValueError, match="`cluster_kwargs` cannot set `asynchronous`"):
        DaskTaskRunner(cluster_kwargs={"asynchronous": True})
    with pytest.raises(RuntimeError, match="not started"):
        ThreadPoolTaskRunner().submit(add, {"a": 1})
    with pytest.raises(RuntimeError, match="already started"), ThreadPoolTaskRunner() as runner, runner:
        pass


def test_a_flow_opens_and_closes_a_runner_of_its_own(client: Client) -> None:
    runner = ProcessPoolTaskRunner(max_workers=1, initializer=os.putenv, initargs=("MILL_RACE_TEST", "1"))

    @flow(task_runner=runner)
    def once() -> int:
        first = process_id.submit().result()
        assert process_id.submit().result() == first
        return first

    first, second = once(), once()
    assert first != second
    for one in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(one, 0)


def test_few_places_are_enough_for_tasks_that_wait_for_tasks(client: Client) -> None:
    @task
    def deep(n: int) -> int:
        return n if n == 0 else 1 + deep.submit(n - 1).result()

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def dives() -> int:
        return deep.submit(10).result(timeout=60)

    assert dives() == 10


def test_a_stop_reaches_tasks_that_have_not_begun(client: Client) -> None:
    @task
    def waits(n: int) -> int:
        time.sleep(30)
        return n

    @flow(name="crowded", task_runner=ProcessPoolTaskRunner(max_workers=1), timeout_seconds=4)
    def crowded() -> Any:
        return waits.map(range(5)).result()

    began = time.monotonic()
    with pytest.raises((RunTimedOut, RunCancelled)):
        crowded()
    assert time.monotonic() - began < 25
    assert {one.state_type for one in task_runs(client, run_of(client, "crowded"))} <= {
        StateType.CANCELLED,
        StateType.PENDING,
    }


SCRIPT = """
from millrace import ProcessPoolTaskRunner, flow, task

FACTOR = 3

class Bad(Exception): ...

@task
def scaled(n):
    if n == 0:
        raise Bad("zero")
    return n * FACTOR

@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def scale():
    bad = scaled.submit(0).result(raise_on_failure=False)
    return scaled.map([1, 2]).result(), type(bad) is Bad

print("RESULT", scale())
"""


def test_a_script_needs_no_guard(client: Client, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert "RESULT ([3, 6], True)" in done.stdout, done.stderr


def test_without_dask_the_message_says_what_to_install() -> None:
    program = "import sys; sys.modules['distributed'] = sys.modules['dask'] = None; from millrace import DaskTaskRunner"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert "PluginMissing" in done.stderr and "pip install 'millrace[dask]'" in done.stderr
