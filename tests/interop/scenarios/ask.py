"""run_deployment with every kind of time-out, from a script and from inside a flow."""

import json
import sys
import time
from datetime import UTC, datetime, timedelta

from prefect import flow
from prefect.deployments import run_deployment

name = sys.argv[1]
later = {"scheduled_time": datetime.now(UTC) + timedelta(hours=10)}


def asked(**options):
    started = time.monotonic()
    run = run_deployment(name, poll_interval=0.5, **options)
    return {
        "run": str(run.id),
        "state": run.state.name,
        "final": run.state.is_final(),
        "parent": str(run.parent_task_run_id),
        "seconds": time.monotonic() - started,
    }


@flow(name="interop-asker")
def asker():
    return {
        "waited": asked(parameters={"x": 5}),
        "at_once": asked(timeout=0, **later),
        "gave_up": asked(timeout=1.5, **later),
        "alone": asked(timeout=0, as_subflow=False, **later),
    }


answer = {
    "waited": asked(parameters={"x": 3}, tags=["asked"]),
    "at_once": asked(timeout=0, **later),
    "twice": [asked(timeout=0, idempotency_key="the same", **later)["run"] for _ in range(2)],
    "gave_up": asked(timeout=1.5, **later),
    "inside": asker(),
}
print("RESULT " + json.dumps(answer))
