"""Inputs of runs, pausing, suspending and resuming, in the store."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import made
import pytest
from made import Clock

from millrace.errors import AlreadyExists, NotFound
from millrace.schema.inputs import FlowRunInputCreate, FlowRunInputQuery, RunResume, keyset
from millrace.schema.runs import BeginRun, ExtendLeases, FlowRun, FlowRunCreate, FlowRunPolicy
from millrace.schema.states import OrchestrationResult, SetStateStatus, StateDetails
from millrace.store import flow_states, inputs, leases, resuming, slots
from millrace.store.database import Database

ACCEPT, REJECT, ABORT, WAIT = SetStateStatus
SCHEMA = {
    "type": "object",
    "properties": {"rows": {"type": "integer"}, "note": {"type": "string", "default": ""}},
    "required": ["rows"],
    "additionalProperties": False,
}


def claimed(db: Database, **fields: Any) -> FlowRun:
    """A run of a deployment that runs under a worker's lease."""
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    run = made.run(db, deployment.id, **fields)
    [taken] = made.claim(db)
    made.propose(db, run.id, "Running", attempt=taken.lease.attempt)
    return made.read(db, run.id)


def pause(db: Database, id: UUID, name: str = "Paused", key: str = "1", **details: Any) -> OrchestrationResult:
    details = {"pause_key": key, "pause_reschedule": name == "Suspended", **details}
    return made.propose(db, id, name, attempt=1, state_details=StateDetails(**details))


def resume(db: Database, id: UUID, run_input: dict[str, Any] | None = None) -> OrchestrationResult:
    return db.write(lambda tx: resuming.resume(tx, id, RunResume(run_input=run_input)))


def give(db: Database, id: UUID, key: str, value: str = "1") -> None:
    db.write(lambda tx: inputs.create(tx, id, FlowRunInputCreate(key=key, value=value)))


def ask(db: Database, id: UUID, prefix: str, limit: int = 10, exclude: list[str] | None = None) -> list[str]:
    query = FlowRunInputQuery(prefix=prefix, limit=limit, exclude_keys=exclude or [])
    return [one.key for one in db.read(lambda tx: inputs.query(tx, id, query))]


def test_inputs_are_kept_by_run_and_key(db: Database, clock: Clock) -> None:
    run = claimed(db)
    for number in range(3):
        clock.advance(1)
        give(db, run.id, f"int-auto-{number}", str(number))
    give(db, run.id, "INT-auto-9")
    assert ask(db, run.id, "int-auto") == ["int-auto-0", "int-auto-1", "int-auto-2"]
    assert ask(db, run.id, "int-auto", 1, ["int-auto-0"]) == ["int-auto-1"]
    assert ask(db, run.id, "int%") == []
    assert db.read(lambda tx: inputs.read(tx, run.id, "int-auto-1")).value == "1"
    with pytest.raises(AlreadyExists, match="int-auto-1"):
        give(db, run.id, "int-auto-1")
    db.write(lambda tx: inputs.delete(tx, run.id, "int-auto-1"))
    for missing in (inputs.read, inputs.delete):
        with pytest.raises(NotFound, match="int-auto-1"):
            db.write(lambda tx, missing=missing: missing(tx, run.id, "int-auto-1"))
    with pytest.raises(NotFound):
        give(db, uuid4(), "k")


def test_a_paused_run_keeps_its_lease_and_slot_and_goes_on_with_the_same_try(db: Database, clock: Clock) -> None:
    run = claimed(db)
    assert pause(db, run.id).status is ACCEPT
    waiting = made.read(db, run.id)
    assert (waiting.state_name, waiting.empirical_policy.pause_keys) == ("Paused", ["1"])
    assert run.work_pool_id is not None
    assert db.read(lambda tx: slots.of_pool(tx, run.work_pool_id)) == 1
    clock.advance(5)
    answer = resume(db, run.id)
    assert (answer.status, answer.state and answer.state.name) == (ACCEPT, "Running")
    assert made.read(db, run.id).run_count == 1
    again = pause(db, run.id)
    assert (again.status, again.state and again.state.name) == (REJECT, "Running")
    assert pause(db, run.id, key="2").status is ACCEPT


def test_a_suspended_run_is_claimed_again_when_it_is_resumed_and_its_process_has_ended(
    db: Database, clock: Clock
) -> None:
    run = claimed(db)
    assert run.work_pool_id is not None
    assert pause(db, run.id, "Suspended").status is ACCEPT
    resumed = resume(db, run.id)
    assert (resumed.status, resumed.state and resumed.state.name) == (ACCEPT, "Resuming")
    assert made.claim(db) == []  # the process of the first attempt lives yet
    db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(run.id, 1)], lease_seconds=0.01)))
    clock.advance(1)
    assert db.write(lambda tx: leases.reap(tx, 10)) == 1
    [taken] = made.claim(db)
    assert (taken.flow_run.id, taken.lease.attempt) == (run.id, 2)
    answer = made.propose(db, run.id, "Running", attempt=2)
    assert answer.state is not None and answer.state.name == "Running"
    now = made.read(db, run.id)
    assert (now.run_count, now.empirical_policy.resuming) == (1, False)
    once = StateDetails(pause_key="1", pause_reschedule=True)
    assert made.propose(db, run.id, "Suspended", attempt=2, state_details=once).status is REJECT


