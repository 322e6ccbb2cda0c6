"""Backfills from outside: through the command line and Python, run by a real worker, in flows and notebooks."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from yard import POOL, Yard, open_plot

from millrace.cli import main
from millrace.deployments import abackfill, backfill, deploy_notebook
from millrace.errors import InvalidInput, MissingDeployment
from millrace.schedules import Cron
from millrace.schema.runs import FlowRun

JOB = """
from datetime import datetime
from millrace.runtime import flow_run

@flow
def job(logical_time: datetime = None):
    note('ran', logical=flow_run.logical_time.isoformat(), given=logical_time.isoformat(),
         start=flow_run.scheduled_start_time.isoformat())
"""


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    yield from open_plot(ground, tmp_path)


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


def wait_for_all(yard: Yard) -> list[FlowRun]:
    runs = sorted(yard.client.read_flow_runs(), key=lambda run: str(run.nominal_time))
    return [yard.wait(run, seconds=120) for run in runs]


def cli(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    out, err = capfd.readouterr()
    return int(caught.value.code or 0), out, err


def test_runs_know_the_time_they_are_for_and_come_in_order(yard: Yard, capfd: pytest.CaptureFixture[str]) -> None:
    night = Cron("30 2 * * *", timezone="Europe/Oslo", slug="night", active=False)
    yard.deployment(JOB, schedules=[night], concurrency_limit=1)
    words = ["deployment", "backfill", "job/d", "--from", "2026-03-28T00:00Z", "--to", "2026-03-31T00:00Z"]
    code, out, _ = cli(capfd, *words, "--dry-run")
    assert code == 0 and "3 run(s) would be made" in out and yard.client.read_flow_runs() == []
    code, out, _ = cli(capfd, *words, "--output", "json")
    assert code == 0 and [fire["created"] for fire in json.loads(out)] == [True] * 3
    code, out, _ = cli(capfd, *words)
    assert code == 0 and "0 run(s) were made; 3 fire(s) have theirs already" in out
    yard.start_worker()
    runs = wait_for_all(yard)
    times = ["2026-03-28T01:30:00+00:00", "2026-03-29T01:00:00+00:00", "2026-03-30T00:30:00+00:00"]
    entries: list[dict[str, Any]] = yard.entries(what="ran")
    assert [entry["logical"] for entry in entries] == times  # one after the other, the oldest first
    assert [datetime.fromisoformat(entry["given"]) for entry in entries] == [run.nominal_time for run in runs]
    assert all(entry["start"] > "2026-11" for entry in entries)


def test_a_notebook_is_handed_its_logical_time(yard: Yard) -> None:
    yard.deployment(JOB)  # makes the pool
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("logical_time = '2000-01-01'", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(
                "from millrace.runtime import flow_run\n"
                f"open({str(yard.code / 'told.txt')!r}, 'a').write(f'{{logical_time}} {{flow_run.logical_time}}\\n')"
            ),
        ]
    )
    path = yard.code / "book.ipynb"
    nbformat.write(book, path)
    deploy_notebook(path, name="nb", work_pool_name=POOL, cron="0 6 * * *")
    deployment = next(one for one in yard.client.read_deployments() if one.name == "nb")
    done = backfill(deployment.id, day(1), day(3))
    assert [fire.created for fire in done] == [True, True]
    yard.start_worker()
    runs = [yard.wait(yard.client.read_flow_run(fire.flow_run_id), seconds=120) for fire in done if fire.flow_run_id]
    assert [run.state_name for run in runs] == ["Completed", "Completed"], [run.state for run in runs]
    told = sorted(line.split(" ", 1) for line in (yard.code / "told.txt").read_text().splitlines())
    for (given, logical), fire in zip(told, done, strict=True):
        assert datetime.fromisoformat(given) == datetime.fromisoformat(logical) == fire.nominal_time


def test_from_python_in_either_colour(yard: Yard) -> None:
    yard.deployment(JOB, cron="@daily")
    first = backfill("job/d", day(1), day(11), limit=4, tags=["mine"])
    assert sum(fire.created for fire in first) == 4
    again = asyncio.run(abackfill("job/d", day(1), day(11)))
    assert [fire.created for fire in again] == [False] * 4 + [True] * 6
    assert sum(not run.auto_scheduled for run in yard.client.read_flow_runs()) == 10
    with pytest.raises(MissingDeployment, match="Did you mean 'job/d'"):
        backfill("jop/d", day(1), day(2))
    with pytest.raises(InvalidInput, match="still to come"):
        backfill("job/d", day(1), datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--from", "soon", "--to", "2026-03-02"], "--from 'soon' is no moment"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "earlier moment to a later"),
        (["--from", "2026-03-02", "--to", "2026-03-05", "--schedule", "x"], "no schedule 'x'"),
    ],
)
def test_wrong_words(yard: Yard, capfd: pytest.CaptureFixture[str], words: list[str], text: str) -> None:
    yard.deployment(JOB, cron="@daily")
    code, out, err = cli(capfd, "deployment", "backfill", "job/d", *words)
    assert code in (2, 3) and out == "" and text in re.sub(r"\s+", " ", err)
