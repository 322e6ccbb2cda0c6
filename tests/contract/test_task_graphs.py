"""Random graphs of tasks: whatever runs them, the result is that of plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace import flow, task, unmapped
from millrace.client.synchronous import Client
from millrace.engine.runners import TaskRunner

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::ResourceWarning")]


def _numbers(thing: Any) -> list[int]:
    if isinstance(thing, int):
        return [thing]
    items = thing.values() if isinstance(thing, dict) else thing
    return [number for item in items for number in _numbers(item)]


def folded(thing: Any, start: int = 0) -> int:
    found = start
    for number in _numbers(thing):
        found = (found * 31 + number) % 1_000_003
    return found


def spread(thing: Any, start: int = 0) -> list[int]:
    return [(number + start) % 1009 for number in _numbers(thing)][:4] or [start]


FUNCTIONS = {"fold": folded, "spread": spread}
TASKS = {name: task(function) for name, function in FUNCTIONS.items()}


def coloured(function: Callable[..., Any]) -> Any:
    async def awaited(thing: Any, start: int = 0) -> Any:
        await asyncio.sleep(0)
        return function(thing, start)

    return task(awaited, name=function.__name__)


AWAITED = {name: coloured(function) for name, function in FUNCTIONS.items()}


@dataclass(frozen=True)
class Node:
    """One step: a task, how it is run, its argument, and what it waits for."""

    name: str
    how: str
    thing: Any
    start: int
    wait_for: tuple[int, ...]
    awaited: bool


@dataclass(frozen=True)
class Ref:
    """The result of an earlier step."""

    number: int


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 8))):
        leaves: Any = st.integers(-9, 9)
        if number:
            leaves = leaves | st.integers(0, number - 1).map(Ref)
        things = st.recursive(
            leaves,
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.tuples(inner, inner)
                | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
            ),
            max_leaves=5,
        )
        how = draw(st.sampled_from(["call", "submit", "map"]))
        if how == "map":
            things = st.lists(things, min_size=1, max_size=3)
        earlier = st.lists(st.integers(0, number - 1), max_size=2).map(tuple) if number else st.just(())
        name, awaited = draw(st.sampled_from(sorted(FUNCTIONS))), draw(st.booleans())
        nodes.append(Node(name, how, draw(things), draw(st.integers(0, 9)), draw(earlier), awaited))
    return nodes


def filled(thing: Any, results: list[Any]) -> Any:
    if isinstance(thing, Ref):
        return results[thing.number]
    if isinstance(thing, dict):
        return {key: filled(item, results) for key, item in thing.items()}
    return type(thing)(filled(item, results) for item in thing) if isinstance(thing, (list, tuple)) else thing


def plainly(nodes: list[Node]) -> list[Any]:
    results: list[Any] = []
    for node in nodes:
        function, thing = FUNCTIONS[node.name], filled(node.thing, results)
        results.append(
            [function(item, node.start) for item in thing] if node.how == "map" else function(thing, node.start)
        )
    return results


def by_tasks(nodes: list[Node]) -> list[Any]:
    results: list[Any] = []
    for node in nodes:
        # in a `def` flow an `async def` task is submitted; in place it would have to be awaited
        kinds = AWAITED if node.awaited and node.how != "call" else TASKS
        step, thing = kinds[node.name], filled(node.thing, results)
        wait_for = [results[number] for number in node.wait_for]
        if node.how == "map":
            results.append(step.map(thing, start=unmapped(node.start), wait_for=wait_for))
        else:
            run = step if node.how == "call" else step.submit
            results.append(run(thing, start=node.start, wait_for=wait_for))
    return results


async def by_awaited_tasks(nodes: list[Node]) -> list[Any]:
    results: list[Any] = []
    for node in nodes:
        step, thing = (AWAITED if node.awaited else TASKS)[node.name], filled(node.thing, results)
        wait_for = [results[number] for number in node.wait_for]
        if node.how == "map":
            results.append(step.map(thing, start=unmapped(node.start), wait_for=wait_for))
        elif node.how == "submit":
            results.append(step.submit(thing, start=node.start, wait_for=wait_for))
        elif node.awaited:
            results.append(await step(thing, start=node.start, wait_for=wait_for))
        else:
            results.append(step(thing, start=node.start, wait_for=wait_for))
    return results


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(nodes=graphs())
def test_a_graph_of_tasks_gives_what_plain_python_gives(runner: TaskRunner, client: Client, nodes: list[Node]) -> None:
    @flow(task_runner=runner, validate_parameters=False)
    def graph() -> Any:
        return by_tasks(nodes)

    @flow(task_runner=runner, validate_parameters=False)
    async def awaited_graph() -> Any:
        return await by_awaited_tasks(nodes)

    assert graph() == plainly(nodes)
    assert asyncio.run(awaited_graph()) == plainly(nodes)
