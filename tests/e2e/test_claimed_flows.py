"""Flows that a worker runs: every value reaches the function, hooks run in the child, generators end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from yard import Yard, open_yard

from millrace import Flow
from millrace.schema.states import SetState, StateType, named

HARD = {
    "": "",
    "numbers": [0, -0.0, 2**63, -(2**63) - 1, 10**200, 1e308, 5e-324, 0.1, True, None],
    "texts": ["\0", "\u2028", "'\"\\", "ß表🙂", "<b>&amp;", "{{ x }}", "\r\n\t", "NaN"],
    "deep": {"a": [[[{"b": [{}]}]]]},
    "a b/c.d": {"": [[], {}]},
}
TAKES = """
@flow
def job(value: dict, *more: "Any", huge: int = 2**70, **rest: "Any"):
    note("seen", value=value, more=more, huge=huge, rest=rest)

from typing import Any
"""
HOOKED = """
def noted(flow, run, state):
    note(f"hook {state.type.value}", flow=flow.name, hooked=str(run.id), name=run.name)

async def anoted(flow, run, state):
    noted(flow, run, state)

def bad(flow, run, state):
    raise ValueError("a hook that raises")

EVERY = dict(on_running=[bad, noted], on_completion=[bad, anoted], on_failure=[bad, noted], on_crashed=[bad, noted],
             on_cancellation=[bad, anoted])

@flow(name="hooked {how}".replace("{", "").replace("}", ""), **EVERY)
def job(how: str):
    note("begin")
    if how == "FAILED":
        raise KeyError(how)
    if how == "CRASHED":
        raise SystemExit(3)
    if how == "CANCELLED":
        time.sleep(60)
"""
ITEMS = """
@flow(flow_run_name="items to {n}")
def job(n: int):
    for number in range(n):
        note("item", number=number)
        yield number
    return {"items": n}
"""


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    yield from open_yard(tmp_path, monkeypatch, MILLRACE_CANCEL_GRACE_SECONDS="10")


def test_hard_values_reach_a_function_in_a_child(yard: Yard) -> None:
    deployment = yard.deployment(TAKES)
    yard.start_worker()
    sent = Flow(lambda value, more, huge, rest: None).serialize_parameters(
        {"value": HARD, "more": [HARD, 1], "huge": 2**99, "rest": {"other": HARD}}
    )
    run = yard.wait(yard.run(deployment, **sent))
    assert run.state_type is StateType.COMPLETED, run.state
    (seen,) = yard.entries(run, "seen")
    assert (seen["value"], seen["more"], seen["huge"], seen["rest"]) == (HARD, [HARD, 1], 2**99, {"other": HARD})
    assert json.dumps(seen["value"]) == json.dumps(HARD), "the order of keys and -0.0 too"


def test_hooks_run_in_the_child_on_every_way_out(yard: Yard) -> None:
    deployment = yard.deployment(HOOKED)
    yard.start_worker()
    runs = {how: yard.run(deployment, how=how) for how in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")}
    stopped = runs["CANCELLED"]
    yard.until(lambda: yard.entries(stopped, "begin"), 60)
    yard.client.set_flow_run_state(stopped.id, SetState(state=named("Cancelling")))
    for how, run in runs.items():
        assert yard.wait(run, seconds=120).state_type == how, yard.output(run)
        yard.until(lambda run=run, how=how: yard.entries(run, f"hook {how}"))  # called once the state holds
        hooks = [entry for entry in yard.entries(run) if entry["what"].startswith("hook")]
        assert [entry["what"] for entry in hooks] == ["hook RUNNING", f"hook {how}"]
        assert {(entry["hooked"], entry["name"], entry["flow"]) for entry in hooks} == {
            (str(run.id), run.name, "hooked how")
        }


def test_a_worker_takes_all_items_of_a_generator(yard: Yard) -> None:
    deployment = yard.deployment(ITEMS)
    yard.start_worker()
    run = yard.wait(yard.run(deployment, n=3))
    assert run.state_type is StateType.COMPLETED, yard.output(run)
    assert run.name == "items to 3"
    assert [entry["number"] for entry in yard.entries(run, "item")] == [0, 1, 2]
    assert run.state is not None and run.state.result() == {"items": 3}