def test_a_suspended_run_gives_its_slot_back_with_its_process(db: Database, clock: Clock) -> None:
    run = claimed(db)
    assert run.work_pool_id is not None
    pause(db, run.id, "Suspended")
    assert db.read(lambda tx: slots.of_pool(tx, run.work_pool_id)) == 1
    clock.advance(1000)
    db.write(lambda tx: leases.reap(tx, 10))
    assert made.read(db, run.id).state_name == "Suspended"
    assert db.read(lambda tx: slots.of_pool(tx, run.work_pool_id)) == 0


def test_only_a_run_of_a_deployment_is_suspended(db: Database) -> None:
    flow = made.flow(db)
    body = BeginRun(flow_name=flow.name, flow_run=FlowRunCreate(flow_id=flow.id), holder="me")
    begun = db.write(lambda tx: flow_states.begin(tx, body))
    answer = pause(db, begun.flow_run.id, "Suspended")
    assert (answer.status, answer.state and answer.state.name) == (ABORT, "Running")
    assert pause(db, begun.flow_run.id).status is ACCEPT


def asked(db: Database) -> FlowRun:
    """A paused run that waits for an input."""
    run = claimed(db)
    keys = keyset("Paused", "1")
    pause(db, run.id, run_input_keyset=keys)
    give(db, run.id, keys["schema"], json.dumps(SCHEMA))
    return run


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (None, "'rows' is missing"),
        ({"rows": "many"}, "'rows': 'many' is not of type 'integer'"),
        ({"rows": 1, "columns": 2}, "'columns' is unknown"),
    ],
)
def test_a_wrong_input_is_refused_and_the_run_stays_paused(
    db: Database, wrong: dict[str, Any] | None, reason: str
) -> None:
    run = asked(db)
    answer = resume(db, run.id, wrong)
    assert answer.status is REJECT and reason in (getattr(answer.details, "reason", "") or "")
    assert made.read(db, run.id).state_name == "Paused"
    assert ask(db, run.id, "paused-1-response") == []


def test_an_input_that_fits_is_stored_with_the_state(db: Database) -> None:
    run = asked(db)
    assert resume(db, run.id, {"rows": 3}).status is ACCEPT
    stored = db.read(lambda tx: inputs.read(tx, run.id, "paused-1-response"))
    assert json.loads(stored.value) == {"rows": 3}
    again = resume(db, run.id, {"rows": 4})
    assert (again.status, again.state) == (ABORT, None)


def test_a_pause_that_lasted_too_long_fails_the_run_when_it_is_resumed(db: Database, clock: Clock) -> None:
    run = claimed(db)
    pause(db, run.id, pause_timeout=clock.now + timedelta(seconds=10))
    clock.advance(11)
    answer = resume(db, run.id)
    assert (answer.status, answer.state and answer.state.name) == (REJECT, "Failed")


def test_a_new_try_asks_again(db: Database, clock: Clock) -> None:
    run = claimed(db, empirical_policy=FlowRunPolicy(retries=1))
    keys = keyset("Paused", "1")
    pause(db, run.id, run_input_keyset=keys)
    give(db, run.id, keys["schema"], json.dumps(SCHEMA))
    give(db, run.id, "int-auto-1")
    resume(db, run.id, {"rows": 3})
    failed = made.propose(db, run.id, "Failed", attempt=1)
    assert failed.state is not None and failed.state.name == "AwaitingRetry"
    assert made.read(db, run.id).empirical_policy.pause_keys == []
    assert ask(db, run.id, "") == ["int-auto-1"]
    made.propose(db, run.id, "Running", attempt=1)
    assert pause(db, run.id).status is ACCEPT


def test_a_manual_retry_asks_again(db: Database) -> None:
    run = claimed(db)
    pause(db, run.id)
    resume(db, run.id)
    made.propose(db, run.id, "Failed", attempt=1)
    assert made.propose(db, run.id, "Scheduled", force=True).status is ACCEPT
    assert made.read(db, run.id).empirical_policy.pause_keys == []


def test_a_suspended_run_is_cancelled_at_once_when_its_process_has_ended(db: Database, clock: Clock) -> None:
    run = claimed(db)
    pause(db, run.id, "Suspended")
    clock.advance(1000)
    db.write(lambda tx: leases.reap(tx, 10))
    answer = made.propose(db, run.id, "Cancelling")
    assert (answer.status, answer.state and answer.state.name) == (REJECT, "Cancelled")
