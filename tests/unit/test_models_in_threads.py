"""Models are built at their first use; many threads may come first at once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from uuid import uuid4
from millrace.schema.runs import BeginRun, FlowRunCreate
sys.setswitchinterval(1e-6)
gate, wrong = threading.Barrier(8), []
def use():
    gate.wait()
    try:
        begin = BeginRun(flow_name="f", flow_run=FlowRunCreate(flow_id=uuid4(), name="x"), holder="h", lease_seconds=3)
        assert BeginRun.model_validate_json(begin.model_dump_json()).flow_run.name == "x"
    except BaseException as error:
        wrong.append(error)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(repr(wrong) if wrong else 0)
"""


def test_eight_threads_use_a_model_first() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
