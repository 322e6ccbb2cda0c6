"""A flow of the real client that pauses twice: for a typed input, and for a number; resumed by somebody else."""

import json
import sys

from prefect import flow, task
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput


class Approval(RunInput):
    approved: bool
    remark: str = "none"


@task
def before():
    return 1


@flow(name="interop-pauses")
def pauses():
    first = before()
    asked = Approval.with_initial_data(description="May it go out?", remark="so so")
    answer = pause_flow_run(wait_for_input=asked, timeout=300, poll_interval=1)
    number = pause_flow_run(wait_for_input=int, timeout=300, poll_interval=1)
    return [first, answer.approved, answer.remark, number]


state = pauses(return_state=True)
print("RESULT " + json.dumps({"name": state.name, "value": state.result(raise_on_failure=False)}))
sys.exit(0)
