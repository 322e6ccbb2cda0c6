"""Futures of submitted tasks: waiting, awaiting, being told."""

from __future__ import annotations

import asyncio
import logging
import threading
from uuid import uuid4

import pytest

from millrace import flow, task
from millrace.client.synchronous import Client
from millrace.engine.effects import Step
from millrace.engine.endings import Ending
from millrace.engine.futures import TaskFuture
from millrace.schema.states import StateType


def test_who_stops_awaiting_a_future_leaves_it_as_it_was(client: Client) -> None:
    go = threading.Event()

    @task
    def slow(x: int) -> int:
        assert go.wait(60)
        return x

    @flow
    async def impatient() -> tuple[int, int, str]:
        future = slow.submit(3)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(future, 0.05)
        assert not future.done()
        go.set()
        both = await asyncio.gather(future, future)
        assert both == [3, 3]
        return await future, future.result(), future.state.name

    assert asyncio.run(impatient()) == (3, 3, "Completed")


def test_many_threads_wait_for_one_future_and_each_is_told_once(client: Client) -> None:
    future: TaskFuture[int] = TaskFuture(uuid4(), "made by hand")
    got: list[int] = []
    told: list[TaskFuture[int]] = []
    threads = [threading.Thread(target=lambda: got.append(future.result(60))) for _ in range(8)]
    for thread in threads:
        thread.start()
    future.add_done_callback(told.append)
    for _ in range(100):
        future.wait(0)  # leaves nothing behind
    assert len(future._callbacks) <= 9
    future._set(Ending(Step(StateType.COMPLETED, "Completed"), 5))
    future._set(Ending(Step(StateType.COMPLETED, "Completed"), 6))  # the first one holds
    future.add_done_callback(told.append)
    for thread in threads:
        thread.join(60)
    assert got == [5] * 8 and told == [future, future] and future._callbacks == ()


def test_a_callback_that_raises_keeps_no_other_from_its_turn(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    future: TaskFuture[int] = TaskFuture(uuid4(), "made by hand")
    told: list[TaskFuture[int]] = []

    def bad(_: TaskFuture[int]) -> None:
        raise ValueError("mine")

    future.add_done_callback(bad)
    future.add_done_callback(told.append)
    with caplog.at_level(logging.ERROR):
        future._set(Ending(Step(StateType.COMPLETED, "Completed"), 1))
    assert told == [future] and future.result() == 1
    assert "ValueError: mine" in caplog.text
