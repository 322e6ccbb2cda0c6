"""Declaring tasks, futures and time limits: nothing needs a server here."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from millrace import Task, exceptions, flow, task, unmapped
from millrace.engine.alarms import TimeLimitReached, limited
from millrace.engine.effects import Step
from millrace.engine.endings import Ending
from millrace.engine.futures import TaskFuture
from millrace.engine.inputs import find, resolve, result_of_upstream, settle
from millrace.engine.interrupts import Stoppable
from millrace.engine.logs import Spool, ship, ship_remaining
from millrace.engine.runners import InlineTaskRunner, TaskRunner, ThreadPoolTaskRunner
from millrace.engine.states import Completed, Failed, RunState
from millrace.engine.task_events import TaskClock, TaskFacts, event_of
from millrace.errors import InvalidInput, ParameterError, RunCancelled, UpstreamFailed
from millrace.schema.fields import now
from millrace.schema.logs import LogCreate
from millrace.schema.states import StateType


def test_declaration() -> None:
    @task(tags=["a"], retries=2, retry_delay_seconds=[1, 10])
    def fetch(url: str) -> str: ...

    assert isinstance(fetch, Task)
    assert (fetch.name, fetch.tags, fetch.retries) == ("fetch", frozenset({"a"}), 2)
    plan = fetch.plan(False, False)
    assert [plan.delay(n) for n in (1, 2, 3)] == [1, 10, 10]
    assert fetch.with_options(retry_delay_seconds=3).plan(False, False).delay(9) == 3
    assert fetch.with_options(retry_delay_seconds=lambda n: [2.0**k for k in range(n)]).plan(False, False).delay(2) == 2
    jittered = fetch.with_options(retry_delay_seconds=10, retry_jitter_factor=0.5).plan(False, False)
    assert all(10 <= jittered.delay(1) <= 15 for _ in range(50))
    assert repr(fetch) == "<Task 'fetch': fetch(url)>"


def test_what_cannot_be_a_task() -> None:
    with pytest.raises(TypeError, match="no option retrys"):
        task(retrys=3)
    with pytest.raises(ValueError, match="negative"):
        task(retries=-1)(lambda: 1)
    with pytest.raises(ValueError, match="wait_for"):
        task(lambda wait_for: 1)


def test_run_names() -> None:
    assert Task(lambda x: x, name="t").run_name({}) is None
    assert Task(lambda x: x, task_run_name="of {x}").run_name({"x": 5}) == "of 5"
    assert Task(lambda x: x, task_run_name=lambda: "made").run_name({"x": 5}) == "made"
    assert Task(lambda x: x, task_run_name=lambda parameters: f"x{parameters['x']}").run_name({"x": 5}) == "x5"
    with pytest.raises(TypeError, match="must give a text"):
        Task(lambda x: x, task_run_name=lambda: 3).run_name({})  # type: ignore[return-value,arg-type]


def test_map_says_what_is_wrong() -> None:
    add = Task(lambda a, b: a + b, name="add")
    with pytest.raises(ParameterError, match="no list"):
        add.map("text", unmapped([1]))
    with pytest.raises(ParameterError, match="a has 2, b has 3"):
        add.map([1, 2], [1, 2, 3])


def ended(state: RunState) -> TaskFuture[object]:
    future: TaskFuture[object] = TaskFuture(uuid4(), "a-task")
    future._set(Ending(Step(state.type, state.name, state.message), state._value, state._error))
    return future


def test_futures_are_found_and_resolved_where_they_nest() -> None:
    one, two = ended(Completed(data=1)), ended(Completed(data=2))
    nested = {"a": [one, (two, "x")], "b": {3}}
    assert find(nested) == [one, two]
    assert resolve(nested, result_of_upstream) == {"a": [1, (2, "x")], "b": {3}}
    plain = {"a": [1, 2]}
    assert resolve(plain, result_of_upstream) is plain


def test_an_upstream_that_failed() -> None:
    with pytest.raises(UpstreamFailed, match=r"upstream 'a-task' did not complete: Failed\('x'\)"):
        resolve([ended(Failed(message="x"))], result_of_upstream)
    assert exceptions.UpstreamTaskError is UpstreamFailed


def test_an_upstream_that_failed_is_told_with_why() -> None:
    boom = ValueError("boom")
    first = ended(Failed(data=boom))
    with pytest.raises(UpstreamFailed, match=r"'a-task' did not complete: Failed\('ValueError: boom'\)$") as second:
        resolve([first], result_of_upstream)
    assert second.value.__cause__ is boom
    # further down the first of them is told, and no longer chain of texts
    error: BaseException = second.value
    for _ in range(3):
        future: TaskFuture[object] = TaskFuture(uuid4(), "after")
        future._set(Ending(Step(StateType.PENDING, "NotReady", str(error)), None, error))
        with pytest.raises(UpstreamFailed) as later:
            resolve(future, result_of_upstream)
        assert str(later.value) == f"upstream 'after' was not run: {second.value}" and later.value.__cause__ is error
        error = later.value


def test_a_state_as_an_upstream_is_told_by_its_run() -> None:
    run = uuid4()
    state = Failed(message="no rows")
    with pytest.raises(UpstreamFailed, match=r"^a state that was passed did not complete: Failed\('no rows'\)$"):
        resolve(state, result_of_upstream)
    state.state_details.flow_run_id = run
    with pytest.raises(UpstreamFailed, match=f"upstream flow run {run} did not complete"):
        resolve(state, result_of_upstream)
    state.state_details.task_run_id = run
    with pytest.raises(UpstreamFailed, match=f"upstream task run {run} did not complete"):
        resolve(state, result_of_upstream)


def test_returned_futures_decide() -> None:
    good, bad = ended(Completed(data=1)), ended(Failed(data=ValueError("x")))
    assert settle([good, {"k": good}]) == [1, {"k": 1}]
    state = settle((good, bad))
    assert (state.type, state.message) == (StateType.FAILED, "1 of 2 returned runs did not complete.")
    with pytest.raises(ValueError, match="x"):
        state.result()
    assert settle(bad).type is StateType.FAILED


def test_a_future_times_out() -> None:
    future: TaskFuture[int] = TaskFuture(uuid4(), "slow")
    with pytest.raises(TimeoutError, match="slow"):
        future.result(timeout=0.01)
    assert future.state.type is StateType.PENDING


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(2), InlineTaskRunner()])
def test_runners(runner: TaskRunner) -> None:
    used = runner.open()
    seen: list[int] = []
    for number in range(20):
        used.execute(lambda number=number: seen.append(number), [])  # type: ignore[misc]
    used.close()
    assert sorted(seen) == list(range(20))


def test_a_waiting_task_takes_no_thread() -> None:
    used = ThreadPoolTaskRunner(1).open()
    first: TaskFuture[object] = TaskFuture(uuid4(), "first")
    order: list[str] = []
    used.execute(lambda: order.append("second"), [first])

    def work() -> None:
        order.append("first")
        first._set(Ending(Step(StateType.COMPLETED, "Completed")))

    used.execute(work, [])
    used.close()
    assert order == ["first", "second"]


def test_time_limits_nest_on_the_main_thread() -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitReached):
        limited(lambda: limited(lambda: time.sleep(20), 0.1), 30)

    def outlived() -> None:
        with suppress(TimeLimitReached):
            limited(lambda: time.sleep(20), 30)
        pytest.fail("the limit of the inner call was not the first")

    with pytest.raises(TimeLimitReached):
        limited(outlived, 0.1)

    def inner() -> str:
        with pytest.raises(TimeLimitReached):
            limited(lambda: time.sleep(20), 0.05)
        return "the outer one goes on"

    assert limited(inner, 0.5) == "the outer one goes on"
    assert time.monotonic() - began < 5
    time.sleep(0.6)  # nothing rings afterwards


def test_a_time_limit_in_a_thread_and_no_late_alarm() -> None:
    seen: list[object] = []

    def spin() -> None:
        while True:
            time.sleep(0.01)

    def work() -> None:
        try:
            limited(spin, 0.1)
        except TimeLimitReached as error:
            seen.append(error)
        for _ in range(300):
            with suppress(TimeLimitReached):
                limited(lambda: time.sleep(0.001), 0.001)
        seen.append("clean")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(90)
    assert isinstance(seen[0], TimeLimitReached)
    assert seen[1:] == ["clean"]


@pytest.mark.parametrize("threaded", [False, True])
def test_a_stop_from_another_thread(threaded: bool) -> None:
    stoppable, seen = Stoppable(), []

    def spin() -> None:
        while True:
            time.sleep(0.01)

    def work() -> None:
        try:
            stoppable.call(spin, None)
        except RunCancelled as error:
            seen.append(str(error))

    threading.Timer(0.1, stoppable.stop, [RunCancelled("by request")]).start()
    if threaded:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(5)
    else:
        work()
    assert seen == ["by request"]
    with pytest.raises(RunCancelled):
        stoppable.call(lambda: 1, None)


class Server:
    """Takes log lines; can be down, and can refuse a line."""

    def __init__(self) -> None:
        self.lines: list[LogCreate] = []
        self.down = False

    def create_logs(self, body: list[LogCreate]) -> None:
        if self.down:
            raise ConnectionError
        if any(line.message == "poison" for line in body):
            raise InvalidInput("no")
        self.lines.extend(body)


def test_the_spool_survives_and_is_sent_once(tmp_path: object) -> None:
    from pathlib import Path  # noqa: PLC0415

    directory, server = Path(str(tmp_path)), Server()
    spool = Spool(directory / "1.log.jsonl")
    for number in range(1200):
        spool.write("x", 20, f"line {number} \ud800" if number == 3 else f"line {number}", flow_run_id=uuid4())
    server.down = True
    with pytest.raises(ConnectionError):
        ship([spool], server)
    server.down = False
    assert ship([spool], server) == 500
    spool.close()
    with (directory / "1.log.jsonl").open("ab") as file:
        file.write(b'{"torn')
    assert ship_remaining(directory, server) == 700
    assert ship_remaining(directory, server) == 0
    assert [line.message for line in server.lines[:2]] == ["line 0", "line 1"]
    assert len({line.id for line in server.lines}) == 1200


def test_one_line_that_nobody_takes_does_not_hold_the_others(tmp_path: object) -> None:
    from pathlib import Path  # noqa: PLC0415

    server, spool = Server(), Spool(Path(str(tmp_path)) / "1.log.jsonl")
    for text in ("a", "poison", "b"):
        spool.write("x", 20, text)
    ship([spool], server)
    assert [line.message for line in server.lines] == ["a", "b"]


def test_an_event_tells_of_a_state_as_the_wire_wants_it() -> None:
    facts = TaskFacts(uuid4(), "add-0", "add-1234", "1-0", now(), tags=["b", "a"], flow_run=(uuid4(), "run"))
    first = TaskClock().advance(Step(StateType.RUNNING, "Running"), 1)
    last = first.advance(Step(StateType.COMPLETED, "Completed"), 1)
    event = event_of(facts, first, last)
    assert event.event == "prefect.task-run.Completed"
    assert event.resource["prefect.resource.id"] == f"prefect.task-run.{facts.id}"
    assert event.payload["intended"] == {"from": "RUNNING", "to": "COMPLETED"}
    assert event.payload["validated_state"]["name"] == "Completed"
    assert event.payload["task_run"]["run_count"] == 1
    assert event.payload["task_run"]["end_time"] and event.payload["task_run"]["start_time"]
    assert [one["prefect.resource.role"] for one in event.related] == ["flow-run", "tag", "tag"]
    assert first.last is not None and event.follows == first.last.id


def test_attributes_of_the_function_are_those_of_the_task_where_it_has_none() -> None:
    def fn(x: int = 1) -> int:
        """What it does."""
        return x

    vars(fn).update(owner="me", name="not this", retries=9, version="mine", parameters=3)
    made, flowed = task(fn), flow(name="attributes")(fn)
    assert (made.owner, made.name, made.retries, made.__doc__) == ("me", "fn", 0, "What it does.")  # type: ignore[attr-defined]
    assert (flowed.owner, flowed.name, flowed.retries) == ("me", "attributes", 0)  # type: ignore[attr-defined]
    assert flowed.version != "mine" and set(flowed.parameters["properties"]) == {"x"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"description": 4}, "the description of a task must be a text"),
        ({"log_prints": "yes"}, "log_prints must be True or False; got 'yes'"),
        ({"refresh_cache": 1}, "refresh_cache must be True or False"),
        ({"cache_result_in_memory": "no"}, "cache_result_in_memory must be True or False"),
        ({"result_storage": 5}, "result_storage"),
        ({"result_storage": "foo://bucket/x"}, "fsspec knows no foo://"),
        ({"result_storage": "S3://bucket/x"}, "did you mean s3://"),
        ({"result_storage": "https://example.org/x"}, "can only be read"),
        ({"tags": "abc"}, r"the text 'abc': write tags=\['abc'\]"),
        ({"tags": 5}, "a list of texts; got int"),
        ({"tags": ["a", 5]}, "tags of a task are texts; got 5"),
        ({"result_storage_key": "{parameters[day]}"}, r"names \{parameters\[day\]\}: the function has no parameters"),
        ({"result_storage_key": "{nonsense}"}, r"it may name \{parameters\}, \{task_run\}, \{flow_run\}, \{deployment"),
        ({"result_storage_key": "{flow_run.nmae}"}, "flow_run has .*flow_name"),
        ({"result_storage_key": "{parameters[0]!r}"}, "brace that belongs to no place"),
        ({"result_serializer": "yaml"}, "yaml"),
        ({"persist_result": False, "cache_result_in_memory": False}, "keep the result nowhere"),
    ],
)
def test_options_are_checked_where_they_are_written(options: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, InvalidInput), match=says):
        task(**options)(lambda: None)


def test_a_key_may_name_arguments_and_what_is_known_of_the_run() -> None:
    for key in (
        "plain",
        "{parameters[day]:%Y}",
        "{parameters[rest][x]}",
        "{flow_run.parameters[a]}",
        "{deployment.name}",
    ):
        made = task(result_storage_key=key)(lambda day, **rest: None)
        assert made.persist_result is True
        with pytest.raises(InvalidInput, match="the function has the parameters day, rest"):
            made.with_options(result_storage_key="{parameters[night]}")


def test_a_result_that_is_not_held_is_kept() -> None:
    assert task(cache_result_in_memory=False)(lambda: None).persist_result is True
