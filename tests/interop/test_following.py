"""Runs at a real Prefect server followed by us: by its event and log streams, and where those are refused by asking."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import gate
import peers
import pytest
from peers import Output, Place
from shops import OURS, Shop

FOLLOWED = "GET /millrace/events"
WATCH = """
import json, time
from uuid import UUID, uuid4
from millrace.client import ears
from millrace.schema.events import Event
from millrace.schema.fields import now
from millrace.schema.logs import LogCreate
from millrace.client.locate import connect
from millrace.jupyter.follower import followed

heard, made = [], []
told, opened = ears.Ears.heard, ears.Ears.__init__

def remember(self):
    found = told(self)
    heard.extend(found)
    return found

def keep(self, *args):
    opened(self, *args)
    made.append(self)

ears.Ears.heard, ears.Ears.__init__ = remember, keep
follower = followed(UUID(RUN), connect())
if LATER:
    from millrace.schema.states import StateCreate, StateType
    from millrace.schema.states import SetState
    # a filter that was sent was not read yet: a stream is open when it tells of what happens
    probe = Event(event="millrace.interop.probe", resource={"prefect.resource.id": "prefect.flow-run." + RUN})
    line = dict(name="interop", level=10, message="a probe", flow_run_id=RUN)
    deadline = time.monotonic() + 90
    while not made or not all(ear.speaks or ear.refused for one in made for ear in (one.events, one.logs)):
        assert time.monotonic() < deadline
        connect().create_events([probe.model_copy(update={"id": uuid4(), "occurred": now()})])
        connect().create_logs([LogCreate(**line, timestamp=now())])
        time.sleep(0.3)
    connect().set_flow_run_state(
        UUID(RUN), SetState(state=StateCreate(type=StateType.SCHEDULED, name="Scheduled"), force=True)
    )
