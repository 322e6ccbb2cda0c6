"""Flows that a worker runs: every value reaches the function, hooks run in the child, generators end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yard import LEDGER, Yard, open_plot

from millrace import Flow
from millrace.errors import NotFound
from millrace.schema.runs import FlowRun
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


STAFF = {"MILLRACE_CANCEL_GRACE_SECONDS": "10"}


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    yield from open_plot(ground, tmp_path, **STAFF)


def test_hard_values_reach_a_function_in_a_child(staffed: Yard) -> None:
    deployment = staffed.deployment(TAKES)
    sent = Flow(lambda value, more, huge, rest: None).serialize_parameters(
        {"value": HARD, "more": [HARD, 1], "huge": 2**99, "rest": {"other": HARD}}
    )
    run = staffed.wait(staffed.run(deployment, **sent))
    assert run.state_type is StateType.COMPLETED, run.state
    (seen,) = staffed.entries(run, "seen")
    assert (seen["value"], seen["more"], seen["huge"], seen["rest"]) == (HARD, [HARD, 1], 2**99, {"other": HARD})
    assert json.dumps(seen["value"]) == json.dumps(HARD), "the order of keys and -0.0 too"


def test_hooks_run_in_the_child_on_every_way_out(staffed: Yard) -> None:
    deployment = staffed.deployment(HOOKED)
    runs = {how: staffed.run(deployment, how=how) for how in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")}
    stopped = runs["CANCELLED"]
    staffed.until(lambda: staffed.entries(stopped, "begin"), 60)
    staffed.client.set_flow_run_state(stopped.id, SetState(state=named("Cancelling")))
    for how, run in runs.items():
        assert staffed.wait(run, seconds=120).state_type == how, staffed.output(run)
        staffed.until(lambda run=run, how=how: staffed.entries(run, f"hook {how}"))  # called once the state holds
        hooks = [entry for entry in staffed.entries(run) if entry["what"].startswith("hook")]
        assert [entry["what"] for entry in hooks] == ["hook RUNNING", f"hook {how}"]
        assert {(entry["hooked"], entry["name"], entry["flow"]) for entry in hooks} == {
            (str(run.id), run.name, "hooked how")
        }


KILLED = """
from millrace import get_run_logger
from millrace.runtime import flow_run

def noted(flow, run, state):
    get_run_logger().info("hook of %s says %s", run.name, state.name)
    print("printed by the hook of", flow_run.name)
    note(f"hook {state.type.value}", flow=flow.name, hooked=str(run.id), message=state.message, mine=os.getpid())

async def anoted(flow, run, state):
    noted(flow, run, state)

@flow(name="killed", on_crashed=[noted, anoted], on_failure=[noted], on_cancellation=[noted], log_prints=True)
def job(how: str):
    note("begin")
    if how == "left":
        os._exit(3)
    if how == "self":
        os.kill(os.getpid(), signal.SIGKILL)
    while how == "stuck":
        try:
            time.sleep(0.1)
        except BaseException:
            pass
    time.sleep(300)
"""


def _hooks_of(yard: Yard, run: FlowRun) -> list[dict[str, Any]]:
    return [entry for entry in yard.entries(run) if entry["what"].startswith("hook")]


@pytest.mark.parametrize("how", ["killed", "self", "left", "terminated"])
def test_hooks_of_a_run_whose_process_died_are_called_all_the_same(staffed: Yard, how: str) -> None:
    deployment = staffed.deployment(KILLED)
    run = staffed.run(deployment, how=how)
    staffed.until(lambda: staffed.entries(run, "begin"), 60)
    pid = staffed.entries(run, "begin")[0]["pid"]
    if how in ("killed", "terminated"):
        os.kill(pid, signal.SIGKILL if how == "killed" else signal.SIGTERM)
    assert staffed.wait(run, seconds=60).state_type is StateType.CRASHED
    staffed.until(lambda: len(_hooks_of(staffed, run)) >= 2, 60)
    staffed.until(lambda: not (staffed.home / "runs" / str(run.id) / "job.json").exists(), 60)
    hooks = _hooks_of(staffed, run)
    assert [(entry["what"], entry["flow"], entry["hooked"]) for entry in hooks] == [
        ("hook CRASHED", "killed", str(run.id))
    ] * 2
    assert ("signal 9" if how in ("killed", "self") else "code 3" if how == "left" else "") in hooks[0]["message"]
    assert {entry["mine"] == pid for entry in hooks} == {how == "terminated"}, "in a process of their own"
    texts = [log.message.strip() for log in staffed.logs(run)]
    assert texts.count(f"hook of {run.name} says Crashed") == 2, texts
    assert texts.count(f"printed by the hook of {run.name}") == 2, texts
    assert not staffed.labelled(run)


def test_hooks_of_a_run_that_had_to_be_killed_when_it_was_cancelled(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CANCEL_GRACE_SECONDS", "1")
    deployment = yard.deployment(KILLED)
    yard.start_worker()
    run = yard.run(deployment, how="stuck")
    yard.until(lambda: yard.entries(run, "begin"), 60)
    yard.client.set_flow_run_state(run.id, SetState(state=named("Cancelling")))
    assert yard.wait(run, seconds=60).state_type is StateType.CANCELLED
    yard.until(lambda: _hooks_of(yard, run), 60)
    yard.until(lambda: not (yard.home / "runs" / str(run.id) / "job.json").exists(), 60)
    assert [entry["what"] for entry in _hooks_of(yard, run)] == ["hook CANCELLED"]


def test_hooks_of_a_served_run_whose_process_was_killed(yard: Yard) -> None:
    file = yard.code / "served_flow.py"
    made = f"LEDGER = {str(yard.ledger_file)!r}\n{LEDGER}\n{KILLED}\n"
    file.write_text(made + 'if __name__ == "__main__":\n    job.serve("here", parameters={"how": "killed"})\n')
    yard._spawn("serve", [sys.executable, str(file)])
    served = None

    def found() -> bool:
        nonlocal served
        with contextlib.suppress(NotFound):
            served = yard.client.read_deployment_by_name("killed", "here")
        return served is not None

    yard.until(found, 60)
    assert served is not None
    run = yard.run(served.id)
    yard.until(lambda: yard.entries(run, "begin"), 60)
    os.kill(yard.entries(run, "begin")[0]["pid"], signal.SIGKILL)
    assert yard.wait(run, seconds=60).state_type is StateType.CRASHED
    yard.until(lambda: len(_hooks_of(yard, run)) == 2, 60)


def test_a_worker_takes_all_items_of_a_generator(staffed: Yard) -> None:
    deployment = staffed.deployment(ITEMS)
    run = staffed.wait(staffed.run(deployment, n=3))
    assert run.state_type is StateType.COMPLETED, staffed.output(run)
    assert run.name == "items to 3"
    assert [entry["number"] for entry in staffed.entries(run, "item")] == [0, 1, 2]
    assert run.state is not None and run.state.result() == {"items": 3}
