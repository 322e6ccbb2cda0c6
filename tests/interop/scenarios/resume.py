"""The real client resumes a run: first with a wrong input, which is refused, then with the right one."""

import json
import sys
from uuid import UUID

from prefect.flow_runs import resume_flow_run

run, wrong, right = UUID(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
try:
    resume_flow_run(run, run_input=wrong)
    refused = None
except RuntimeError as error:
    refused = str(error)
resume_flow_run(run, run_input=right)
print("RESULT " + json.dumps({"refused": refused}))
