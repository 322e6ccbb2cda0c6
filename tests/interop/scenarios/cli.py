"""Types commands into the real command line, one after the other, and reports exit code and output of each."""

import contextlib
import io
import json
import sys

commands = json.loads(sys.argv[1])
found = []
for command in commands:
    out = io.StringIO()
    sys.argv = ["prefect", *command]
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            from prefect.cli import app

            app()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=out)
            code = 70
    found.append([code, out.getvalue()])
print("RESULT " + json.dumps(found))
