"""run_deployment with every kind of time-out, from a script and from inside a flow."""

import json
import sys
import time

from prefect import flow
from prefect.deployments import run_deployment

quick, slow = sys.argv[1:3]


def asked(name, **options):
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
        "waited": asked(quick, parameters={"x": 5}),
        "at_once": asked(quick, timeout=0),
        "gave_up": asked(slow, timeout=1.5, parameters={"seconds": 1}),
        "alone": asked(quick, timeout=0, as_subflow=False),
    }


answer = {"waited": asked(quick, parameters={"x": 3}, tags=["asked"]), "at_once": asked(quick, timeout=0)}
answer["twice"] = [asked(quick, timeout=0, idempotency_key="the same")["run"] for _ in range(2)]
answer["gave_up"] = asked(slow, timeout=1.5, parameters={"seconds": 4})
answer["inside"] = asker()
print("RESULT " + json.dumps(answer))