over = follower.ended.wait(100)
view = follower.view()
follower.release()
print("RESULT " + json.dumps({
    "over": over,
    "trouble": follower.trouble,
    "state": view.state,
    "rows": [[row.kind, row.state] for row in view.rows.values()],
    "lines": [line.text for line in view.lines],
    "events heard": [one.event for one in heard if not hasattr(one, "level")],
    "lines heard": [one.message for one in heard if hasattr(one, "level")],
    "refused": [[one.events.refused, one.logs.refused] for one in made],
}))
"""


def watch(shop: Shop, run: str, place: Place | None = None, later: bool = False) -> Any:
    """What the monitor's view knows of a run at its end, and what of it came by the streams.

    Args:
        shop: ours.
        run: its id.
        place: what is in front of the server.
        later: the run waits, and may begin when the streams are open.
    """
    found = shop.run(f"RUN, LATER = {run!r}, {later!r}\n{WATCH}", place)
    assert found["over"] and not found["trouble"], found
    return found


def check_view(found: Any, x: int) -> None:
    assert found["state"] == "Completed", found
    assert found["rows"] == [["task", "Completed"]] * x, found
    assert found["lines"].count(f"the cell got {x}") == 1, found


def waiting(shop: Shop, kind: str, **parameters: Any) -> str:
    """A run that begins when it is told to."""
    due = (datetime.now(UTC) + timedelta(hours=10)).isoformat()
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
    body = {"state": state, "parameters": parameters}
    return str(shop.place.ask("POST", f"/deployments/{shop.ids[f'{OURS} {kind}']}/create_flow_run", body)["id"])


def test_the_monitors_view_follows_a_run_through_the_streams(shop: Shop, worker: Output) -> None:
    found = watch(shop, waiting(shop, "cell", x=3), later=True)
    check_view(found, 3)
    assert found["refused"] == [[False, False]]
    heard = found["events heard"]
    assert {"prefect.flow-run.Running", "prefect.flow-run.Completed"} <= set(heard)
    assert heard.count("prefect.task-run.Completed") == 3, heard
    assert "the cell got 3" in found["lines heard"], found


@pytest.mark.parametrize(
    ("parts", "refused"),
    [(("/events/out", "/logs/out"), [True, True]), (("/logs/out",), [False, True])],
    ids=["both", "the lines"],
)
def test_the_monitors_view_where_streams_are_refused(
    shop: Shop, worker: Output, parts: tuple[str, ...], refused: list[bool]
) -> None:
    run = waiting(shop, "cell", x=2)
    with gate.without(shop.place, *parts) as place:
        found = watch(shop, run, place, later=True)
    check_view(found, 2)
    # our stream, which goes on where it broke, is not there; those of Prefect are refused; so it asks
    followed = place.first(FOLLOWED)
    assert place.times(FOLLOWED) == 1
    assert all(followed < place.first(f"GET {part}") for part in parts)
    assert place.times("POST /logs/filter") > 1 and place.times(f"GET /flow_runs/{run}") > 1
    assert found["refused"] == [refused] and not found["lines heard"]
    assert bool(found["events heard"]) is not refused[0]


def check_book(found: Any) -> None:
    assert found["state"] == "Completed", found
    assert found["rows"] and {tuple(row) for row in found["rows"]} == {("cell", "Completed")}, found["rows"]
    assert any("a report for the monitor: 2" in line for line in found["lines"]), found["lines"]


def test_the_monitors_view_of_a_notebook(shop: Shop, worker: Output) -> None:
    found = watch(shop, waiting(shop, "book", who="the monitor"), later=True)
    check_book(found)
    assert [name for name in found["events heard"] if name.startswith("millrace.cell.")], found["events heard"]


def test_the_monitors_view_of_a_notebook_where_streams_are_refused(shop: Shop, worker: Output) -> None:
    run = waiting(shop, "book", who="the monitor")
    with gate.without(shop.place, "/events/out", "/logs/out") as place:
        found = watch(shop, run, place, later=True)
    check_book(found)
    assert not found["events heard"] and not found["lines heard"]
    # whoever comes when all is over sees the same
    check_book(watch(shop, run))


ASK = """
import json, time
from millrace import run_deployment
from millrace.client.locate import connect
started = time.monotonic()
at_once = run_deployment(NAME, timeout=0, parameters={"x": 2})
soon = time.monotonic() - started
gone = run_deployment(NAME.replace("cell", "nap"), timeout=1.5, poll_interval=0.5)
waited = run_deployment(NAME, parameters={"x": 3}, poll_interval=0.5)
print("RESULT " + json.dumps({
    "soon": soon, "at_once": str(at_once.id), "gone": [str(gone.id), gone.state.is_final()],
    "waited": str(waited.id), "state": waited.state.name,
}))
"""


def test_run_deployment_waits_as_long_as_it_is_told(shop: Shop, worker: Output) -> None:
    found = shop.run(f"NAME = 'interop_cell/{OURS}-cell'\n{ASK}")
    assert found["soon"] < 10 and found["state"] == "Completed"
    run, final = found["gone"]
    assert not final
    shop.place.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    shop.place.ended(run, 150)
    assert shop.place.ended(found["at_once"], 150)["state_name"] == "Completed"


def test_our_command_line_watches_a_run(shop: Shop, worker: Output) -> None:
    said = shop.cli("deployment", "run", f"interop_cell/{OURS}-cell", "-p", "x=2", "--watch")
    assert said.count("the cell got 2") == 1 and "Completed" in said, said
    again = shop.cli("flow-run", "watch", shop.ask(f"{OURS} cell", x=1))
    assert again.count("the cell got 1") == 1 and "Completed" in again, again


def test_our_command_line_watches_a_run_to_its_cancellation(shop: Shop, worker: Output) -> None:
    run = shop.ask(f"{OURS} nap")
    shop.place.reach(run, "Running", 150, lambda: worker.said[-4000:])
    watching = peers.started([*shop.command, "flow-run", "watch", run], shop.folder / "watch.txt", shop.environment())
    try:
        watching.until(lambda: "asleep" in watching.said)
        shop.place.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
        assert watching.wait(60) == 1, watching.said
    finally:
        watching.stop(signal.SIGKILL)
    assert "Cancelled" in watching.said
    assert json.loads(shop.cli("flow-run", "inspect", run, "--output", "json"))["state"]["name"] == "Cancelled"
