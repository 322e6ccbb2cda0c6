"""On a worker: what the code is told of its run and deployment, and whose the lines of its threads and programs are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from yard import POOL, Yard, open_plot

from millrace.deployments.deployment import RunnerDeployment
from millrace.schema.states import StateType


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    yield from open_plot(ground, tmp_path, MILLRACE_LOG_EXTRA_LOGGERS="acme_lib", MILLRACE_LEASE_SECONDS="30")


ASKED = """
import logging, multiprocessing, threading
from millrace.runtime import deployment, flow_run, task_run

def asked():
    return {"run": flow_run.id, "name": flow_run.name, "parameters": flow_run.parameters, "count": flow_run.run_count,
            "deployment": [deployment.id, deployment.name, deployment.version], "given": deployment.parameters,
            "root": flow_run.root_flow_run_id, "parent_deployment": flow_run.parent_deployment_id}
"""

JOB = (
    ASKED
    + """
at_import = asked()

def spawned():
    get_run_logger().info("from a spawned process")

@task
def part():
    logging.getLogger("acme_lib").info("extra line of a task")
    return asked()

@flow
def child():
    return asked()

@flow(log_prints=True)
def job(n: int, more: str = "default"):
    def alone():
        get_run_logger().info("asked in a thread")
        logging.getLogger("acme_lib").info("extra line of a thread")
    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    code = "from millrace import get_run_logger; from millrace.runtime import flow_run; " \\
           "get_run_logger().warning('from a program of %s', flow_run.name)"
    subprocess.run([sys.executable, "-c", code], check=True)
    subprocess.run([sys.executable, "-c", "print('printed by a program')"], check=True)
    process = multiprocessing.get_context("spawn").Process(target=spawned)
    process.start()
    process.join()
    assert process.exitcode == 0
    print("printed by the flow")
    get_run_logger().info("said by the flow")
    note("asked", imported=at_import, flow=asked(), task=part.submit().result(), child=child())
"""
)


def test_code_on_a_worker_knows_its_run(yard: Yard) -> None:
    deployed = yard.deployment(JOB, parameters={"n": 2}, version="v3")
    yard.start_worker()
    run = yard.wait(yard.run(deployed), seconds=90)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    (entry,) = yard.entries(run, "asked")
    flow, child = entry["flow"], entry["child"]
    assert flow["run"] == flow["root"] == str(run.id) and flow["name"] == run.name and flow["count"] == 1
    assert flow["parameters"] == {"n": 2, "more": "default"} and flow["given"] == {"n": 2}
    assert flow["deployment"] == [str(deployed), "d", "v3"]
    assert entry["task"] == flow
    assert child["run"] != str(run.id) and child["root"] == str(run.id) and child["given"] == {"n": 2}
    assert child["deployment"] == flow["deployment"] and child["parent_deployment"] == str(deployed)
    # at import nothing runs yet, and the server is asked
    assert entry["imported"]["run"] == str(run.id) and entry["imported"]["deployment"] == flow["deployment"]
    expected = [
        "asked in a thread",
        "extra line of a thread",
        f"from a program of {run.name}",
        "printed by a program",
        "from a spawned process",
        "printed by the flow",
        "said by the flow",
        "extra line of a task",
    ]
    yard.until(lambda: set(expected) <= {log.message for log in yard.logs(run)})
    logs = yard.logs(run)
    for text in expected:
        assert [log.message.strip() for log in logs].count(text) == 1, text
    assert not [log for log in logs if " | " in log.message], "the screen's lines are not captured as well"
    levels = {log.message: log.level for log in logs}
    assert levels[f"from a program of {run.name}"] == 30
    assert {log.name for log in logs if "extra" in log.message} == {"acme_lib"}


def test_a_notebook_knows_its_run(yard: Yard) -> None:
    cells = [
        nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(ASKED + "import json\nprint(json.dumps(asked()))"),
        nbformat.v4.new_code_cell(
            "from millrace import flow, get_run_logger\nget_run_logger().warning('from a cell')\n"
            "@flow\ndef inner():\n    get_run_logger().info('from a flow in a cell')\ninner()"
        ),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), yard.code / "book.ipynb")
    yard.deployment("@flow\ndef job(): ...")
    made = RunnerDeployment.from_storage(yard.code, "book.ipynb", "booked", parameters={"n": 5})
    deployed = made.apply(work_pool_name=POOL)
    yard.start_worker()
    run = yard.wait(yard.run(deployed), seconds=90)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    yard.until(lambda: "from a cell" in {log.message for log in yard.logs(run)})
    logs = yard.logs(run)
    (told,) = [json.loads(log.message) for log in logs if log.message.startswith("{")]
    assert told["run"] == str(run.id) and told["name"] == run.name
    assert told["parameters"] == told["given"] == {"n": 5} and told["deployment"][:2] == [str(deployed), "booked"]
    assert [(log.name, log.level) for log in logs if log.message == "from a cell"] == [("millrace.flow_runs", 30)]
    assert not [log for log in logs if " | " in log.message], "neither the notebook nor the log has a line twice"
