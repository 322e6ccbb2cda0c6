"""Generator tasks against the embedded server: called they give items as they are made, submitted the list of them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from millrace import INPUTS, Task, flow, get_run_logger, tags, task
from millrace.client.synchronous import Client
from millrace.engine.context import TaskRunContext, current_tags
from millrace.errors import InvalidInput, ParameterError, RunTimedOut
from millrace.schema.runs import FlowRunCreate
from millrace.schema.states import StateType

from .looking import last_run, log_lines, task_runs


def test_items_come_as_they_are_made(client: Client) -> None:
    made: list[Any] = []

    @task(task_run_name="rows of {n}")
    def rows(n: int) -> Iterator[dict[str, int]]:
        """Rows."""
        context = TaskRunContext.get()
        assert context is not None and context.name == "rows of 3"
        for number in range(n):
            made.append(number)
            yield {"row": number}

    @task
    def load(row: dict[str, int]) -> int:
        return row["row"]

    @flow(name="loads rows")
    def loads() -> list[int]:
        loaded: list[int] = []
        for row in rows(3):
            assert made == list(range(len(loaded) + 1)), "nothing is made before it is asked for"
            assert TaskRunContext.get() is None, "the consumer is not the task"
            loaded.append(load(row))
        return loaded

    assert rows.isgenerator and not rows.isasync
    assert loads() == [0, 1, 2]
    found = task_runs(client, last_run(client, "loads rows"))
    assert found["rows of 3"].state_type is StateType.COMPLETED
    sources = found["load-1"].task_inputs["row"]
    assert [one.id for one in sources] == [found["rows of 3"].id], "the graph shows the item's way"


def test_the_value_of_a_generator_and_what_is_sent_to_it() -> None:
    @task
    def echo() -> Iterator[Any]:
        got = yield "first"
        try:
            yield f"got {got}"
        except KeyError:
            yield "caught"
        return "result"

    def whole() -> Iterator[Any]:
        yield (yield from echo())

    items = whole()
    assert next(items) == "first"
    assert items.send("x") == "got x"
    assert items.throw(KeyError("k")) == "caught"
    assert list(items) == ["result"]


def test_submitted_it_gives_the_list(client: Client) -> None:
    @task
    def upto(n: int) -> Iterator[int]:
        yield from range(n)

    @task
    async def aupto(n: int) -> AsyncIterator[int]:
        for number in range(n):
            await asyncio.sleep(0)
            yield number

    @flow(name="lists")
    def lists() -> list[Any]:
        return [
            upto.submit(3).result(),
            upto.map([1, 2]).result(),
            aupto.submit(3).result(),
            aupto.map([1, 2]).result(),
            list(upto(upto.submit(3).result()[-1])),
            list(upto(n=total.submit(upto.submit(3)))),
        ]

    @task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert lists() == [[0, 1, 2], [[0], [0, 1]], [0, 1, 2], [[0], [0, 1]], [0, 1], [0, 1, 2]]
    assert {run.state_name for run in task_runs(client, last_run(client, "lists")).values()} == {"Completed"}
    assert upto.submit(2).result() == list(upto(2)) == [0, 1], "outside of a flow, too"


def test_failures_and_retries(client: Client) -> None:
    tries: list[int] = []

    @task(retries=1)
    def again() -> Iterator[int]:
        tries.append(1)
        yield 1
        if len(tries) % 3 != 2:
            raise ValueError("once more")
        yield 2

    @flow(name="retries items")
    def retries() -> list[int]:
        taken = list(again())
        with pytest.raises(ValueError, match="once more"):
            list(again.with_options(name="never", retries=0)())
        return taken

    assert retries() == [1, 1, 2]
    found = task_runs(client, last_run(client, "retries items"))
    assert (found["again-0"].state_name, found["again-0"].run_count) == ("Completed", 2)
    assert found["never-1"].state is not None
    assert (found["never-1"].state_name, found["never-1"].state.message) == ("Failed", "ValueError: once more")


@pytest.mark.parametrize("how", ["break", "close", "throw"])
def test_a_consumer_that_stops(client: Client, how: str) -> None:
    cleaned: list[str] = []
    name = f"stops by {how}"

    @task
    def endless() -> Iterator[int]:
        try:
            while True:
                yield len(cleaned)
        finally:
            cleaned.append(how)

    @flow(name=name)
    def stops() -> None:
        items = endless()
        assert next(items) == 0
        if how == "break":
            for _ in items:
                break
            del items
        elif how == "close":
            items.close()
        else:
            with pytest.raises(KeyError):
                items.throw(KeyError("mine"))

    stops()
    assert cleaned == [how]
    found = task_runs(client, last_run(client, name))["endless-0"]
    assert found.state_name == ("Failed" if how == "throw" else "Completed")


def test_a_time_limit_counts_while_the_task_works(client: Client) -> None:
    @task(timeout_seconds=0.5)
    def slow(seconds: float) -> Iterator[int]:
        yield 1
        time.sleep(seconds)
        yield 2

    @task(timeout_seconds=0.5)
    async def aslow(seconds: float) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(seconds)
        yield 2

    @flow(name="slow items")
    async def works() -> None:
        for _ in slow(0):
            time.sleep(0.4)
        async for _ in aslow(0):
            time.sleep(0.4)
        with pytest.raises(RunTimedOut):
            list(slow(30))
        with pytest.raises(RunTimedOut):
            [item async for item in aslow(30)]
        with pytest.raises(RunTimedOut):
            await slow.submit(3)
        with pytest.raises(RunTimedOut):
            await aslow.submit(30)

    asyncio.run(works())
    states = [run.state_name for run in task_runs(client, last_run(client, "slow items")).values()]
    assert sorted(map(str, states)) == ["Completed"] * 2 + ["TimedOut"] * 4


def test_async_generators(client: Client) -> None:
    cleaned: list[str] = []

    @task(retries=1, log_prints=True)
    async def pages(n: int) -> AsyncIterator[str]:
        try:
            for number in range(n):
                await asyncio.sleep(0)
                print(f"page {number}")
                get_run_logger().info("logged %s", number)
                yield f"page {number}"
        finally:
            cleaned.append("clean")

    @flow(name="pages")
    async def read() -> list[str]:
        async for _ in pages(5):
            break
        with tags("outer"):
            taken = [page async for page in pages(2)]
            assert current_tags() == ["outer"]
        return taken

    assert pages.isasync and pages.isgenerator
    assert asyncio.run(read()) == ["page 0", "page 1"]
    assert cleaned == ["clean", "clean"]
    run = last_run(client, "pages")
    found = task_runs(client, run)
    assert {one.state_name for one in found.values()} == {"Completed"}
    assert found["pages-1"].tags == ["outer"]
    assert log_lines(client, run).count("page 1") == 1


def test_hooks_results_and_caches(client: Client) -> None:
    heard: list[str] = []
    made: list[int] = []

    @task(cache_policy=INPUTS, on_completion=[lambda task, run, state: heard.append(f"{run.name} {state.name}")])
    def upto(n: int, salt: str) -> Iterator[int]:
        for number in range(n):
            made.append(number)
            yield number
        return "sum"

    @flow(name="cached items")
    def cached() -> list[Any]:
        salt = str(uuid4())
        return [
            list(upto(2, salt)),
            list(upto(2, salt)),
            upto.submit(2, salt).result(),
            upto.submit(2, salt).result(),
        ]

    assert cached() == [[0, 1]] * 4
    assert made == [0, 1] * 3, "the list that was submitted is used again; a call makes its items anew"
    assert heard == ["upto-0 Completed", "upto-1 Completed", "upto-2 Completed", "upto-3 Cached"]


def test_what_it_waits_for_and_upstream_failures(client: Client) -> None:
    @task
    def fails() -> int:
        raise ValueError("up there")

    @task
    def items(n: int) -> Iterator[int]:
        yield n

    @flow(name="upstream of items")
    def upstream() -> None:
        with pytest.raises(Exception, match="fails-0"):
            list(items(fails.submit()))
        with pytest.raises(Exception, match="fails-1"):
            list(items(1, wait_for=[fails.submit()]))

    upstream()
    found = task_runs(client, last_run(client, "upstream of items"))
    assert (found["items-0"].state_name, found["items-1"].state_name) == ("NotReady", "NotReady")


def test_methods_wrong_calls_and_drawings() -> None:
    class Reader:
        def __init__(self, n: int) -> None:
            self.n = n

        @task
        def lines(self, more: int = 0) -> Iterator[int]:
            yield from range(self.n + more)

        @task
        async def alines(self) -> AsyncIterator[int]:
            yield self.n

    reader = Reader(2)
    assert list(reader.lines()) == [0, 1]
    assert reader.lines.submit(more=1).result() == [0, 1, 2]
    with pytest.raises(ParameterError, match="less"):
        reader.lines(less=1)
    with pytest.raises(InvalidInput, match="submit"):
        reader.lines(return_state=True)
    assert repr(reader.lines()) == "<items of <Task 'lines': lines(more)>>"
    state = reader.lines.submit(return_state=True)
    assert state.result() == [0, 1]

    @task(viz_return_value=[1, 2])
    async def two() -> AsyncIterator[int]:
        yield 0

    @flow
    async def drawn() -> None:
        for line in reader.lines():
            reader.lines(line)
        async for line in reader.alines():
            reader.lines(line)
        assert [item async for item in two()] == [1, 2]

    drawing = asyncio.run(drawn.visualize())
    assert [node.label for node in drawing.nodes] == ["lines", "lines", "alines", "lines", "two"]


def test_the_options_of_a_task_can_be_looked_up() -> None:
    options = inspect.signature(Task).parameters
    for place in (inspect.signature(Task.with_options), inspect.signature(task)):
        assert set(place.parameters) >= set(options) - {"fn"}
    assert list(inspect.signature(Task.with_options).parameters)[:2] == ["self", "name"]


def test_a_flow_made_of_a_task_has_its_own_name(client: Client) -> None:
    plain = task(name="<inner>")(lambda x: x)
    made = flow(plain, name="made of a task")  # type: ignore[call-overload]
    assert made.name == "made of a task" and made(2) == 2
    assert list(task_runs(client, last_run(client, "made of a task"))) == ["<inner>-0"]


def test_a_name_that_cannot_be_is_refused_by_the_server(client: Client) -> None:
    with pytest.raises(InvalidInput, match="flow_name"):
        client.begin_flow_run(flow_name="a/b", flow_run=FlowRunCreate(flow_id=uuid4()), holder="a test")
