"""Fires that were missed while the server was down, seen from a terminal: run, or skipped, as each deployment says."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millrace import settings
from millrace.client.locate import stop_embedded
from millrace.store.columns import Moment
from millrace.store.tables import metadata

EVERY = 120
AWAY = timedelta(seconds=5 * EVERY)
FLOW = "from millrace import flow\n\n\n@flow\ndef greet(name: str = 'you') -> str:\n    return name\n"

Cli = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    settings.current.cache_clear()
    yield tmp_path / "home"
    stop_embedded()
    settings.current.cache_clear()


@pytest.fixture
def cli(home: Path, tmp_path: Path) -> Cli:
    (tmp_path / "flows.py").write_text(FLOW)

    def run(*words: str, wide: bool = False) -> Any:
        command = [sys.executable, "-m", "millrace", *words, *(() if wide else ("--output", "json"))]
        done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout if wide else json.loads(done.stdout)

    return run


def _age(database: Path, by: timedelta) -> None:
    """What a database would hold had it been left that much earlier."""
    connection = sqlite3.connect(database)
    shift = round(by.total_seconds() * 1_000_000)
    with connection:
        for table in metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, Moment):
                    connection.execute(f'UPDATE "{table.name}" SET "{column.name}" = "{column.name}" - ?', (shift,))
        connection.execute("UPDATE flow_runs SET idempotency_key = NULL")  # it holds the moment as a text
        ((said,),) = connection.execute("SELECT value FROM memory WHERE name = 'scheduler.last_step'")
        before = json.dumps((datetime.fromisoformat(json.loads(said)) - by).isoformat())
        connection.execute("UPDATE memory SET value = ? WHERE name = 'scheduler.last_step'", (before,))
    connection.close()


def _until(ready: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


@pytest.mark.timeout(300)
def test_what_was_missed_is_run_or_skipped_as_the_deployment_says(cli: Cli, home: Path) -> None:
    for policy in ("skip", "latest", "all"):
        deploy = ["deploy", "flows.py:greet", "-n", policy, "--catch-up", policy, "--interval", str(EVERY)]
        cli(*deploy, "--anchor-date", "2026-01-01T00:00:00Z")
        _until(lambda: cli("flow-run", "ls", "--deployment", policy))  # noqa: B023
    cli("down")
    (database,) = home.glob("*.db")
    _age(database, AWAY)
    cli("up")

    def over(policy: str) -> list[str]:
        runs = cli("flow-run", "ls", "--deployment", policy, "--state", "COMPLETED")
        return sorted(run["expected_start_time"] for run in runs)

    _until(lambda: len(cli("deployment", "skipped", "greet/skip")) >= AWAY.total_seconds() // EVERY)
    skipped = {
        policy: sorted(one["nominal_time"] for one in cli("deployment", "skipped", f"greet/{policy}"))
        for policy in ("skip", "latest", "all")
    }
    missed = skipped["skip"]
    _until(lambda: missed[-1] in over("latest") and set(missed) <= set(over("all")))
    fires = over("all")
    # A fire that came just before the server went down is none of these: all three deployments ran it.
    assert len(fires) == len(set(fires))
    assert [fire for fire in fires if fire in missed] == missed, "every one was run"
    assert skipped["all"] == []
    assert skipped["latest"] == missed[:-1] and set(over("latest")) & set(missed) == {missed[-1]}
    assert not set(over("skip")) & set(missed)
    shown = cli("deployment", "skipped", "greet/skip", wide=True)
    assert shown.count("missed while no scheduler ran") == len(missed)
