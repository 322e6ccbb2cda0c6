"""Concurrency and rate limits through the public names, against the embedded server."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import millrace.concurrency.asyncio as coloured
import millrace.concurrency.sync as plain
from commands import expecting
from millrace import arate_limit, concurrency, flow, rate_limit, task
from millrace.client.synchronous import Client
from millrace.engine import tag_slots
from millrace.engine.context import FlowRunContext
from millrace.engine.recorder import recorder
from millrace.engine.slot_keeper import slot_keeper
from millrace.errors import (
    AcquireConcurrencySlotTimeoutError,
    ConcurrencySlotAcquisitionError,
    ConcurrencySlotsLost,
    InvalidInput,
    RunCancelled,
    SlotsTaken,
)
from millrace.schema.events import EventFilter, EventNameFilter, EventOrder, EventQuery

LONG = 30.0


@pytest.fixture
def gate(client: Client) -> str:
    """A limit of one slot."""
    name = f"gate {uuid4().hex[:8]}"
    client.create_limit(name=name, limit=1)
    return name


def awaited(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


def taken(client: Client, name: str) -> int:
    return client.read_limit(name).active_slots


def until(condition: Callable[[], object], seconds: float = LONG) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def most_at_once(spans: list[tuple[float, float]]) -> int:
    events = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


# -- the block


def test_a_block_holds_slots_while_it_lasts(client: Client, gate: str) -> None:
    with concurrency(gate):
        assert taken(client, gate) == 1
        with pytest.raises(SlotsTaken):
            client.lease_slots(names=[gate], slots=1)
    assert taken(client, gate) == 0
    with pytest.raises(ZeroDivisionError), plain.concurrency([gate], occupy=1):
        _ = 1 / 0
    assert taken(client, gate) == 0
    block = concurrency(gate)
    for _ in range(2):
        with block:
            assert taken(client, gate) == 1
    with block, pytest.raises(ConcurrencySlotAcquisitionError, match="held already"), block:
        pass


@awaited
async def test_a_block_of_a_coroutine(client: Client, gate: str) -> None:
    async with concurrency(gate):
        assert taken(client, gate) == 1
    assert taken(client, gate) == 0
    with pytest.raises(ZeroDivisionError):
        async with coloured.concurrency(gate):
            _ = 1 / 0
    assert taken(client, gate) == 0


def test_slots_that_are_taken_and_given_back_are_events(client: Client, gate: str) -> None:
    other = f"{gate} b"
    client.create_limit(name=other, limit=5)
    rate = f"{gate} rate"
    client.create_limit(name=rate, limit=5, slot_decay_per_second=5)

    @flow
    def hold() -> str:
        with concurrency([gate, other]):
            pass
        rate_limit(rate)
        return str(FlowRunContext.get().run_id)  # type: ignore[union-attr]

    run = hold()

    @awaited
    async def alone() -> None:
        async with concurrency(gate):
            pass

    alone()
    assert recorder().flush(LONG)
    ids = {one.name: f"prefect.concurrency-limit.{one.id}" for one in client.read_limits()}
    wanted = EventFilter(event=EventNameFilter(prefix=["prefect.concurrency-limit."]), order=EventOrder.DESC)
    events = [
        one
        for one in reversed(client.read_events(EventQuery(filter=wanted, limit=50)).events)
        if one.resource["prefect.resource.id"] in {ids[gate], ids[other], ids[rate]}
    ]
    told = [(one.event.rpartition(".")[2], one.resource["prefect.resource.name"]) for one in events]
    both = {("acquired", gate), ("acquired", other)}
    assert set(told[:2]) == both
    assert set(told[2:4]) == {("released", gate), ("released", other)}
    assert told[4:] == [("acquired", rate), ("acquired", gate), ("released", gate)]
    first = next(one for one in events if one.resource["prefect.resource.name"] == gate)
    assert (first.resource["slots-acquired"], first.resource["limit"]) == ("1", "1")
    related = {(one["prefect.resource.role"], one["prefect.resource.id"]) for one in first.related}
    assert related == {("concurrency-limit", ids[other]), ("flow-run", f"prefect.flow-run.{run}")}
    released = [one for one in events if one.event.endswith("released")]
    assert {one.follows for one in released} <= {one.id for one in events}
    assert not events[-1].related


def test_no_more_blocks_than_slots_in_threads_and_in_turn(client: Client) -> None:
    name = f"two {uuid4().hex[:8]}"
    client.create_limit(name=name, limit=2)
    spans: list[tuple[float, float]] = []

    def hold() -> None:
        with concurrency(name):
            start = time.monotonic()
            time.sleep(0.05)
            spans.append((start, time.monotonic()))

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(spans) == 8 and most_at_once(spans) == 2
    assert taken(client, name) == 0


@awaited
async def test_no_more_blocks_than_slots_in_coroutines(client: Client, gate: str) -> None:
    order: list[int] = []
    inside = 0

    async def hold(number: int) -> None:
        nonlocal inside
        async with concurrency(gate):
            inside += 1
            assert inside == 1
            order.append(number)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(hold(number) for number in range(20)))
    assert sorted(order) == list(range(20))
    assert taken(client, gate) == 0


def test_whoever_came_first_is_served_first_even_if_he_wants_more(client: Client) -> None:
    name = f"three {uuid4().hex[:8]}"
    client.create_limit(name=name, limit=3)
    first = client.lease_slots(names=[name], slots=2)
    order: list[str] = []

    def want(who: str, slots: int) -> None:
        with concurrency(name, occupy=slots):
            order.append(who)

    greedy = threading.Thread(target=want, args=("all three", 3))
    greedy.start()
    time.sleep(1)
    modest = threading.Thread(target=want, args=("one", 1))
    modest.start()
    time.sleep(0.5)
    assert order == [], "one slot is free, but somebody waits for it"
    client.return_slots(lease_id=first.lease_id)
    greedy.join(LONG)
    modest.join(LONG)
    assert order == ["all three", "one"]


def test_a_free_slot_wakes_who_waits(client: Client, gate: str) -> None:
    """Not after seconds: the original asks again after two to thirty."""
    waits: list[float] = []
    for _ in range(5):
        held = client.lease_slots(names=[gate], slots=1)
        entered: list[float] = []

        def wait(entered: list[float] = entered) -> None:
            with concurrency(gate):
                entered.append(time.monotonic())

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        client.return_slots(lease_id=held.lease_id)
        freed = time.monotonic()
        thread.join(LONG)
        waits.append(entered[0] - freed)
    assert sorted(waits)[2] < 1.5


# -- arguments


def test_waiting_ends_in_time(client: Client, gate: str) -> None:
    client.lease_slots(names=[gate], slots=1)
    began = time.monotonic()
    with (
        pytest.raises(AcquireConcurrencySlotTimeoutError, match=r"within 0\.3 s") as caught,
        concurrency(gate, timeout_seconds=0.3),
    ):
        pass
    assert isinstance(caught.value, TimeoutError) and 0.25 < time.monotonic() - began < LONG / 2
    with (
        pytest.raises(ConcurrencySlotAcquisitionError, match=r"taken 2 times \(max_retries=1\)"),
        concurrency(gate, max_retries=1),
    ):
        pass


@awaited
async def test_waiting_of_coroutines_ends_in_time(client: Client, gate: str) -> None:
    client.lease_slots(names=[gate], slots=1)

    async def wait() -> None:
        async with concurrency(gate, timeout_seconds=0.3):
            pass

    ends = await asyncio.wait_for(asyncio.gather(wait(), wait(), return_exceptions=True), LONG)
    assert [type(one) for one in ends] == [AcquireConcurrencySlotTimeoutError] * 2


def test_a_missing_limit_holds_nobody_up_unless_strict(client: Client, gate: str) -> None:
    with concurrency("nobody's"):
        pass
    with concurrency([]):
        pass
    with (
        pytest.raises(ConcurrencySlotAcquisitionError, match="no concurrency limit"),
        concurrency([gate, "nobody's"], strict=True),
    ):
        pass
    assert taken(client, gate) == 0, "what was taken before is given back"
    rate_limit("nobody's")
    with pytest.raises(ConcurrencySlotAcquisitionError, match="millrace gcl create"):
        rate_limit("nobody's", strict=True)


def test_what_can_never_be_had(client: Client, gate: str) -> None:
    with pytest.raises(ConcurrencySlotAcquisitionError, match="greater than the limit"), concurrency(gate, occupy=2):
        pass
    with pytest.raises(ConcurrencySlotAcquisitionError, match="slot_decay_per_second"):
        rate_limit(gate)
    for wrong in ({"occupy": 0}, {"occupy": True}, {"lease_duration": 5}, {"holder": {"type": "me", "id": 1}}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            concurrency(gate, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="not 3"):
        concurrency([3])  # type: ignore[list-item]


# -- rates


def test_a_rate_limit_spreads_calls(client: Client) -> None:
    name = f"rate {uuid4().hex[:8]}"
    client.create_limit(name=name, limit=2, slot_decay_per_second=10)
    began = time.monotonic()
    for _ in range(6):
        plain.rate_limit(name)
    assert 0.38 <= time.monotonic() - began < LONG / 2, "two at once, then one each tenth of a second"
    with pytest.raises(TimeoutError):
        rate_limit(name, occupy=2, timeout_seconds=0.02)

    async def both() -> None:
        await arate_limit(name)
        await coloured.rate_limit([name], timeout_seconds=LONG)

    asyncio.run(both())


# -- runs


def test_the_holder_is_the_run_and_its_end_frees_the_slots(client: Client, gate: str) -> None:
    left: list[Any] = []

    @flow
    def forgetful() -> None:
        block = concurrency(gate)
        block.__enter__()
        left.append(block)
        assert taken(client, gate) == 1

    forgetful()
    until(lambda: taken(client, gate) == 0)
    left[0].__exit__(None, None, None)


def test_cancelling_a_run_that_waits(client: Client, gate: str) -> None:
    client.lease_slots(names=[gate], slots=1)

    @flow
    def waits() -> None:
        with concurrency(gate):
            pass

    def cancel() -> None:
        def running() -> Any:
            return client.read_flow_runs(flows={"name": {"any_": ["waits"]}}, limit=1)

        until(lambda: running() and running()[0].state_name == "Running")
        time.sleep(0.3)
        client.set_flow_run_state(running()[0].id, state={"type": "CANCELLING"})

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(RunCancelled):
        waits()
    thread.join(LONG)


@awaited
async def test_cancelling_a_coroutine_that_waits_or_holds(client: Client, gate: str) -> None:
    async def hold() -> None:
        async with concurrency(gate):
            await asyncio.sleep(LONG)

    first = asyncio.create_task(hold())
    while not taken(client, gate):
        await asyncio.sleep(0.02)
    second = asyncio.create_task(hold())
    await asyncio.sleep(0.3)
    for one in (second, first):
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
    async with concurrency(gate, timeout_seconds=LONG):
        assert taken(client, gate) == 1


def test_an_interrupt_ends_the_waiting_and_leaves_no_slot_behind(client: Client, gate: str) -> None:
    held = client.lease_slots(names=[gate], slots=1)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), concurrency(gate):
        pass
    client.return_slots(lease_id=held.lease_id)
    time.sleep(0.2)
    assert taken(client, gate) == 0


# -- leases


def test_slots_are_renewed_while_they_are_held(client: Client, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    before = Client.renew_slots

    def renew(self: Client, *arguments: Any, **options: Any) -> None:
        before(self, *arguments, **options)
        renewed.set()

    monkeypatch.setattr(Client, "renew_slots", renew)
    monkeypatch.setattr("millrace.engine.slot_keeper.PART", 600)
    with concurrency(gate, lease_duration=60):
        assert renewed.wait(LONG)
        assert taken(client, gate) == 1


@pytest.mark.parametrize("main", [True, False])
def test_a_strict_block_that_lost_its_slots_is_interrupted(
    client: Client, monkeypatch: pytest.MonkeyPatch, main: bool
) -> None:
    monkeypatch.setattr("millrace.engine.slot_keeper.PART", 120)
    name = f"lost{uuid4().hex[:8]}"
    client.create_tag_limit(tag=name, concurrency_limit=1)
    errors: list[BaseException] = []

    def hold() -> None:
        try:
            with concurrency(f"tag:{name}", strict=True, lease_duration=60):
                client.reset_tag_limit(name)
                deadline = time.monotonic() + LONG
                while time.monotonic() < deadline:
                    time.sleep(0.01)
        except BaseException as error:
            errors.append(error)

    if main:
        hold()
    else:
        thread = threading.Thread(target=hold)
        thread.start()
        thread.join(LONG)
    assert [type(error) for error in errors] == [ConcurrencySlotsLost]


@awaited
async def test_a_strict_coroutine_that_lost_its_slots_is_interrupted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.engine.slot_keeper.PART", 120)
    name = f"lost{uuid4().hex[:8]}"
    client.create_tag_limit(tag=name, concurrency_limit=1)
    with pytest.raises(ConcurrencySlotsLost):
        async with concurrency(f"tag:{name}", raise_on_lease_renewal_failure=True, lease_duration=60):
            client.reset_tag_limit(name)
            await asyncio.sleep(LONG)
    await asyncio.sleep(0)  # nothing is left of the interruption


def test_a_block_that_lost_its_slots_goes_on_and_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("millrace.engine.slot_keeper.PART", 120)
    name = f"lost{uuid4().hex[:8]}"
    client.create_tag_limit(tag=name, concurrency_limit=1)
    with concurrency(f"tag:{name}", lease_duration=60):
        client.reset_tag_limit(name)
        until(lambda: "are lost" in caplog.text)
    assert not slot_keeper()._held


HOLDER = """
import sys, time
from millrace import concurrency, flow

