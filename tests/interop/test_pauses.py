"""Pauses with typed inputs, across: runs of the one program resumed by the other, at either server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import peers
from peers import Peer, Place, Program
from shops import millrace, ours_at

OUR_FLOW = """
import json
from millrace import RunInput, flow, pause_flow_run, task

class Approval(RunInput):
    approved: bool
    remark: str = "none"

@task
def before():
    return 1

@flow(name="interop-our-pauses")
def pauses():
    first = before()
    asked = Approval.with_initial_data("May it go out?", remark="so so")
    answer = pause_flow_run(wait_for_input=asked, timeout=300, poll_interval=0.5)
    number = pause_flow_run(wait_for_input=int, timeout=300, poll_interval=0.5)
    return [first, answer.approved, answer.remark, number]

state = pauses(return_state=True)
print("RESULT " + json.dumps({"name": state.name, "value": state.result(raise_on_failure=False)}))
"""


WRONG = json.dumps({"approved": "perhaps"})


def paused(place: Place, flow: str, key: str, program: Program) -> str:
    """The id of the flow's run, when it waits at a pause and has said what it asks for."""

    def look() -> str | None:
        body = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
        for run in place.ask("POST", "/flow_runs/filter", body):
            details = run["state"]["state_details"]
            schema = {"prefix": details["run_input_keyset"]["schema"]}
            if details["pause_key"] == key and place.ask("POST", f"/flow_runs/{run['id']}/input/filter", schema):
                return str(run["id"])
        return None

    return str(program.until(look, 120))


def our_flow(place: Place, folder: Path) -> Program:
    """Our flow, begun as a script at a server."""
    script = folder / "pauses.py"
    script.write_text(OUR_FLOW)
    return peers.started([sys.executable, str(script)], folder / "out.txt", ours_at(place, folder / "home"))


def ended(program: Program) -> Any:
    try:
        assert program.wait(120) == 0, program.said[-6000:]
        return program.result
    finally:
        program.stop()


def test_a_real_flow_that_pauses_here_is_resumed_by_our_command_line(peer: Peer, ours: Place, tmp_path: Path) -> None:
    program = peer.scenario("pauses", ours)
    try:
        run = paused(ours, "interop-pauses", "1", program)
        assert "'approved'" in millrace(ours, tmp_path, "flow-run", "resume", run, "-p", "remark=x", code=1)
        millrace(ours, tmp_path, "flow-run", "resume", run, "-p", "approved=true")
        paused(ours, "interop-pauses", "2", program)
        millrace(ours, tmp_path, "flow-run", "resume", run, "-p", "value=7")
        assert ended(program) == {"name": "Completed", "value": [1, True, "so so", 7]}
    finally:
        program.stop()
    names = [state["name"] for state in ours.ask("GET", f"/flow_run_states/?flow_run_id={run}")]
    assert names == ["Pending", "Running", "Paused", "Running", "Paused", "Running", "Completed"]


def test_our_flow_that_pauses_at_the_real_server_is_resumed_by_the_real_client_and_by_ours(
    peer: Peer, theirs: Place, tmp_path: Path
) -> None:
    program = our_flow(theirs, tmp_path)
    try:
        run = paused(theirs, "interop-our-pauses", "1", program)
        answer = peer.play("resume", theirs, run, WRONG, json.dumps({"approved": True}))
        assert "approved" in answer["refused"] or "perhaps" in answer["refused"]
        paused(theirs, "interop-our-pauses", "2", program)
        millrace(theirs, tmp_path, "flow-run", "resume", run, "-p", "value=7")
        assert ended(program) == {"name": "Completed", "value": [1, True, "so so", 7]}
    finally:
        program.stop()
    assert theirs.run(run)["state_name"] == "Completed"


def test_our_flow_that_pauses_here_is_resumed_by_the_real_client(peer: Peer, ours: Place, tmp_path: Path) -> None:
    program = our_flow(ours, tmp_path)
    try:
        run = paused(ours, "interop-our-pauses", "1", program)
        answer = peer.play("resume", ours, run, WRONG, json.dumps({"approved": False, "remark": "late"}))
        assert "'approved'" in answer["refused"]
        paused(ours, "interop-our-pauses", "2", program)
        millrace(ours, tmp_path, "flow-run", "resume", run, "-p", "value=8")
        assert ended(program) == {"name": "Completed", "value": [1, False, "late", 8]}
    finally:
        program.stop()
