"""The threads of submitted tasks: how many go on at a time, and who brings one more."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import pytest

from millrace.engine.crews import Crew, Places, place_given_back

PATIENCE = 60


class Asked(concurrent.futures.Executor):
    """Threads that have been asked for and have not come."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(fn)


class Exhausted(Asked):
    """A machine that can start no thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("can't start new thread")


def crew_of(limit: int, threads: Any = None) -> Crew:
    crew = Crew(Places(limit))
    crew._threads = threads
    return crew


def test_calls_that_wait_for_each_other_all_go_on_at_the_same_time() -> None:
    crew, met = crew_of(1000), threading.Barrier(100)
    for _ in range(100):
        crew.enlist()(lambda: met.wait(PATIENCE))
    crew.close()
    assert not met.broken


def test_no_more_calls_go_on_than_there_are_places() -> None:
    crew, lock, now, most = crew_of(3), threading.Lock(), [0], [0]

    def work() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.002)
        with lock:
            now[0] -= 1

    for _ in range(60):
        crew.enlist()(work)
    crew.close()
    assert most[0] == 3 and crew.places._free == 3


def test_only_one_thread_is_on_its_way_however_many_calls_wait() -> None:
    asked, done = Asked(), []
    crew = crew_of(1000, asked)
    for number in range(50):
        crew.enlist()(lambda number=number: done.append(number))  # type: ignore[misc]
    assert len(asked.calls) == 1
    asked.calls.pop()()  # it comes: it brings one more, and takes all the calls, which are short
    assert done == list(range(50)) and len(asked.calls) == 1
    asked.calls.pop()()
    assert asked.calls == [] and crew.places._free == 1000
    crew.enlist()(lambda: None)
    assert len(asked.calls) == 1


def test_a_call_that_waits_gives_its_place_to_another_and_goes_on_before_those_that_have_not_begun() -> None:
    crew, second, order = crew_of(1), threading.Event(), []

    def first() -> None:
        with place_given_back():
            assert second.wait(PATIENCE)
        order.append("first")

    def other() -> None:
        second.set()
        order.append("second")

    for call in (first, other, lambda: order.append("third")):
        crew.enlist()(call)
    crew.close()
    assert order[0] == "second" and sorted(order) == ["first", "second", "third"] and crew.places._free == 1


def test_a_call_that_raises_gives_its_place_back() -> None:
    crew = crew_of(1)
    done: list[int] = []

    def fail() -> None:
        raise ValueError("mine")

    crew.enlist()(fail)
    crew.enlist()(lambda: done.append(1))
    crew.close()
    assert done == [1] and crew.places._free == 1


def test_a_closed_crew_takes_no_calls() -> None:
    crew = crew_of(1)
    crew.close()
    with pytest.raises(RuntimeError, match="closed"):
        crew.enlist()


def test_where_no_thread_can_be_started_whoever_submits_is_told_and_nothing_waits_for_ever() -> None:
    crew = crew_of(5, Exhausted())
    with pytest.raises(RuntimeError, match="can't start"):
        crew.enlist()(lambda: None)
    crew._threads = None
    done: list[int] = []
    crew.enlist()(lambda: done.append(1))
    crew.close()
    assert done == [1]
