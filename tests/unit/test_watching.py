"""What `--watch` shows: lines of several processes in the order of their moments, and the end last."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.cli import watch
from millrace.schema.events import ReceivedEvent
from millrace.schema.fields import new_id
from millrace.schema.logs import Log
from millrace.schema.runs import FlowRun
from millrace.schema.states import named

BEGIN = datetime(2026, 11, 21, 18, tzinfo=UTC)


def _line(second: int) -> Log:
    moment = BEGIN + timedelta(seconds=second)
    return Log(name="n", level=20, message=f"line {second}", timestamp=moment, id=new_id(), created=moment)


def _state(run: FlowRun, name: str) -> ReceivedEvent:
    said = named(name)
    return ReceivedEvent(
        occurred=BEGIN,
        event=f"prefect.flow-run.{name}",
        resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.state-type": said.type.value},
        payload={"validated_state": {"type": said.type.value, "name": name}},
    )


def test_lines_are_in_the_order_of_their_moments_and_the_end_is_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FlowRun(id=new_id(), flow_id=new_id(), name="calm-vole", state=named("Running"), start_time=BEGIN)

    def told(client: Any, id: Any) -> Iterator[Any]:
        yield _state(run, "Running")
        yield [_line(2), _line(1)]
        yield _state(run, "Completed")
        yield [_line(5)]
        yield [_line(4), _line(3)]

    monkeypatch.setattr(watch, "follow", told)
    client: Any = SimpleNamespace(read_flow_run=lambda id: run, patience=0)
    watch.watch(client, run)
    shown = [line.split(" ", 2)[-1] for line in capsys.readouterr().out.splitlines()]
    assert [one.removeprefix("INFO").strip() for one in shown] == [
        "Running",
        *(f"line {number}" for number in range(1, 6)),
        "Completed",
    ]
