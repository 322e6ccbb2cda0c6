"""Tasks as people use them, against the embedded server: caching, data flow, annotations, hooks, retries."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretStr

from buckets import bucket
from millrace import (
    INPUTS,
    NO_CACHE,
    RUN_ID,
    TASK_SOURCE,
    InlineTaskRunner,
    Secret,
    Task,
    ThreadPoolTaskRunner,
    allow_failure,
    as_completed,
    exponential_backoff,
    flow,
    opaque,
    quote,
    settings,
    tags,
    task,
    unmapped,
    wait,
)
from millrace.client.synchronous import Client
from millrace.engine.context import FlowRunContext
from millrace.engine.recorder import recorder
from millrace.errors import InvalidInput, RunCancelled, RunCrashed
from millrace.schema.graphs import RunGraph
from millrace.schema.runs import TaskRun
from millrace.schema.states import StateType


def run_id() -> UUID:
    context = FlowRunContext.get()
    assert context is not None
    return context.flow_run.id


def in_flow(body: Callable[[], Any], **options: Any) -> tuple[Any, UUID]:
    """What a function gives as a flow, and the flow run."""
    seen: list[UUID] = []

    @flow(name=f"flow of {body.__name__.strip('<>')}", **options)
    def around() -> Any:
        seen.append(run_id())
        return quote(body())

    return around(), seen[-1]


def task_runs(client: Client, run: UUID) -> dict[str, TaskRun]:
    assert recorder().flush()
    return {one.name: one for one in client.read_task_runs(task_runs={"flow_run_id": {"any_": [run]}}, limit=200)}


def edges(client: Client, run: UUID) -> set[tuple[str, str]]:
    graph: RunGraph = client.read_flow_run_graph(run)
    labels = {id: node.label for id, node in graph.nodes}
    return {(labels[edge.id], node.label) for _, node in graph.nodes for edge in node.parents}


def logs(client: Client, run: UUID) -> str:
    recorder().flush(logs=True)
    return "\n".join(line.message for line in client.read_logs(logs={"flow_run_id": {"any_": [run]}}, limit=200))


@task
def add(a: Any, b: Any = 1) -> Any:
    return a + b


@task
def broken(*_: Any) -> None:
    raise ValueError("broken")


@task
def given(value: Any) -> Any:
    return value


# -- caching


def test_inputs_make_the_key_and_a_hit_is_cached(client: Client) -> None:
    calls: list[Any] = []

    @task(cache_policy=INPUTS)
    def cached_by_inputs(rows: dict[str, Any], note: str = "") -> dict[str, Any]:
        calls.append(rows)
        return {"sum": sum(rows.values())}

    def body() -> Any:
        first = cached_by_inputs({"a": 1, "b": 2})
        state = cached_by_inputs({"b": 2, "a": 1}, return_state=True)
        future = cached_by_inputs.submit({"b": 2, "a": 1})
        other = cached_by_inputs({"a": 1, "b": 3})
        return first, (state.type, state.name, state.result()), future.result(), other

    found, run = in_flow(body)
    assert found == ({"sum": 3}, (StateType.COMPLETED, "Cached", {"sum": 3}), {"sum": 3}, {"sum": 4})
    assert len(calls) == 2
    names = [one.state_name for _, one in sorted(task_runs(client, run).items())]
    assert names == ["Completed", "Cached", "Cached", "Completed"]
    stored = task_runs(client, run)["cached_by_inputs-1"].state
    assert stored is not None and stored.data["storage_key"]


def test_a_flow_run_later_and_another_process_find_the_result(client: Client, tmp_path: Path) -> None:
    program = tmp_path / "steps.py"
    program.write_text(
        "from millrace import flow, task, INPUTS, TASK_SOURCE\n"
        "@task(cache_policy=INPUTS + TASK_SOURCE)\n"
        "def slow(n):\n    print('computing')\n    return n + 1\n"
        "@flow\ndef steps():\n    print(slow(4))\n"
        "if __name__ == '__main__':\n    steps()\n"
    )

    def run() -> str:
        done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=110)
        return done.stdout

    assert run().split() == ["computing", "5"]
    assert run().split() == ["5"]
    program.write_text(program.read_text().replace("n + 1", "n + 2"))
    assert run().split() == ["computing", "6"]


def test_expiration_and_refresh(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    @task(cache_key_fn=lambda context, arguments: f"expires-{arguments['n']}", cache_expiration=timedelta(seconds=3))
    def expires(n: int) -> int:
        calls.append(n)
        return len(calls)

    assert [expires(1), expires(1)] == [1, 1]
    time.sleep(3.1)
    assert expires(1) == 2
    assert expires.with_options(refresh_cache=True)(1) == 3
    assert expires(1) == 3
    monkeypatch.setenv("MILLRACE_TASK_REFRESH_CACHE", "true")
    settings.current.cache_clear()
    assert expires(1) == 4
    assert expires.with_options(refresh_cache=False)(1) == 4
    monkeypatch.delenv("MILLRACE_TASK_REFRESH_CACHE")
    monkeypatch.setenv("MILLRACE_TASK_DISABLE_CACHING", "true")
    settings.current.cache_clear()
    assert expires(1) == 5
    monkeypatch.delenv("MILLRACE_TASK_DISABLE_CACHING")
    settings.current.cache_clear()


def test_nothing_is_cached_that_is_not_kept(client: Client) -> None:
    calls: list[int] = []

    @task
    def plain(n: int) -> int:
        calls.append(n)
        return n

    in_flow(lambda: [plain(1), plain(1), plain.with_options(cache_policy=NO_CACHE, persist_result=True)(1)])
    assert len(calls) == 3
    found, _ = in_flow(lambda: [plain(1, return_state=True).name for _ in range(2)], persist_result=True)
    assert found == ["Completed", "Cached"]  # DEFAULT: same inputs, source and run
    assert len(calls) == 4
    in_flow(lambda: plain(1), persist_result=True)
    assert len(calls) == 5


def test_a_flow_that_is_tried_again_does_not_repeat_what_is_done(client: Client) -> None:
    calls: list[str] = []

    @task
    def costly() -> str:
        calls.append("costly")
        return "done"

    @flow(retries=1, persist_result=True)
    def twice() -> str:
        result = costly()
        calls.append("flow")
        if calls.count("flow") == 1:
            raise ValueError("once")
        return result

    assert twice() == "done"
    assert calls == ["costly", "flow", "flow"]


def test_an_argument_that_cannot_be_hashed_is_named(client: Client) -> None:
    @task(cache_policy=INPUTS)
    def locks(n: int, lock: Any) -> int:
        return n

    found, run = in_flow(
        lambda: [locks(1, threading.Lock()), locks.with_options(cache_policy=INPUTS - "lock")(1, threading.Lock())]
    )
    assert found == [1, 1]
    text = logs(client, run)
    assert "runs without a cache: the argument 'lock' cannot be part of a cache key" in text
    assert 'cache_policy=INPUTS - "lock"' in text


def test_a_key_that_cannot_be_made_or_used_is_told(client: Client) -> None:
    def divides(context: Any, parameters: dict[str, Any]) -> str:
        return str(1 / 0)

    @task(cache_key_fn=divides)
    def raising() -> int:
        return 1

    @task(cache_key_fn=lambda context, parameters: "../../x")
    def climbing() -> int:
        return 2

    found, run = in_flow(lambda: [raising(), climbing()])
    assert found == [1, 2]
    text = logs(client, run)
    assert "runs without a cache: ZeroDivisionError: division by zero (test_tasks.py:" in text
    assert "runs without a cache: the cache key of the task 'climbing': '../../x' is no key" in text


def test_an_exception_that_cannot_say_itself_fails_tasks_and_flows_alike(client: Client) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    @task
    def raising() -> None:
        raise Mute

    @flow(name="mute")
    def whole() -> None:
        raise Mute

    found, _ = in_flow(lambda: [raising(return_state=True)])
    for state in (*found, whole(return_state=True)):
        assert (state.name, state.message) == ("Failed", "Mute: <its own text raised ValueError>")
        assert isinstance(state.result(raise_on_failure=False), Mute)


def test_a_parameter_may_be_called_self(client: Client) -> None:
    @task
    def named(self: int) -> int:
        return self

    assert in_flow(lambda: [named(self=1), named.submit(self=2).result(), named.map(self=[3]).result()])[0] == [
        1,
        2,
        [3],
    ]


def test_what_is_too_deep_to_be_searched_for_futures_says_so(client: Client) -> None:
    @task
    def same(value: Any) -> Any:
        return value

    def deep() -> Any:
        value: Any = same.submit(1)
        for _ in range(900):
            value = [value]
        return [same(value, return_state=True)]

    [state], _ = in_flow(deep)
    assert state.is_failed() and "nested too deeply to be searched" in state.message


def test_methods_count_what_they_belong_to(client: Client) -> None:
    @dataclasses.dataclass
    class Rate:
        percent: int

        @task(cache_policy=INPUTS)
        def of(self, n: int) -> int:
            return n * self.percent

        @task
        @classmethod
        def made(cls, n: int) -> str:
            return f"{cls.__name__} {n}"

        @task
        @staticmethod
        def plain(n: int) -> int:
            return -n

    found, _ = in_flow(
        lambda: [
            Rate(2).of(3),
            Rate(3).of(3),
            Rate(2).of.submit(3, return_state=True).name,
            Rate.made(1),
            Rate(1).made.submit(2).result(),
            Rate.plain(4),
            Rate(2).of.map([1, 2]).result(),
        ]
    )
    assert found == [6, 9, "Cached", "Rate 1", "Rate 2", -4, [2, 4]]


def test_of_runs_with_one_key_one_computes(client: Client) -> None:
    calls: list[int] = []

    def slow(n: int) -> int:
        calls.append(n)
        time.sleep(0.3)
        return n

    serial = Task(slow, name="serial", cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
    found, run = in_flow(lambda: serial.map([7] * 5).result())
    assert (found, calls) == ([7] * 5, [7])
    names = sorted(str(one.state_name) for one in task_runs(client, run).values())
    assert names == ["Cached"] * 4 + ["Completed"]

    @task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
    async def aserial(n: int) -> int:
        calls.append(n)
        await asyncio.sleep(0.2)
        return n

    async def all_of() -> list[int]:
        return await asyncio.gather(*[aserial(8) for _ in range(4)])

    assert asyncio.run(all_of()) == [8] * 4
    assert calls == [7, 8]


def test_results_under_a_key_of_their_own(client: Client, tmp_path: Path) -> None:
    @task(
        result_storage=tmp_path / "kept",
        result_storage_key="{flow_run.flow_name}/{parameters[day]}-{task_run.name}.json",
    )
    def report(day: str) -> str:
        return f"all of {day}"

    def reports() -> Any:
        return report("Monday"), report.submit("Tuesday").state

    in_flow(reports)
    kept = sorted(path.name for path in (tmp_path / "kept" / "flow of reports").iterdir())
    assert kept == ["Monday-report-0.json", "Tuesday-report-1.json"]
    alone = report.with_options(result_storage_key="{flow_run.name}/{parameters[day]}")
    state = alone("Friday", return_state=True)
    assert state.name == "Failed" and "it belongs to no flow run" in str(state.message)
    with pytest.raises(InvalidInput, match="it belongs to no flow run"):
        alone.submit("Friday").result()
    several = report.with_options(result_storage_key="{parameters[day][month]}-{parameters[day][on]:%d}")
    in_flow(lambda: several({"month": "May", "on": datetime.date(2026, 5, 9)}))
    assert (tmp_path / "kept" / "May-09").is_file()
    state = several({"month": "May"}, return_state=True)
    assert state.name == "Failed" and "which this run does not have (KeyError" in str(state.message)


def test_a_key_of_its_own_names_the_result_where_caching_is_off(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(result_storage=tmp_path, result_storage_key="of-{parameters[n]}")
    def kept(n: int) -> int:
        return n

    monkeypatch.setenv("MILLRACE_TASK_DISABLE_CACHING", "true")
    settings.current.cache_clear()
    assert [kept(1), kept(1, return_state=True).name] == [1, "Completed"]
    monkeypatch.undo()
    settings.current.cache_clear()
    assert [path.name for path in tmp_path.iterdir()] == ["of-1"]
    assert kept(1, return_state=True).name == "Cached"


def test_cached_results_in_a_bucket_are_found_by_another_process(client: Client, tmp_path: Path) -> None:
    program = tmp_path / "bucket_steps.py"
    program.write_text(
        "import sys\nfrom millrace import flow, task, INPUTS\n"
        "@task(cache_policy=INPUTS, result_storage=sys.argv[1] + '/cache')\n"
        "def slow(n):\n    print('computing')\n    return {'n': n}\n"
        "@flow\ndef steps():\n    state = slow.submit(4, return_state=True)\n    print(state.name, state.result())\n"
        "if __name__ == '__main__':\n    steps()\n"
    )

    def run(place: str) -> str:
        command = [sys.executable, str(program), place]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=110).stdout

    with bucket() as place:
        assert run(place).splitlines() == ["computing", "Completed {'n': 4}"]
        assert run(place).splitlines() == ["Cached {'n': 4}"]
        recorder().flush()
        runs = client.read_task_runs(task_runs={"name": {"any_": ["slow-0"]}}, sort="EXPECTED_START_TIME_DESC", limit=2)
        for one in runs:
            assert one.state is not None and one.state.data["storage_key"].startswith(f"{place}/cache/")
            assert one.state.result() == {"n": 4}


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner, InlineTaskRunner])
@pytest.mark.parametrize(
    ("stop", "expected", "name"), [(KeyboardInterrupt, RunCancelled, "Cancelled"), (SystemExit, RunCrashed, "Crashed")]
)
def test_a_submitted_task_that_leaves_ends_itself_only(
    client: Client, runner: Any, stop: type[BaseException], expected: type[Exception], name: str
) -> None:
    @task
    def leaves() -> None:
        raise stop(4)

    @task
    async def aleaves() -> None:
        raise stop(4)

    seen: list[Any] = []

    def body() -> Any:
        for one in (leaves, aleaves):
            future = one.submit()
            with pytest.raises(expected) as caught:
                future.result()
            assert type(caught.value.__cause__) is stop
            assert type(future.result(raise_on_failure=False)) is expected
            seen.append(future.state.name)
        return add(1)

    thread_of_its_own: list[Any] = []
    thread = threading.Thread(target=lambda: thread_of_its_own.append(in_flow(body, task_runner=runner)[0]))
    thread.start()
    thread.join(60)
    assert (thread_of_its_own, seen) == ([2], [name, name])


def test_ctrl_c_during_an_inline_task_stops_the_flow(client: Client, tmp_path: Path) -> None:
    program = tmp_path / "inline_steps.py"
    program.write_text(
        "import os, signal, time\nfrom millrace import flow, task, InlineTaskRunner\n"
        "@task\ndef slow():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
        "@flow(task_runner=InlineTaskRunner, name='stopped inline')\n"
        "def steps():\n    slow.submit()\n    print('went on')\n"
        "try:\n    steps()\nexcept KeyboardInterrupt:\n    print('stopped')\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=110)
    assert done.stdout.split() == ["stopped"], done.stderr
    run = client.read_flow_runs(flows={"name": {"any_": ["stopped inline"]}}, limit=1)[0]
    assert run.state_type is StateType.CANCELLED


def test_a_result_that_is_not_held_in_memory_is_read_again(client: Client, tmp_path: Path) -> None:
    @task(persist_result=True, cache_result_in_memory=False, result_storage=tmp_path)
    def large() -> list[int]:
        return [1, 2, 3]

    def body() -> Any:
        future = large.submit()
        future.wait()
        state = future.state
        return state._value, state.result(), large()

    assert in_flow(body)[0] == (None, [1, 2, 3], [1, 2, 3])


def test_a_result_that_must_be_kept_and_cannot(client: Client) -> None:
    @task(persist_result=True)
    def makes() -> Any:
        return threading.Lock()

    state = makes(return_state=True)
    assert (state.type, "makes" in str(state.message)) == (StateType.FAILED, True)
    lenient = makes.with_options(persist_result=None, cache_policy=INPUTS)
    assert lenient(return_state=True).type is StateType.COMPLETED


# -- data flow


def test_the_graph_shows_where_values_came_from(client: Client) -> None:
    class Model(BaseModel):
        rows: Any

    @task
    def pair() -> tuple[list[int], float]:
        return [1, 2], sum([0.1, 0.2])

    @task
    def half() -> float:
        return sum([0.25, 0.25])

    @task
    def note() -> str:
        return "constant"

    @task
    def small() -> int:
        return 3

    @task
    def uses(*values: Any) -> int:
        return len(values)

    def shown() -> None:
        rows, ratio = pair()
        uses.with_options(task_run_name="of a part")(rows)
        uses.with_options(task_run_name="of a number")(ratio)
        uses.with_options(task_run_name="of a computed number")(
            given.with_options(task_run_name="one")(ratio) * 2, half()
        )
        uses.with_options(task_run_name="nested")({"deep": [Model(rows=(rows,))]})
        uses.with_options(task_run_name="of constants")(note(), small(), None, "constant", 3)
        uses.with_options(task_run_name="of a future")(given.submit(5))
        uses.with_options(
            task_run_name="waits",
        )(wait_for=[add.submit(1)])

    _, run = in_flow(shown)
    assert edges(client, run) == {
        ("pair-0", "of a part"),
        ("pair-0", "of a number"),
        ("pair-0", "nested"),
        ("pair-0", "one"),
        ("half-0", "of a computed number"),
        ("given-1", "of a future"),
        ("add-0", "waits"),
    }


def test_the_graph_of_mapped_tasks_tasks_in_tasks_and_subflows(client: Client) -> None:
    @task
    def outer(n: int) -> Any:
        return add(n)

    @task
    def many() -> list[int]:
        return [1000, 2000]

    @flow(name="inner", flow_run_name="inner")
    def inner(rows: Any) -> list[Any]:
        return [*rows, 3]

    def shown() -> None:
        add.map(many.submit(), unmapped(given.submit(1)))
        outer(4)
        rows = inner(many.with_options(task_run_name="rows")())
        given.with_options(task_run_name="after the subflow")(rows)

    _, run = in_flow(shown)
    found = edges(client, run)
    assert {("many-0", "add-0"), ("many-0", "add-1"), ("given-0", "add-0"), ("given-0", "add-1")} <= found
    assert ("rows", "inner / inner") in found
    assert ("inner / inner", "after the subflow") in found
    graph = client.read_flow_run_graph(run)
    labels = {id: node.label for id, node in graph.nodes}
    around = {
        node.label: [labels[edge.id] for edge in node.encapsulating] for _, node in graph.nodes if node.encapsulating
    }
    assert around == {"add-2": ["outer-0"]}


# -- futures and annotations


@dataclasses.dataclass(frozen=True)
class Holder:
    inner: Any
    made: int = dataclasses.field(default=0, init=False)


class Pydantic(BaseModel):
    inner: Any
    more: list[Any] = []


def test_futures_in_collections_dataclasses_and_models(client: Client) -> None:
    def body() -> Any:
        one = add.submit(1)
        nested = {"k": [one, (one, {"x"})], one: Holder(inner=[one]), "m": Pydantic(inner=one, more=[{"a": one}])}
        return given.submit(nested).result()

    found, _ = in_flow(body)
    assert found == {"k": [2, (2, {"x"})], 2: Holder(inner=[2]), "m": Pydantic(inner=2, more=[{"a": 2}])}


def test_annotations(client: Client) -> None:
    def body() -> Any:
        one, bad = add.submit(1), broken.submit()
        states = [
            given.submit(bad, return_state=True).name,
            given.submit(allow_failure(bad)).result(),
            given.submit([allow_failure(bad)]).result(),
            add.submit(1, wait_for=[bad], return_state=True).name,
            add.submit(1, wait_for=[allow_failure(bad)]).result(),
            given.submit(bad.state, return_state=True).name,
        ]
        chained = given.submit(allow_failure(given.submit(bad))).result()
        quoted = given.submit(quote([one])).result()
        opened = given.submit(opaque(given.submit(quote([one])))).result()
        mapped = add.map([1, 2], unmapped(one)).result()
        excused = (
            given.map(
                [1, 2],
            ).result(),
            len(given.map(allow_failure([bad, one])).result()),
        )
        kept = Task(lambda n, e: (n, type(e).__name__), name="kept").map([1], unmapped(allow_failure(bad))).result()
        return states, chained, quoted == [one], opened == [one], mapped, excused, kept

    found, _ = in_flow(body)
    states, chained, *rest = found
    assert states[0] == "NotReady" and isinstance(states[1], ValueError) and isinstance(states[2][0], ValueError)
    assert states[3:] == ["NotReady", 2, "NotReady"]
    assert "did not complete" in str(chained)
    assert rest == [True, True, [3, 4], ([1, 2], 2), [(1, "ValueError")]]


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(3), InlineTaskRunner()], ids=["threads", "inline"])
def test_map_and_waiting(client: Client, runner: Any) -> None:
    @task
    def sized(n: int, *more: int, **named: int) -> Any:
        return n, more, named

    def body() -> Any:
        squares = Task(lambda n: n * n, name="square").map(n for n in range(4))
        order = [future.result() for future in as_completed(squares, timeout=60)]
        done = wait(squares, timeout=60)
        return (
            squares.result(timeout=60),
            sorted(order),
            (len(done.done), len(done.not_done)),
            sized.map([1, 2], [3, 4], key=[5, 6]).result(),
            add.map(given.submit([10, 20])).result(),
            add.map(["a", "b"], "z").result(),
            [state.name for state in broken.map([1, 2], return_state=True)],
            [type(error).__name__ for error in broken.map([1]).result(raise_on_failure=False)],
        )

    found, _ = in_flow(body, task_runner=runner)
    assert found == (
        [0, 1, 4, 9],
        [0, 1, 4, 9],
        (4, 0),
        [(1, (3,), {"key": 5}), (2, (4,), {"key": 6})],
        [11, 21],
        ["az", "bz"],
        ["Failed", "Failed"],
        ["ValueError"],
    )


def test_the_first_failure_of_many_is_raised_at_once(client: Client) -> None:
    gate = threading.Event()

    @task
    def either(n: int) -> int:
        if n:
            raise ValueError("early")
        gate.wait(60)
        return n

    def body() -> Any:
        futures = either.map([0, 1])
        try:
            with pytest.raises(ValueError, match="early"):
                futures.result(timeout=50)
            with pytest.raises(TimeoutError, match="1 of 2"):
                futures.result(timeout=0.05, raise_on_failure=False)
            with pytest.raises(ValueError, match="must not be negative"):
                futures[0].wait(-1)
            assert futures[0].state.name == "Running"
        finally:
            gate.set()

    in_flow(body)


def test_a_future_of_another_flow_run_and_one_of_its_own(client: Client) -> None:
    kept: list[Any] = []

    @task
    def waits_for_itself() -> None:
        while not kept:
            time.sleep(0.01)
        kept[0].result()

    @flow
    def child(future: Any) -> Any:
        return add(future), add.submit(future).result()

    def body() -> Any:
        kept.append(waits_for_itself.submit())
        with pytest.raises(RuntimeError, match="waits for its own future"):
            kept[0].result(60)
        return child(quote(add.submit(1))), child(add.submit(1))

    assert in_flow(body)[0] == ((3, 3), (3, 3))


# -- retries, names, hooks


def test_retry_conditions_of_both_colours(client: Client) -> None:
    calls: list[str] = []

    def sync_condition(task: Any, task_run: TaskRun, state: Any) -> bool:
        calls.append(f"{task.name} {task_run.run_count} {state.name}")
        return "again" in str(state.result(raise_on_failure=False))

    async def async_condition(task: Any, task_run: TaskRun, state: Any) -> bool:
        await asyncio.sleep(0)
        return sync_condition(task, task_run, state)

    def bad_condition(*_: Any) -> bool:
        raise RuntimeError("condition")

    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        raise ValueError("again" if len(tries) % 3 else "no more")

    async def aflaky() -> str:
        return flaky()

    for fn in (flaky, aflaky):
        for condition in (sync_condition, async_condition):
            one = Task(fn, name="flaky", retries=5, retry_condition_fn=condition)
            outcome = one.submit(return_state=True)
            assert outcome.name == "Failed"
    assert len(tries) == 12
    assert calls[:3] == ["flaky 1 Failed", "flaky 2 Failed", "flaky 3 Failed"]
    bad = Task(flaky, name="bad", retries=5, retry_condition_fn=bad_condition)
    _, run = in_flow(lambda: [bad(return_state=True).name])
    assert len(tries) == 13
    assert "The retry condition 'bad_condition' raised" in logs(client, run)


def test_retries_with_time_limits(client: Client) -> None:
    tries: list[int] = []

    @task(retries=1, retry_delay_seconds=exponential_backoff(0.05), retry_jitter_factor=0.5, timeout_seconds=0.3)
    async def sometimes() -> str:
        tries.append(1)
        await asyncio.sleep(30 if len(tries) == 1 else 0)
        return "in time"

    @task(retries=1, timeout_seconds=0.2)
    def never() -> None:
        while True:
            time.sleep(0.01)

    assert asyncio.run(sometimes()) == "in time"
    state = never(return_state=True)
    assert (state.name, len(tries)) == ("TimedOut", 2)
    with pytest.raises(TimeoutError):
        state.result()


def test_names_of_runs_know_the_arguments(client: Client) -> None:
    from millrace import TaskRunContext  # noqa: PLC0415

    def named(parameters: dict[str, Any]) -> str:
        context = TaskRunContext.get()
        assert context is not None
        return f"{context.task.name} {parameters['a']}"

    def body() -> Any:
        first = add.with_options(task_run_name="plus {b}").submit(1, add.submit(3))
        first.wait()
        second = add.with_options(task_run_name=named).submit(5)
        second.wait()
        third = add.with_options(task_run_name=lambda: 3).submit(5)
        return first.name, second.name, third.state.name if third.wait() is None else None

    found, run = in_flow(body)
    assert found == ("plus 4", "add 5", "Failed")
    assert {"plus 4", "add 5"} <= set(task_runs(client, run))


def test_hooks(client: Client) -> None:
    seen: list[Any] = []

    @task(retries=1)
    def worked(fail: bool) -> int:
        if fail:
            raise ValueError("bad")
        return 5

    @worked.on_running
    def begins(task: Any, task_run: TaskRun, state: Any) -> None:
        seen.append((task.name, task_run.state_name, state.name))

    @worked.on_completion
    async def completed(task: Any, task_run: TaskRun, state: Any) -> None:
        await asyncio.sleep(0)
        seen.append(("completed", state.result(), task_run.run_count))

    @worked.on_failure
    def raises(task: Any, task_run: TaskRun, state: Any) -> None:
        seen.append(("failed", str(state.message)))
        raise RuntimeError("in a hook")

    @worked.on_failure
    def leaves(task: Any, task_run: TaskRun, state: Any) -> None:
        seen.append("leaves")
        sys.exit(4)

    def body() -> Any:
        return worked(False), worked.submit(True, return_state=True).name

    found, run = in_flow(body)
    assert found == (5, "Failed")
    assert seen == [
        ("worked", "Running", "Running"),
        ("completed", 5, 1),
        ("worked", "Running", "Running"),
        ("worked", "Retrying", "Retrying"),
        ("failed", "ValueError: bad"),
        "leaves",
    ]
    assert "RuntimeError: in a hook" in logs(client, run) and "SystemExit: 4" in logs(client, run)

    @task(on_completion=[completed], on_running=[completed])
    async def later() -> int:
        return 1

    assert asyncio.run(later()) == 1
    assert seen[-1] == ("completed", 1, 1)


# -- outside of a flow


def test_tasks_without_a_flow(client: Client) -> None:
    @task(tags=["alone"])
    def alone_in_the_field(n: int) -> int:
        return n + 1

    @task
    async def alater(n: int) -> int:
        return n * 2

    with tags("now"):
        assert alone_in_the_field(1) == 2
    assert alone_in_the_field.submit(alater.submit(4)).result() == 9
    assert alone_in_the_field.map([1, 2]).result() == [2, 3]
    assert recorder().flush()
    found = client.read_task_runs(task_runs={"tags": {"all_": ["alone"]}}, limit=200)
    assert {one.flow_run_id for one in found} == {None}
    assert sorted(len(one.tags) for one in found) == [1, 1, 1, 2]
    with pytest.raises(NotImplementedError, match=r"alone_in_the_field\.submit\(\)"):
        alone_in_the_field.delay(1)


def test_a_process_ends_when_its_submitted_tasks_have_ended(client: Client, tmp_path: Path) -> None:
    program = tmp_path / "background.py"
    program.write_text(
        "import time\nfrom millrace import task\n"
        "@task\ndef slow(n):\n    time.sleep(0.5)\n    print('done', n, flush=True)\n    return n + 1\n"
        "slow.submit(slow.submit(1))\nprint('main is over', flush=True)\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=110)
    assert done.stdout.splitlines() == ["main is over", "done 1", "done 2"], done.stderr


def test_memory_does_not_grow_with_values_that_were_let_go(client: Client) -> None:
    sizes: list[int] = []

    @task
    def makes(n: int) -> list[int]:
        return [n, n]

    def body() -> None:
        context = FlowRunContext.get()
        assert context is not None
        for number in range(500):
            makes(number)
            sizes.append(len(context.lineage))

    in_flow(body)
    assert max(sizes) < 20


POLICIES = [INPUTS, TASK_SOURCE, RUN_ID, INPUTS + TASK_SOURCE]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_policies_within_and_across_runs(client: Client, policy: Any) -> None:
    calls: list[int] = []

    def counted(n: int) -> int:
        calls.append(n)
        return n

    one = Task(
        counted, name="counted", cache_policy=policy, result_storage=f"memory://policies-{policy!r}".replace(" ", "")
    )
    one = one.with_options(result_serializer="json")
    in_flow(lambda: [one(1), one(1), one(2)])
    in_flow(lambda: [one(1)])
    assert len(calls) == {"INPUTS": 2, "TASK_SOURCE": 1, "RUN_ID": 2}.get(repr(policy), 2)


def test_a_def_task_that_gives_a_coroutine_fails(client: Client) -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidInput, match="write `async def`"):
        task(lambda: work(), name="forgot")()


def test_defaults_that_are_texts_are_secrets(client: Client) -> None:
    @task
    def use(named: Secret = "secret:db", hidden: SecretStr = "plain", text: SecretStr | str = "plain") -> Any:  # type: ignore[assignment]
        return named, hidden, text

    named, hidden, text = use(text="y")
    assert isinstance(named, Secret) and isinstance(hidden, SecretStr) and text == "y"
