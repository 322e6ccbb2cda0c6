"""Schedules, pools, queues and workers from a terminal, against a real embedded server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Cli, expecting, own_home

FLOWS = """
from millrace import flow


@flow
def greet(name: str = "you", times: int = 1) -> int:
    return times
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with own_home(tmp_path_factory, FLOWS) as made:
        yield made


@pytest.fixture
def cli(home: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process."""
    return expecting(capfd)


@pytest.fixture
def pool(cli: Cli) -> Iterator[str]:
    """A pool without a worker, with a deployment `greet/d` in it."""
    cli("work-pool", "create", "side")
    cli("deploy", "flows.py:greet", "--name", "d", "--pool", "side")
    yield "side"
    cli("deployment", "delete", "greet/d", "--yes")
    cli("work-pool", "delete", "side", "--yes")


def test_the_life_of_a_schedule(cli: Cli, pool: str) -> None:
    words = ["deployment", "schedule", "create", "greet/d", "--cron", "0 3 * * *", "--timezone", "Europe/Oslo"]
    made = cli(*words, "--slug", "night", "-p", "times=3", "--max-scheduled-runs", "2", "-o", "json").json
    assert made["schedule"] == {"cron": "0 3 * * *", "timezone": "Europe/Oslo", "day_or": True}
    assert (made["slug"], made["parameters"], made["max_scheduled_runs"]) == ("night", {"times": 3}, 2)
    words = ["deployment", "schedule", "create", "greet/d", "--interval", "3600", "--anchor-date"]
    other = cli(*words, "2026-01-01T00:10Z", "--inactive", "-o", "json").json
    assert other["schedule"]["anchor_date"].startswith("2026-01-01T00:10:00") and other["active"] is False
    shown = cli("deployment", "schedule", "ls", "greet/d").out
    assert "Europe/Oslo" in shown and "night" in shown and "(paused)" in shown
    cli("deployment", "schedule", "resume", "greet/d", other["id"])
    cli("deployment", "schedule", "pause", "greet/d", "night")
    by_id = {one["id"]: one for one in cli("deployment", "schedule", "ls", "greet/d", "-o", "json").json}
    assert (by_id[other["id"]]["active"], by_id[made["id"]]["active"]) == (True, False)
    cli("deployment", "schedule", "delete", "greet/d", other["id"], "--yes")
    cli("deployment", "schedule", "clear", "greet/d", "--yes")
    assert cli("deployment", "schedule", "ls", "greet/d", "-o", "json").json == []


def test_editing_when_a_schedule_fires_keeps_its_zone_its_anchor_and_the_joining_of_its_days(
    cli: Cli, pool: str
) -> None:
    create, edit = (["deployment", "schedule", verb, "greet/d"] for verb in ("create", "edit"))
    oslo = ["--timezone", "Europe/Oslo"]
    cli(*create, "--cron", "0 2 1 * 1", "--day-and", "--slug", "c", *oslo)
    cli(*create, "--interval", "300", "--anchor-date", "2026-11-21T00:02Z", "--slug", "i", *oslo)
    cli(*create, "--rrule", "FREQ=DAILY;BYHOUR=6", "--slug", "r", *oslo)

    def edited(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = cli(*edit, *words, "-o", "json").json["schedule"]
        return found

    assert edited("c", "--cron", "0 3 1 * 1") == {"cron": "0 3 1 * 1", "timezone": "Europe/Oslo", "day_or": False}
    other = edited("i", "--interval", "600")
    assert (other["interval"], other["timezone"]) == (600, "Europe/Oslo")
    assert other["anchor_date"].startswith("2026-11-21T00:02:00")
    assert edited("r", "--rrule", "FREQ=DAILY;BYHOUR=7")["timezone"] == "Europe/Oslo"
    assert edited("r", "--rrule", "DTSTART;TZID=Asia/Tokyo:20260101T060000\nFREQ=DAILY")["timezone"] == "Asia/Tokyo"
    assert edited("c", "--interval", "60")["timezone"] == "Europe/Oslo"
    assert edited("c", "--cron", "@daily", "--timezone", "UTC")["timezone"] == "UTC"


def test_editing_a_schedule_changes_what_is_given(cli: Cli, pool: str) -> None:
    cli("deployment", "schedule", "create", "greet/d", "--cron", "0 3 * * *", "--slug", "s", "-p", "times=3")
    words = ["deployment", "schedule", "edit", "greet/d", "s"]
    moved = cli(*words, "--timezone", "America/Lima", "-o", "json").json
    assert moved["schedule"]["timezone"] == "America/Lima" and moved["schedule"]["cron"] == "0 3 * * *"
    assert cli(*words, "-p", "name=x", "-o", "json").json["parameters"] == {"times": 3, "name": "x"}
    assert cli(*words, "--interval", "60", "--slug", "t", "-o", "json").json["schedule"]["interval"] == 60
    words[-1] = "t"
    later = cli(*words, "--anchor-date", "2026-01-01T00:00:30Z", "-o", "json").json
    assert later["schedule"]["anchor_date"].startswith("2026-01-01T00:00:30")
    assert "Nothing to change" in cli(*words, code=2).err


def test_replacing_and_all(cli: Cli, pool: str) -> None:
    for minute in ("1", "2"):
        cli("deployment", "schedule", "create", "greet/d", "--cron", f"{minute} * * * *")
    cli("deployment", "schedule", "pause", "--all", "--yes")
    assert not any(one["active"] for one in cli("deployment", "schedule", "ls", "greet/d", "-o", "json").json)
    assert "Resumed 2 schedule(s)" in cli("deployment", "schedule", "resume", "--all", "--yes").out
    cli("deployment", "schedule", "create", "greet/d", "--rrule", "FREQ=DAILY;BYHOUR=6", "--replace", "--yes")
    (left,) = cli("deployment", "schedule", "ls", "greet/d", "-o", "json").json
    assert "BYHOUR=6" in left["schedule"]["rrule"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["create", "greet/d"], 2, "exactly one of --interval, --cron and --rrule, not none"),
        (["create", "greet/d", "--interval", "5", "--cron", "* * * * *"], 2, "--interval and --cron"),
        (["create", "greet/d", "--cron", "* * * * *", "--anchor-date", "2026-01-01"], 2, "belongs to --interval"),
        (["create", "greet/d", "--interval", "0.5"], 2, "at least 1 second"),
        (["create", "greet/d", "--interval", "60", "--anchor-date", "soon"], 2, "--anchor-date 'soon'"),
        (["create", "greet/d", "--interval", "60", "-p", "tmies=1"], 2, "tmies"),
        (["create", "greet/none", "--interval", "60"], 3, "no deployment 'greet/none'"),
        (["pause", "greet/d", "nine"], 3, "no schedule 'nine'"),
        (["pause", "greet/d"], 2, "or --all"),
        (["pause", "greet/d", "x", "--all"], 2, "not both"),
    ],
)
def test_what_is_wrong_with_a_schedule(cli: Cli, pool: str, words: list[str], code: int, text: str) -> None:
    done = cli("deployment", "schedule", *words, code=code)
    assert text in re.sub(r"\s+", " ", done.err) and done.out == ""
    assert cli("deployment", "schedule", "ls", "greet/d", "-o", "json").json == []


def test_the_policy_for_missed_fires_is_shown(cli: Cli, pool: str) -> None:
    assert re.search(r"missed fires\s+latest", cli("deployment", "inspect", "greet/d").out)
    assert "No fire was skipped" in cli("deployment", "skipped", "greet/d").out
    assert cli("deployment", "skipped", "greet/d", "-o", "json").json == []


# -- pools, queues, workers


def test_pools_are_changed(cli: Cli, pool: str, tmp_path: Path) -> None:
    file = tmp_path / "template.json"
    cli("work-pool", "get-default-base-job-template", "--type", "process", "--file", str(file))
    template = json.loads(file.read_text())
    assert template == cli("work-pool", "get-default-base-job-template").json
    template["variables"]["properties"]["env"]["default"] = {"COLOUR": "blue"}
    file.write_text(json.dumps(template))
    changed = cli("work-pool", "update", pool, "--base-job-template", str(file), "--description", "d", "-o", "json")
    assert changed.json["base_job_template"] == template and changed.json["description"] == "d"
    cli("work-pool", "set-concurrency-limit", pool, "3")
    assert cli("work-pool", "inspect", pool, "-o", "json").json["concurrency_limit"] == 3
    cli("work-pool", "clear-concurrency-limit", pool)
    assert cli("work-pool", "inspect", pool, "-o", "json").json["concurrency_limit"] is None
    assert "Nothing to change" in cli("work-pool", "update", pool, code=2).err
    file.write_text("[]")
    for words in (["update", pool], ["create", "new"]):
        assert "no base job template" in cli("work-pool", *words, "--base-job-template", str(file), code=2).err
    again = cli("work-pool", "create", pool, "--overwrite", "--limit", "7", "-o", "json").json
    assert (again["name"], again["concurrency_limit"]) == (pool, 7)


def test_queues_of_a_pool(cli: Cli, pool: str) -> None:
    made = cli("work-queue", "create", "fast", "--pool", pool, "--limit", "2", "-q", "1", "-o", "json").json
    assert (made["name"], made["concurrency_limit"], made["priority"]) == ("fast", 2, 1)
    assert "fast" in cli("work-queue", "ls", "--pool", pool).out
    assert [one["name"] for one in cli("work-queue", "ls", "-p", pool, "-m", "fa", "-o", "json").json] == ["fast"]
    cli("work-queue", "pause", "fast", "-p", pool)
    assert "PAUSED" in cli("work-queue", "inspect", "fast", "-p", pool).out
    cli("work-queue", "resume", made["id"])
    cli("work-queue", "set-concurrency-limit", "fast", "5", "-p", pool)
    cli("work-queue", "set-priority", "fast", "4", "-p", pool)
    found = cli("work-queue", "inspect", "fast", "-p", pool, "-o", "json").json
    assert (found["is_paused"], found["concurrency_limit"], found["priority"]) == (False, 5, 4)
    cli("work-queue", "clear-concurrency-limit", "fast", "-p", pool)
    assert cli("work-queue", "inspect", "fast", "-p", pool, "-o", "json").json["concurrency_limit"] is None
    cli("work-queue", "delete", "fast", "-p", pool, "--yes")
    assert "no queue named 'fast'" in cli("work-queue", "inspect", "fast", "-p", pool, code=3).err
    assert "default queue" in cli("work-queue", "delete", "default", "-p", pool, "--yes", code=2).err
    assert [one["name"] for one in cli("work-queue", "ls", "-o", "json").json] == ["default"]  # of the default pool


def test_what_waits_is_previewed_and_looking_is_not_polling(cli: Cli, pool: str) -> None:
    now = cli("deployment", "run", "greet/d", "-o", "json").json
    later = cli("deployment", "run", "greet/d", "--at", "2099-01-01T00:00Z", "-o", "json").json
    assert [one["id"] for one in cli("work-pool", "preview", pool, "-o", "json").json] == [now["id"]]
    words = ["work-queue", "preview", "default", "-p", pool, "--hours", "999999", "-o", "json"]
    assert [one["id"] for one in cli(*words).json] == [now["id"], later["id"]]
    assert later["name"] in cli("work-queue", "read-runs", "default", "-p", pool).out
    assert cli("work-pool", "inspect", pool, "-o", "json").json["status"] == "NOT_READY"
    assert "No slot" in cli("work-pool", "slots", pool).out
    assert "No slot" in cli("work-queue", "slots", "default", "-p", pool).out
    for run in (now, later):
        cli("flow-run", "cancel", run["id"])


def test_workers_are_listed(cli: Cli, home: Path) -> None:
    cli("deploy", "flows.py:greet", "--name", "e", "--pool", "default")
    cli("deployment", "run", "greet/e", "--watch")
    (worker,) = cli("worker", "ls", "-o", "json").json
    assert (worker["work_pool_name"], worker["status"]) == ("default", "ONLINE")
    assert worker["name"] in cli("worker", "ls", "--pool", "default").out
    assert "no work pool" in cli("worker", "ls", "--pool", "none", code=3).err.lower()
