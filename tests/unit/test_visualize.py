"""The graph of a flow without running it, and the picture of a graph."""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import Flow, as_completed, flow, get_run_logger, task, unmapped, wait
from millrace.engine.drawing import Node, svg
from millrace.errors import FlowVisualizationError, ParameterError

RAN: list[str] = []


@task
def extract(day: str) -> Any:
    RAN.append("extract")


@task
def clean(row: Any, how: str = "") -> Any:
    RAN.append("clean")


@task
def load(*rows: Any, **more: Any) -> Any:
    RAN.append("load")


@task
async def fetch(n: int) -> Any:
    RAN.append("fetch")


@flow
def report(of: Any) -> Any:
    RAN.append("report")


@flow
async def areport(of: Any) -> Any:
    RAN.append("areport")


@pytest.fixture(autouse=True)
def nothing_ran() -> Iterator[None]:
    RAN.clear()
    yield
    assert RAN == []


def lines(drawn: Any) -> list[str]:
    return str(drawn).splitlines()


def test_what_comes_from_what() -> None:
    @flow
    def etl(day: str) -> Any:
        get_run_logger().info("drawn without a run")
        rows = extract(day)
        other = extract.submit(day)
        total = rows["n"] + 2 * other.result().total - len("abc")
        cleaned = clean.map(rows, unmapped(other))
        load({"total": total, "rows": [cleaned]}, wait_for=[report(f"{day}")])
        extract("alone")

    drawn = etl.visualize("today")
    assert lines(drawn) == [
        "extract-0 -> clean-0",
        "extract-0 -> load-0",
        "extract-1 -> clean-0",
        "extract-1 -> load-0",
        "clean-0 -> load-0",
        "report-0 -> load-0",
        "extract-2",
    ]
    assert [node.kind for node in drawn.nodes].count("flow") == 1
    assert repr(drawn) == "<Drawing of 'etl': 6 calls, 6 edges>"
    with pytest.raises(ParameterError, match="missing"):
        etl.visualize()


def test_async_flows_are_awaited() -> None:
    @flow
    async def etl() -> Any:
        first = await fetch(1)
        both = await asyncio.gather(fetch(first), areport(first))
        later = fetch.submit(both)
        made = asyncio.create_task(fetch(await later))  # type: ignore[var-annotated, arg-type]
        return await made

    drawn = asyncio.run(etl.visualize())
    assert lines(drawn) == [
        "fetch-0 -> fetch-1",
        "fetch-0 -> areport-0",
        "fetch-1 -> fetch-2",
        "areport-0 -> fetch-2",
        "fetch-2 -> fetch-3",
    ]


def test_generator_flows_are_taken_to_their_end() -> None:
    @flow
    def items() -> Iterator[Any]:
        rows = extract("x")
        yield rows
        for row in rows:
            yield clean(row)

    @flow
    async def aitems() -> AsyncIterator[Any]:
        yield await fetch(1)
        for item in items():
            yield clean(item)

    assert lines(items.visualize()) == ["extract-0 -> clean-0"]
    assert lines(asyncio.run(aitems.visualize())) == ["items-0 -> clean-0", "fetch-0"]


def test_methods() -> None:
    class Shop:
        @task
        def pick(self, what: str) -> Any:
            RAN.append("pick")

        @flow
        def sell(self, what: str) -> Any:
            return clean(self.pick(what))

    assert lines(Shop().sell.visualize("tea")) == ["pick-0 -> clean-0"]


@pytest.mark.parametrize(
    "body",
    [
        lambda rows: 1 if rows else 2,
        lambda rows: rows == 3,
        lambda rows: rows > 3,
        lambda rows: len(rows),
        lambda rows: int(rows),
        lambda rows: [1, 2][rows],
        lambda rows: "a".join(["b", rows]),
    ],
)
def test_code_that_needs_a_result_says_so(body: Any) -> None:
    deciding = Flow(lambda: body(extract("x")), name="deciding")
    with pytest.raises(FlowVisualizationError, match="viz_return_value"):
        deciding.visualize()


def test_what_the_flow_itself_raises() -> None:
    @flow(name="broken")
    def broken() -> None:
        raise KeyError("k")

    with pytest.raises(
        FlowVisualizationError, match=r"'broken' cannot be drawn: its code raised KeyError: 'k'"
    ) as error:
        broken.visualize()
    assert isinstance(error.value.__cause__, KeyError)


def test_a_value_to_go_on_with() -> None:
    many = task(viz_return_value=[1, 2, 3])(extract.fn)
    small = task(viz_return_value=2)(extract.fn)

    @flow
    def etl() -> None:
        rows = many("x")
        for row in rows:
            clean(row)
        clean(rows)
        clean("x" * small("y"))

    assert lines(etl.visualize()) == ["extract-0 -> clean-3", "clean-0", "clean-1", "clean-2", "extract-1", "clean-4"]


