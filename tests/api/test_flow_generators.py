"""Generator flows against the embedded server: items come as the run goes, and every way to stop ends the run."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from millrace import flow, tags, task
from millrace.client.synchronous import Client
from millrace.engine.context import FlowRunContext, current_tags
from millrace.errors import InvalidInput, ParameterError, RunTimedOut
from millrace.schema.states import StateType

from .looking import last_run, log_lines, names, runs_of, task_runs


def running_here() -> str | None:
    context = FlowRunContext.get()
    return context.flow_run.name if context else None


def test_items_come_as_the_run_goes(client: Client) -> None:
    seen: list[str] = []

    @task
    def double(n: int) -> int:
        return 2 * n

    @flow(name="counting", flow_run_name="to {n}")
    def counting(n: int) -> Iterator[int]:
        for number in range(n):
            seen.append(f"made {number}")
            yield double(number)
        return "all"

    items = counting("3")
    assert not runs_of(client, "counting"), "the run is made with the first item"
    assert next(items) == 0
    assert seen == ["made 0"]
    run = last_run(client, "counting")
    assert (run.name, run.state_type, run.parameters) == ("to 3", StateType.RUNNING, {"n": 3})
    assert list(items) == [2, 4]
    with pytest.raises(StopIteration):
        next(items)
    assert names(client, run)[-2:] == ["Running", "Completed"]
    assert sorted(task_runs(client, run)) == ["double-0", "double-1", "double-2"]


def test_the_value_of_a_generator_and_what_is_sent_to_it(client: Client) -> None:
    @flow(name="echo")
    def echo() -> Iterator[Any]:
        try:
            got = yield "first"
            yield f"got {got}"
        except KeyError as error:
            yield f"caught {error}"
        return "result"

    @flow(name="outer generator")
    def outer() -> Iterator[Any]:
        value = yield from echo()
        yield value

    items = outer()
    assert next(items) == "first"
    assert items.send("x") == "got x"
    assert items.throw(KeyError("k")) == "caught 'k'"
    assert list(items) == ["result"]
    parent, child = last_run(client, "outer generator"), last_run(client, "echo")
    assert child.parent_task_run_id == task_runs(client, parent)["echo-0"].id
    assert task_runs(client, parent)["echo-0"].state_type is StateType.COMPLETED


def test_a_generator_that_raises_fails(client: Client) -> None:
    @flow(name="raising items")
    def raising() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = raising()
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)
    run = last_run(client, "raising items")
    assert run.state is not None and (run.state_type, run.state.message) == (StateType.FAILED, "ValueError: no more")


@pytest.mark.parametrize("colour", ["def", "async def"])
def test_what_a_generator_raises_stands_in_the_log_of_its_run(
    client: Client, colour: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"said by {colour}"

    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more to say")

    async def aitems() -> AsyncIterator[int]:
        yield 1
        raise ValueError("no more to say")

    async def taken(made: Any) -> list[int]:
        return [item async for item in made]

    inner = flow(name=name)(items if colour == "def" else aitems)  # type: ignore[call-overload]

    @flow(name=f"around {name}")
    def around() -> None:
        with pytest.raises(ValueError, match="no more"):
            list(inner()) if colour == "def" else asyncio.run(taken(inner()))

    around()
    said = [line for line in log_lines(client, last_run(client, name)) if line.startswith("Raised:")]
    assert len(said) == 1 and "no more to say" in said[0]
    assert not any("no more to say" in line for line in log_lines(client, last_run(client, f"around {name}")))
    with pytest.raises(ValueError, match="no more"):
        list(inner()) if colour == "def" else asyncio.run(taken(inner()))
    shown = capsys.readouterr().err
    assert "Raised: ValueError: no more to say" in shown and "Logging error" not in shown


def test_a_retry_begins_again(client: Client) -> None:
    tries: list[int] = []

    @flow(name="again items", retries=1)
    def again() -> Iterator[int]:
        tries.append(1)
        yield 1
        if len(tries) == 1:
            raise ValueError
        yield 2

    assert list(again()) == [1, 1, 2]
    assert (last_run(client, "again items").run_count, last_run(client, "again items").state_name) == (2, "Completed")


@pytest.mark.parametrize("how", ["close", "forget", "cycle"])
def test_a_consumer_that_stops_early_completes_the_run(client: Client, how: str) -> None:
    cleaned: list[str] = []
    name = f"stopped by {how}"

    @flow(name=name)
    def endless() -> Iterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            cleaned.append("yes")

    items = endless()
    assert [next(items), next(items)] == [0, 1]
    if how == "close":
        items.close()
        items.close()
        with pytest.raises(StopIteration):
            next(items)
    elif how == "forget":
        del items
    else:
        circle: list[Any] = [items]
        circle.append(circle)
        del items, circle
        gc.collect()  # or it was collected just now, on a thread of the server in this process
    soon = time.monotonic() + 10
    while names(client, last_run(client, name))[-1] != "Completed" and time.monotonic() < soon:
        time.sleep(0.05)
    assert cleaned == ["yes"]
    assert names(client, last_run(client, name))[-1] == "Completed"


def test_a_clean_up_that_raises_is_not_tried_again(client: Client) -> None:
    @flow(name="bad clean-up", retries=3)
    def bad() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("while closing")

    items = bad()
    next(items)
    with pytest.raises(Exception, match="while closing"):
        items.close()
    run = last_run(client, "bad clean-up")
    assert (run.state_type, run.run_count) == (StateType.CANCELLED, 1)


def test_a_consumers_exception_reaches_the_run(client: Client) -> None:
    @flow(name="thrown at")
    def thrown_at() -> Iterator[int]:
        yield 1
        yield 2

    items = thrown_at()
    next(items)
    with pytest.raises(KeyError):
        items.throw(KeyError("mine"))
    assert last_run(client, "thrown at").state_type is StateType.FAILED


def test_the_run_is_current_inside_only(client: Client) -> None:
    @flow(name="inside", flow_run_name="inside {n}")
    def inside(n: int) -> Iterator[Any]:
        with tags("within"):
            yield running_here(), current_tags()
            yield running_here(), current_tags()

    with tags("outer"):
        first, second = inside(1), inside(2)
        assert next(first) == ("inside 1", ["outer", "within"])
        assert (running_here(), current_tags()) == (None, ["outer"])
        assert next(second) == ("inside 2", ["outer", "within"])
        assert next(first) == ("inside 1", ["outer", "within"])
    assert current_tags() == []
    first.close(), second.close()
    assert last_run(client, "inside").tags == ["outer"]


def test_the_time_of_the_consumer_does_not_count(client: Client) -> None:
    @flow(name="timed items", timeout_seconds=0.5)
    def timed(slow: bool) -> Iterator[int]:
        yield 1
        time.sleep(20 if slow else 0)
        yield 2

    items = timed(False)
    next(items)
    time.sleep(0.6)
    assert list(items) == [2]
    items = timed(True)
    next(items)
    begun = time.monotonic()
    with pytest.raises(RunTimedOut, match=r"The flow 'timed items' took longer than its time limit of 0\.5 s\."):
        next(items)
    assert time.monotonic() - begun < 15
    assert last_run(client, "timed items").state_name == "TimedOut"


def test_what_a_generator_does_not_do(client: Client) -> None:
    @flow(name="no state")
    def items(n: int) -> Iterator[int]:
        yield n

    with pytest.raises(InvalidInput, match="no return_state"):
        items(1, return_state=True)
    with pytest.raises(ParameterError, match="got 'x'"):
        items("x")
    items(1)  # never begun: no run
    assert not runs_of(client, "no state")


def test_cancelling_a_run_between_items(client: Client) -> None:
    @flow(name="cancelled items")
    def endless() -> Iterator[int]:
        while True:
            time.sleep(0.05)
            yield 1

    items = endless()
    next(items)
    client.set_flow_run_state(last_run(client, "cancelled items").id, state={"type": "CANCELLING"})
    with pytest.raises(Exception, match="Cancelled by request"):
        for _ in range(2000):
            next(items)
    assert last_run(client, "cancelled items").state_type is StateType.CANCELLED


def test_an_async_generator(client: Client) -> None:
    tasks_: set[Any] = set()

    @task
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    @flow(name="async items")
    async def counting(n: int) -> AsyncIterator[int]:
        async with asyncio.timeout(60):
            for number in range(n):
                tasks_.add(asyncio.current_task())
                with tags(f"t{number}"):
                    yield await double(number)

    async def main() -> list[int]:
        found = [item async for item in counting("3")]
        assert running_here() is None and current_tags() == []
        return found

    assert asyncio.run(main()) == [0, 2, 4]
    assert len(tasks_) == 1, "one asyncio task from the beginning to the end"
    run = last_run(client, "async items")
    assert names(client, run)[-2:] == ["Running", "Completed"]
    assert [one.tags for _, one in sorted(task_runs(client, run).items())] == [["t0"], ["t1"], ["t2"]]


@pytest.mark.parametrize("how", ["close", "break", "raise", "retry", "time", "throw"])
def test_an_async_generator_ends(client: Client, how: str) -> None:
    name = f"async ends by {how}"
    cleaned: list[str] = []

    @flow(name=name, retries=int(how == "retry"), timeout_seconds=0.5 if how == "time" else None)
    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            if how == "raise" or (how == "retry" and not cleaned):
                raise ValueError("late")
            if how == "time":
                await asyncio.sleep(60)
            yield 2
        finally:
            cleaned.append("yes")

    async def main() -> list[int]:
        found = []
        running = items()
        async for item in running:
            found.append(item)
            if how == "close":
                await running.aclose()
            if how == "throw":
                await running.athrow(ValueError("late"))
            if how == "break":
                break
        return found

    expected = {"close": "Completed", "break": "Completed", "retry": "Completed", "time": "TimedOut"}
    if how in expected and how != "time":
        assert asyncio.run(main()) == ([1, 1, 2] if how == "retry" else [1])
    else:
        with pytest.raises(RunTimedOut if how == "time" else ValueError):
            asyncio.run(main())
    assert cleaned[0] == "yes"
    assert names(client, last_run(client, name))[-1] == expected.get(how, "Failed")


def test_an_async_generator_in_a_cancelled_task(client: Client) -> None:
    cleaned: list[str] = []

    @flow(name="async cancelled items")
    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            cleaned.append("yes")

    async def main() -> None:
        async def take() -> None:
            async for _ in items():
                taken.set()

        taken = asyncio.Event()
        work = asyncio.create_task(take())
        await taken.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(main())
    assert cleaned == ["yes"]
    assert last_run(client, "async cancelled items").state_type is StateType.CANCELLED
