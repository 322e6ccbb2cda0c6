"""What a follower tells of a run at a server whose streams may be refused: each thing once, nothing that is older."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from millrace.client import stream
from millrace.client.stream import CELLS, EVENTS_PAGE, Asking
from millrace.schema.events import ReceivedEvent
from millrace.schema.logs import Log
from millrace.schema.runs import FlowRun
from millrace.schema.states import State, StateType

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def cell(number: int, kind: str, second: float) -> ReceivedEvent:
    return ReceivedEvent(
        event=f"millrace.cell.{kind}",
        occurred=START + timedelta(seconds=second),
        resource={"prefect.resource.id": f"millrace.cell.run.{number}"},
    )


def kinds(told: list[stream.Message]) -> list[str]:
    return [one.event.rsplit(".", 1)[1] for one in told if isinstance(one, ReceivedEvent)]


def over(known: Asking) -> None:
    state = State(type=StateType.COMPLETED, name="Completed", timestamp=START)
    run = FlowRun(id=known.flow_run_id, flow_id=uuid4(), created=START, updated=START, name="r", state=state)
    assert list(known.runs([run]))


def line(name: str) -> Log:
    return Log(id=uuid4(), created=START, updated=START, name=name, level=20, message="m", timestamp=START)


def test_a_cell_that_was_heard_is_not_told_again_nor_what_was_before_it() -> None:
    known = Asking(uuid4())
    begun, ended, other = cell(0, "started", 1), cell(0, "finished", 2), cell(1, "started", 2)
    assert kinds(known.heard([ended])) == ["finished"]
    assert known.cells([begun, ended, other]) == [other]


def test_the_next_question_begins_a_little_before_the_last_answer_or_at_the_end_of_a_full_page() -> None:
    known = Asking(uuid4())
    known.cells([cell(0, "started", 60)])
    asked = known.cell_query().filter
    assert asked is not None and START < asked.occurred.since < START + timedelta(seconds=60)
    known.cells([cell(number, "started", 100 + number) for number in range(EVENTS_PAGE)])
    asked = known.cell_query().filter
    assert asked is not None and asked.occurred.since == START + timedelta(seconds=100 + EVENTS_PAGE - 1)


def test_a_notebook_that_nobody_heard_begin_is_waited_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(stream.time, "monotonic", lambda: clock[0])
    known = Asking(uuid4())
    known.lines([line(CELLS)])
    assert not known.waits
    over(known)
    assert known.waits
    clock[0] = stream.LAG + 1
    assert not known.waits


def test_a_flow_and_what_was_heard_from_its_beginning_are_not_waited_for() -> None:
    flow, heard = Asking(uuid4()), Asking(uuid4())
    flow.lines([line("millrace.flow_runs")])
    running = {"prefect.resource.id": f"prefect.flow-run.{heard.flow_run_id}"}
    heard.heard([ReceivedEvent(event="prefect.flow-run.Running", occurred=START, resource=running)])
    heard.lines([line(CELLS)])
    for known in (flow, heard):
        over(known)
        assert not known.waits
