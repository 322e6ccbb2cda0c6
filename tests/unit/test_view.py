"""What a monitor knows: events in, a picture out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from millrace.client.waiting import Around
from millrace.jupyter.view import LINE_LENGTH, LOG_LINES, RunView, line_message
from millrace.schema.events import ReceivedEvent
from millrace.schema.logs import Log
from millrace.schema.runs import FlowRun
from millrace.schema.states import State, StateType

RUN = UUID("00000000-0000-7000-8000-000000000001")
TASK = UUID("00000000-0000-7000-8000-000000000002")
START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(name: str, resource: dict[str, str], payload: dict[str, object], seconds: float) -> ReceivedEvent:
    body = {"id": uuid4(), "event": name, "resource": resource, "payload": payload}
    return ReceivedEvent.model_validate({**body, "occurred": at(seconds), "received": at(seconds)})


def flow_run_event(name: str, kind: str, seconds: float, message: str = "", run: UUID = RUN) -> ReceivedEvent:
    resource = {
        "prefect.resource.id": f"prefect.flow-run.{run}",
        "prefect.resource.name": "amber-heron",
        "prefect.state-name": name,
        "prefect.state-type": kind,
    }
    payload: dict[str, object] = {"validated_state": {"type": kind, "name": name, "message": message}}
    return event(f"prefect.flow-run.{name}", resource, payload, seconds)


def task_event(name: str, kind: str, seconds: float, message: str = "") -> ReceivedEvent:
    resource = {"prefect.resource.id": f"prefect.task-run.{TASK}", "prefect.resource.name": "load-0"}
    payload: dict[str, object] = {"validated_state": {"type": kind, "name": name, "message": message}}
    return event(f"prefect.task-run.{name}", resource, payload, seconds)


def cell_event(verb: str, index: int, seconds: float, **payload: object) -> ReceivedEvent:
    resource = {"prefect.resource.id": f"millrace.cell.{RUN}.{index}"}
    return event(f"millrace.cell.{verb}", resource, {"index": index, **payload}, seconds)


def logs(*texts: str) -> list[Log]:
    return [Log(name="x", level=20, message=text, timestamp=at(0), id=uuid4(), flow_run_id=RUN) for text in texts]


def stored(name: str, kind: StateType, seconds: float, **fields: object) -> FlowRun:
    state = State(id=uuid4(), type=kind, name=name, timestamp=at(seconds))
    values = {"id": RUN, "created": START, "updated": START, "flow_id": uuid4(), "name": "amber-heron", "state": state}
    return FlowRun.model_validate({**values, **fields})


def test_a_run_from_scheduled_to_completed() -> None:
    view = RunView(str(RUN), "etl")
    for name, kind, seconds in [("Scheduled", "SCHEDULED", 0), ("Pending", "PENDING", 1), ("Running", "RUNNING", 2)]:
        view.apply(flow_run_event(name, kind, seconds))
    assert (view.state, view.done, view.elapsed(at(5))) == ("Running", False, 3.0)
    view.apply(task_event("Running", "RUNNING", 3))
    view.apply(task_event("Completed", "COMPLETED", 4))
    view.apply(flow_run_event("Completed", "COMPLETED", 6))
    assert view.done and view.elapsed(at(99)) == 4.0
    (row,) = view.snapshot()["rows"]
    assert (row["name"], row["state"], row["tries"]) == ("load-0", "Completed", 1)
    assert view.counts() == {"Completed": 1}


def test_a_failure_says_why_and_a_retry_counts() -> None:
    view = RunView(str(RUN), "etl")
    view.apply(task_event("Running", "RUNNING", 1))
    view.apply(task_event("Retrying", "RUNNING", 2, "first"))
    view.apply(task_event("Failed", "FAILED", 3, "ValueError: no data"))
    view.apply(flow_run_event("Failed", "FAILED", 4, "ValueError: no data"))
    (row,) = view.snapshot()["rows"]
    assert (row["detail"], row["tries"]) == ("ValueError: no data", 2)
    assert view.snapshot()["message"] == "ValueError: no data"


def test_the_end_is_final_but_a_forced_reschedule_leads_on() -> None:
    view = RunView(str(RUN))
    view.apply(flow_run_event("Cancelled", "CANCELLED", 1))
    view.apply(flow_run_event("Running", "RUNNING", 2))
    assert view.state == "Cancelled"
    view.apply(flow_run_event("AwaitingRetry", "SCHEDULED", 3))
    assert not view.done and view.end is None


def test_the_stream_begins_with_the_run_yet_the_picture_does_not_go_back() -> None:
    view = RunView(str(RUN))
    view.load(stored("Running", StateType.RUNNING, 5, start_time=at(5)), "etl")
    view.apply(flow_run_event("Pending", "PENDING", 1))
    assert view.state == "Running"
    view.apply(flow_run_event("Completed", "COMPLETED", 7))
    assert (view.state, view.elapsed(at(9))) == ("Completed", 2.0)


def test_another_run_is_none_of_its_business() -> None:
    view = RunView(str(RUN))
    view.apply(flow_run_event("Failed", "FAILED", 1, run=uuid4()))
    assert view.state == "Pending"


def test_cells() -> None:
    view = RunView(str(RUN))
    view.apply(cell_event("started", 2, 1))
    assert view.kind == "cell" and view.snapshot()["rows"][0]["state"] == "Running"
    view.apply(cell_event("finished", 2, 2, status="failed", ename="KeyError", evalue="'x'"))
    view.apply(cell_event("finished", 3, 2, status="not_run"))
    rows = view.snapshot()["rows"]
    assert [(row["name"], row["state"]) for row in rows] == [("cell 3", "Failed"), ("cell 4", "NotRun")]
    assert rows[0]["detail"] == "KeyError: 'x'" and rows[1]["end"] is None


def test_many_rows_are_counted_not_sent() -> None:
    view = RunView(str(RUN))
    for index in range(250):
        view.apply(cell_event("started", index, index))
    picture = view.snapshot()
    assert len(picture["rows"]) == 200 and picture["hidden"] == 50 and picture["counts"] == {"Running": 250}


def test_lines_are_numbered_and_bounded() -> None:
    view = RunView(str(RUN))
    view.apply(logs(*(f"line {n}" for n in range(LOG_LINES + 10))))
    assert view.line_count == LOG_LINES + 10 and len(view.lines) == LOG_LINES
    assert [line.text for line in view.lines_after(LOG_LINES + 8, 5)] == ["line 5008", "line 5009"]
    assert view.lines_after(0, 1)[0].number == 11  # those before are gone: the page sees the gap
    assert view.lines_after(view.line_count, 5) == []


def test_a_long_line_is_cut_for_the_page_only() -> None:
    view = RunView(str(RUN))
    view.apply(logs("x" * 9000))
    assert len(line_message(view.lines[0])[3]) == LINE_LENGTH + 2 and len(view.lines[0].text) == 9000


def test_why_it_waits() -> None:
    view = RunView(str(RUN))
    view.load(stored("Late", StateType.SCHEDULED, 0, expected_start_time=at(0), work_pool_name="gpu"), "etl")
    assert not view.explain(at(1), Around("gpu", 0))  # not yet worth a word
    assert view.explain(at(9), Around("gpu", 0))
    picture = view.snapshot()
    assert picture["waiting"] == "No worker polls the pool gpu."
    assert picture["command"] == "millrace worker start --pool gpu"
    assert view.explain(at(9), Around("gpu", 0, paused=True)) and "paused" in view.snapshot()["waiting"]
    assert view.explain(at(9), Around("gpu", 2)) and "busy" in view.snapshot()["waiting"]
    view.apply(flow_run_event("Pending", "PENDING", 10))
    view.apply(flow_run_event("Running", "RUNNING", 11))
    assert view.snapshot()["waiting"] == ""


def test_a_copy_stays_as_it_is() -> None:
    view = RunView(str(RUN))
    view.apply(cell_event("started", 0, 1))
    copy = view.copy()
    view.apply(cell_event("finished", 0, 2, status="completed"))
    view.apply(logs("later"))
    assert copy.rows["cell-0"].state == "Running" and not copy.lines