def test_the_picture(tmp_path: Path) -> None:
    odd = task(name='<b> & "表"\x07')(clean.fn)

    @flow(name="drawn")
    def drawn() -> None:
        rows = extract("x")
        load([odd(row) for row in [rows] * 30])
        report("alone")

    made = drawn.visualize()
    path = made.save(tmp_path / "drawn.svg")
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["extract", '<b> & "表"  × 30', "load", "report"]
    assert made._repr_svg_() == made.svg and 'aria-label="Flow drawn"' in made.svg
    empty = Flow(lambda: None, name="empty").visualize()
    assert "Flow empty calls no tasks" in empty.svg
    ET.fromstring(empty.svg)


GRAPH = st.integers(0, 14).flatmap(
    lambda n: st.tuples(st.just(n), st.sets(st.tuples(st.integers(0, max(n - 1, 0)), st.integers(0, max(n - 1, 0)))))
)


@given(GRAPH, st.text())
def test_no_box_lies_on_another_and_every_edge_is_drawn(graph: tuple[int, set[tuple[int, int]]], label: str) -> None:
    count, pairs = graph
    nodes = [Node(f"n{number}", label + str(number)) for number in range(count)]
    forward = {(f"n{a}", f"n{b}") for a, b in pairs if a < b < count}
    text = svg(nodes, [(f"n{a}", f"n{b}") for a, b in pairs])
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    boxes = [
        tuple(float(one.attrib[key]) for key in ("x", "y", "width", "height")) for one in root.iter(f"{space}rect")
    ]
    assert len(boxes) == count
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for number, (x, y, w, h) in enumerate(boxes):
        assert x >= 0 and y >= 0 and x + w <= width + 1 and y + h <= height + 1
        for other in boxes[number + 1 :]:
            assert y != other[1] or x + w <= other[0] or other[0] + other[2] <= x
    assert len(re.findall(r'fill="none"', text)) == len(forward)
    tops = {node.key: box[1] for node, box in zip(nodes, boxes, strict=True)}
    assert all(tops[source] < tops[target] for source, target in forward)
    assert text == svg(nodes, [(f"n{a}", f"n{b}") for a, b in pairs]), "the same graph, the same picture"


def test_a_chain_is_a_straight_line() -> None:
    nodes = [Node(f"n{number}", "step") for number in range(5)]
    text = svg(nodes, [(f"n{number}", f"n{number + 1}") for number in range(4)])
    assert len(set(re.findall(r'<rect x="([\d.]+)"', text))) == 1


def test_crossings_are_avoided() -> None:
    nodes = [Node(key, key) for key in "abcxyz"]
    text = svg(nodes, [("a", "z"), ("b", "y"), ("c", "x")])
    place = dict(re.findall(r'<title>(\w)</title><rect x="([\d.]+)"', text))
    found = {key: float(value) for key, value in place.items()}
    assert (found["a"] < found["c"]) == (found["z"] < found["x"])
    assert (found["a"] < found["b"]) == (found["z"] < found["y"])


@pytest.mark.timeout(60)
def test_waiting_for_what_map_gives_is_drawn_too() -> None:
    @flow
    def waits() -> Any:
        made = clean.map([1, 2])
        made.wait()
        wait(made)
        first = [one.result() for one in as_completed([extract.submit("today")])]
        return load(made.result(), first)

    assert str(waits.visualize()).splitlines() == ["clean-0 -> load-0", "clean-1 -> load-0", "extract-0 -> load-0"]


def test_only_futures_are_waited_for() -> None:
    with pytest.raises(TypeError, match=r"wait\(\) takes futures, which submit\(\) and map\(\) give; got 5 \(int\)"):
        wait([5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"as_completed\(\) takes futures"):
        list(as_completed([5]))  # type: ignore[list-item]


def test_what_is_waited_for_may_stand_alone() -> None:
    @flow
    def waits() -> None:
        first = clean(1)
        clean(2, wait_for=first)
        clean.submit(3, wait_for=(one for one in [first]))

    assert str(waits.visualize()) == "clean-0 -> clean-1\nclean-0 -> clean-2"


def test_the_length_of_a_result_is_not_known() -> None:
    @flow
    def counts() -> None:
        len(clean(1))

    with pytest.raises(
        FlowVisualizationError, match=r"nobody knows how long the result of 'clean-0' is\. Give the task"
    ):
        counts.visualize()

    @flow
    def lists() -> None:
        clean([*list(clean(1))])

    assert str(lists.visualize()) == "clean-0 -> clean-1"


def test_code_that_raises_is_told_with_its_line() -> None:
    @flow
    def broken() -> None:
        raise ValueError("no such day")

    line = broken.fn.__code__.co_firstlineno + 2
    said = rf"'broken' cannot be drawn: its code raised ValueError: no such day \(test_visualize\.py:{line}\)\. Give"
    with pytest.raises(FlowVisualizationError, match=said):
        broken.visualize()