@flow
def holds(name):
    with concurrency(name):
        print("held", flush=True)
        time.sleep(600)

holds(sys.argv[1])
"""


def test_the_slots_of_a_process_that_was_killed_come_back(client: Client, gate: str, tmp_path: Path) -> None:
    """With the lease of its run (two seconds here), long before that of the slots (five minutes)."""
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    process = subprocess.Popen(
        [sys.executable, str(script), gate],
        stdout=subprocess.PIPE,
        env={**os.environ, "MILLRACE_LEASE_SECONDS": "2"},
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        assert taken(client, gate) == 1
        with pytest.raises(TimeoutError), concurrency(gate, timeout_seconds=4):
            pass
        process.kill()
        with concurrency(gate, timeout_seconds=LONG):
            assert taken(client, gate) == 1
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


# -- tags


def test_tasks_with_a_tag_that_has_a_limit(client: Client) -> None:
    tag = f"db{uuid4().hex[:8]}"
    client.create_tag_limit(tag=tag, concurrency_limit=2)
    spans: list[tuple[float, float]] = []
    holders: list[int] = []

    @task(tags=[tag])
    def query(number: int) -> int:
        start = time.monotonic()
        holders.append(len(client.read_tag_limit(tag).active_slots))
        time.sleep(0.3)
        spans.append((start, time.monotonic()))
        return number

    @task(tags=[tag])
    async def aquery(number: int) -> int:
        await asyncio.sleep(0)
        return number

    @flow(name=f"tagged {tag}")
    def queries() -> list[int]:
        return [future.result() for future in [*query.map(range(6)), aquery.submit(6)]]

    assert queries() == list(range(7))
    assert most_at_once(spans) == 2 and max(holders) == 2
    recorder().flush()
    until(lambda: client.read_tag_limit(tag).active_slots == [])
    [run] = client.read_flow_runs(flows={"name": {"any_": [f"tagged {tag}"]}}, limit=1)
    waited = {
        "event": {"name": ["prefect.task-run.AwaitingConcurrencySlot"]},
        "related": {"id": [f"prefect.flow-run.{run.id}"]},
    }
    events = client.read_events(filter=waited, limit=50).events

    assert events
    assert {one.state_name for one in client.read_task_runs(task_runs={"flow_run_id": {"any_": [run.id]}})} == {
        "Completed"
    }


def test_a_tag_with_the_limit_zero_fails_its_tasks(client: Client) -> None:
    tag = f"none{uuid4().hex[:8]}"
    client.create_tag_limit(tag=tag, concurrency_limit=0)

    @task(tags=[tag])
    def never() -> None:
        raise AssertionError

    @flow
    def tries() -> tuple[str, str]:
        state = never(return_state=True)
        return state.type.value, state.message

    kind, message = tries()
    assert kind == "FAILED" and "which has 0" in message


def test_tags_without_a_limit_are_asked_for_once_in_a_while(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = f"free{uuid4().hex[:8]}"
    asked = 0
    before = Client.lease_slots

    def lease(self: Client, *arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return before(self, *arguments, **options)

    monkeypatch.setattr(Client, "lease_slots", lease)
    monkeypatch.setattr(tag_slots, "NO_LIMIT_SECONDS", LONG)

    @task(tags=[tag])
    def tiny(number: int) -> int:
        return number

    @flow
    def many() -> None:
        for number in range(200):
            tiny(number)

    many()
    assert asked == 1


# -- the command line


def test_the_command_line_makes_changes_and_forgets_limits(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    run = expecting(capfd)

    def millrace(*words: str, code: int = 0) -> str:
        done = run(*words, code=code)
        return done.out + done.err

    name = f"cli{uuid4().hex[:8]}"
    millrace("gcl", "create", name, "--limit", "3", "--slot-decay-per-second", "0.5")
    millrace("global-concurrency-limit", "update", name, "--limit", "4", "--disable")
    found = json.loads(millrace("gcl", "inspect", name, "--output", "json"))
    assert (found["limit"], found["active"], found["slot_decay_per_second"]) == (4, False, 0.5)
    assert "disabled already" in millrace("gcl", "disable", name, code=2)
    millrace("gcl", "delete", name, "--yes")
    assert name in millrace("gcl", "inspect", name, code=3)
    millrace("concurrency-limit", "create", name, "2")
    assert [one["tag"] for one in json.loads(millrace("concurrency-limit", "ls", "-o", "json"))].count(name) == 1
    millrace("concurrency-limit", "reset", name)
    millrace("concurrency-limit", "delete", name, "--yes")
    assert name in millrace("concurrency-limit", "inspect", name, code=3)
