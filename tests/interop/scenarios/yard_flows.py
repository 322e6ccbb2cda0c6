"""Flows that the deployments of the scenarios run."""

import os
import time
from pathlib import Path

from prefect import flow, suspend_flow_run, task


@task
def double(x):
    return 2 * x


@flow(name="interop-yard", log_prints=True)
def yard(x: int = 1):
    print(f"the yard got {x}, and {os.environ.get('YARD', 'nothing')}")
    return double(x)


@flow(name="interop-sleeper", log_prints=True)
def sleeper(seconds: float = 300, note: str = ""):
    print("asleep")
    if note:
        Path(note).write_text(str(os.getpid()))
    for _ in range(int(seconds * 10)):
        time.sleep(0.1)


@flow(name="interop-suspends", log_prints=True, persist_result=True)
def suspends():
    first = double(1)
    answer = suspend_flow_run(wait_for_input=int, timeout=300)
    print(f"answered {answer} after {first}")
    return first + answer


@flow(name="interop-killed")
def killed():
    os.kill(os.getpid(), 9)
