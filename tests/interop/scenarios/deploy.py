"""Deploys from a local directory to a process pool, with every kind of schedule."""

import json
import sys
from datetime import timedelta
from pathlib import Path

from prefect import flow
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

HERE = Path(__file__).parent
pool, *kinds = sys.argv[1:]


def source(name):
    return flow.from_source(str(HERE), f"yard_flows.py:{name}")


quiet = {"work_pool_name": pool, "build": False, "push": False, "print_next_steps": False}
made = {}
if "full" in kinds:
    made["full"] = source("yard").deploy(
        "full",
        schedules=[
            CronSchedule(cron="15 3 * * *", timezone="Europe/Berlin"),
            IntervalSchedule(interval=timedelta(hours=6)),
            RRuleSchedule(rrule="FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", timezone="America/New_York"),
        ],
        parameters={"x": 4},
        tags=["interop", "full"],
        description="everything at once",
        version="v7",
        job_variables={"env": {"YARD": "full of logs"}},
        concurrency_limit=3,
        **quiet,
    )
if "rest" in kinds:
    made["yard"] = source("yard").deploy("plain", job_variables={"env": {"YARD": "bare"}}, tags=["interop"], **quiet)
    made["sleeper"] = source("sleeper").deploy("sleeper", **quiet)
    made["suspends"] = source("suspends").deploy("suspends", **quiet)
    made["killed"] = source("killed").deploy("killed", **quiet)
print("RESULT " + json.dumps({name: str(id) for name, id in made.items()}))
