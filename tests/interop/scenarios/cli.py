"""Types commands into the real command line, one after the other, and reports exit code and output of each.

The original's own server stumbles over a run that changes while it is read: there, what only reads is tried again.
"""

import contextlib
import io
import json
import sys
import time

from prefect.cli import app

server, commands = sys.argv[1], json.loads(sys.argv[2])
READS = {"ls", "inspect", "logs"}


def typed(command):
    out = io.StringIO()
    sys.argv = ["prefect", *command]
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            app()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=out)
            code = 70
    return [code, out.getvalue()]


found = []
for command in commands:
    for pause in (0.5, 1, 2, 0):
        answer = typed(command)
        stumbled = answer[0] and "500 Internal Server Error" in answer[1]
        if not (stumbled and server == "prefect" and READS & set(command)):
            break
        time.sleep(pause)
    found.append(answer)
print("RESULT " + json.dumps(found))
