"""What the running code may ask of the run it belongs to.

    from millrace.runtime import flow_run, task_run, deployment
    flow_run.name, flow_run.parameters, task_run.run_count, deployment.version

It works in flows, in tasks on threads, in a flow within a flow, in the process of a worker's run and in the processes
that one starts, and in the kernel of a notebook that runs as a flow. Outside of a run every attribute is empty: None,
0, [] or {}; `flow_run.scheduled_start_time` is now. For tests, the environment variable
`MILLRACE__RUNTIME__FLOW_RUN__NAME` and its like give an attribute a value, converted to its type.
"""

from __future__ import annotations

from millrace.runtime import deployment as deployment
from millrace.runtime import flow_run as flow_run
from millrace.runtime import task_run as task_run

__all__ = ["deployment", "flow_run", "task_run"]
