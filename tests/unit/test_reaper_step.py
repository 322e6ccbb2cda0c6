"""The reaper's step, under a clock that moves only when told to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

import databases
from millrace.schema.deployments import DeploymentCreate
from millrace.schema.flows import FlowCreate
from millrace.schema.pools import ClaimRuns, WorkPoolCreate
from millrace.schema.runs import (
    BeginRun,
    DeploymentFlowRunCreate,
    ExtendLeases,
    FlowRun,
    FlowRunCreate,
    FlowRunPolicy,
)
from millrace.schema.states import SetState, StateCreate, StateDetails, StateType, scheduled
from millrace.server import reaper
from millrace.settings import Settings
from millrace.store import deployments, flow_runs, flow_states, flows, leases, pools
from millrace.store.database import Database, Transaction


class World:
    """A database, a clock, a deployment."""

    def __init__(self, path: Path) -> None:
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.settings = Settings(home=path)
        self.db = Database(databases.sqlite(path / "a.db"), clock=lambda: self.now)
        flow = self.db.write(lambda tx: flows.create(tx, FlowCreate(name="etl")))[0]
        self.db.write(lambda tx: pools.create(tx, WorkPoolCreate(name="default", type="process")))
        body = DeploymentCreate(name="d", flow_id=flow.id, work_pool_name="default")
        self.deployment = self.db.write(lambda tx: deployments.upsert(tx, body))[0]
        self.flow = flow

    def run(self, retries: int = 0, delay: int = 0, state: StateCreate | None = None) -> UUID:
        policy = FlowRunPolicy(retries=retries, retry_delay=delay)
        body = DeploymentFlowRunCreate(empirical_policy=policy, state=state or scheduled(self.now))
        return self.db.write(lambda tx: flow_runs.create_from_deployment(tx, self.deployment.id, body))[0].id

    def claim(self) -> list[UUID]:
        body = ClaimRuns(worker_name="w1", limit=10)
        return [each.flow_run.id for each in self.db.write(lambda tx: leases.claim(tx, "default", body))]

    def propose(self, id: UUID, kind: str, attempt: int | None = None) -> None:
        def fenced(tx: Transaction) -> None:
            if attempt is not None:
                leases.check(tx, id, attempt)
            flow_states.set_state(tx, id, SetState(state=StateCreate(type=StateType(kind))))

        self.db.write(fenced)

    def step(self, seconds: float = 0) -> datetime | None:
        self.now += timedelta(seconds=seconds)
        return self.db.write(lambda tx: reaper.step(tx, self.settings))

    def paused(self, name: str, seconds: float | None) -> UUID:
        """A run without a lease that is paused for so long."""
        id = self.run()
        for kind in ("PENDING", "RUNNING"):
            self.propose(id, kind)
        limit = None if seconds is None else self.now + timedelta(seconds=seconds)
        details = StateDetails(pause_timeout=limit, pause_key="1", pause_reschedule=name == "Suspended")
        pause = StateCreate(type=StateType.PAUSED, name=name, state_details=details)
        self.db.write(lambda tx: flow_states.set_state(tx, id, SetState(state=pause)))
        assert self.read(id).state_name == name
        return id

    def read(self, id: UUID) -> FlowRun:
        return self.db.read(lambda tx: flow_runs.read(tx, id))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.db.close()


def test_nothing_to_look_after(world: World) -> None:
    assert world.step() is None


def test_p4_a_dead_worker_crashes_its_runs_in_time(world: World) -> None:
    id = world.run()
    world.claim()
    world.propose(id, "RUNNING", 1)
    assert world.step(29) == world.now + timedelta(seconds=1)
    assert world.read(id).state_name == "Running"
    world.step(world.settings.sweep_seconds)  # 34 s after the last sign of life, of the 45 that are promised
    run = world.read(id)
    assert (run.state_name, run.attempt) == ("Crashed", 1)
    assert run.state is not None and run.state.message == "The worker w1 was lost."
    assert run.end_time == world.now
    assert world.claim() == []


def test_p4_with_retries_it_is_run_again(world: World) -> None:
    id = world.run(retries=1, delay=20)
    world.claim()
    world.propose(id, "RUNNING", 1)
    world.step(31)
    assert world.read(id).state_name == "AwaitingRetry"
    assert world.claim() == []
    world.now += timedelta(seconds=20)
    assert world.claim() == [id] and world.read(id).attempt == 2
    world.propose(id, "RUNNING", 2)
    assert world.read(id).state_name == "Retrying" and world.read(id).run_count == 2
    world.step(31)
    assert world.read(id).state_name == "Crashed"


def test_p4_what_had_not_begun_goes_back(world: World) -> None:
    id = world.run()
    world.claim()
    world.step(31)
    run = world.read(id)
    assert run.state_name in ("Scheduled", "Late") and run.run_count == 0
    assert world.claim() == [id]


def test_a_sign_of_life_is_enough(world: World) -> None:
    id = world.run()
    world.claim()
    world.propose(id, "RUNNING", 1)
    for _ in range(10):
        world.step(20)
        world.db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(id, 1)])))
    assert world.read(id).state_name == "Running"


def test_a_lost_run_that_was_being_cancelled_is_cancelled(world: World) -> None:
    id = world.run(retries=3)
    world.claim()
    world.propose(id, "RUNNING", 1)
    world.propose(id, "CANCELLING")
    world.step(31)
    assert world.read(id).state_name == "Cancelled"


def test_a_lost_sleeper_between_tries_can_be_taken(world: World) -> None:
    id = world.run(retries=2, delay=100)
    world.claim()
    world.propose(id, "RUNNING", 1)
    world.propose(id, "FAILED", 1)
    assert world.read(id).state_name == "AwaitingRetry"
    world.step(31)
    assert world.read(id).state_name == "AwaitingRetry"
    world.now += timedelta(seconds=70)
    assert world.claim() == [id]


def test_a_dead_kernel_crashes_its_run_whatever_the_retries(world: World) -> None:
    policy = FlowRunPolicy(retries=5)
    body = BeginRun(
        flow_name="cell", flow_run=FlowRunCreate(flow_id=world.flow.id, empirical_policy=policy), holder="kernel@host"
    )
    begun = world.db.write(lambda tx: flow_states.begin(tx, body))
    world.step(31)
    run = world.read(begun.flow_run.id)
    assert run.state_name == "Crashed" and run.state is not None
    assert run.state.message == "The process kernel@host was lost."


def test_runs_without_a_lease_are_left_alone(world: World) -> None:
    id = world.run()
    world.propose(id, "PENDING")
    world.propose(id, "RUNNING")
    world.step(3600)
    assert world.read(id).state_name == "Running"


def test_what_nobody_takes_becomes_late_and_can_still_be_taken(world: World) -> None:
    id, other = world.run(), world.run(state=scheduled(world.now + timedelta(seconds=100)))
    assert world.step(14) == world.now + timedelta(seconds=1)
    assert world.read(id).state_name == "Scheduled"
    assert world.step(1) == world.now + timedelta(seconds=100)
    late = world.read(id)
    assert (late.state_type, late.state_name) == ("SCHEDULED", "Late")
    assert late.next_scheduled_start_time == late.expected_start_time == world.now - timedelta(seconds=15)
    world.step(10)
    assert [state.name for state in world.db.read(lambda tx: flow_runs.states(tx, id))] == ["Scheduled", "Late"]
    assert world.read(other).state_name == "Scheduled"
    assert world.claim() == [id]


def test_many_are_worked_off_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "RUNS_A_STEP", 4)
    ids = [world.run() for _ in range(10)]
    assert world.step(20) == world.now
    world.step()
    world.step()
    assert {world.read(id).state_name for id in ids} == {"Late"}


def test_an_expired_lease_that_nobody_took_may_be_extended(world: World) -> None:
    id = world.run()
    world.claim()
    world.propose(id, "RUNNING", 1)
    world.now += timedelta(seconds=33)  # a laptop slept, and the worker was faster than the sweep
    answer = world.db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(id, 1)])))
    assert answer.extended == [id]
    world.step()
    assert world.read(id).state_name == "Running"


def test_a_suspended_run_that_nobody_resumes_in_time_has_failed(world: World) -> None:
    id, patient = world.paused("Suspended", 3600), world.paused("Suspended", None)
    assert world.step(3599) == world.now + timedelta(seconds=1)
    assert world.read(id).state_name == "Suspended"
    assert world.step(1) is None
    state = world.read(id).state
    assert state is not None and state.type is StateType.FAILED
    assert state.message == "The run was suspended and nobody resumed it in time."
    world.step(1_000_000)
    assert world.read(patient).state_name == "Suspended"


def test_a_paused_run_without_a_lease_fails_when_its_own_client_does_not_say_so(world: World) -> None:
    id = world.paused("Paused", 300)
    world.step(359)
    assert world.read(id).state_name == "Paused"
    world.step(1)
    assert world.read(id).state_name == "Failed"


def test_a_paused_run_under_a_lease_is_left_to_its_holder(world: World) -> None:
    id = world.run()
    world.claim()
    world.propose(id, "RUNNING", 1)
    details = StateDetails(pause_timeout=world.now + timedelta(seconds=1), pause_key="1")
    pause = StateCreate(type=StateType.PAUSED, name="Paused", state_details=details)
    world.db.write(lambda tx: flow_states.set_state(tx, id, SetState(state=pause)))
    world.step(20)
    assert world.read(id).state_name == "Paused"


def test_many_pauses_are_ended_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "RUNS_A_STEP", 2)
    ids = [world.paused("Suspended", 5) for _ in range(3)]
    assert world.step(5) == world.now
    world.step()
    assert {world.read(id).state_name for id in ids} == {"Failed"}
