"""How long `import` takes, in a fresh process each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import peer
from benchmarks.measure import Row, median_ms


def _import(python: str | Path, statement: str, home: Path) -> float:
    def once() -> None:
        subprocess.run([str(python), "-c", statement], check=True, env=peer.environment(home), capture_output=True)

    once()
    return median_ms(once, 7)


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    bare = _import(sys.executable, "pass", place)
    ours = _import(sys.executable, "from millrace import flow, task; flow, task", place)
    theirs = _import(peer.python(), "from prefect import flow, task", place)
    # without httpx's command line, which nobody here uses
    bound = "import sys; sys.modules['httpx._main'] = None; import pydantic, httpx; pydantic.BaseModel"
    limit = _import(sys.executable, bound, place)
    program = (
        "import time; from IPython.core.interactiveshell import InteractiveShell as Shell; shell = Shell(); "
        "start = time.perf_counter(); shell.run_line_magic('load_ext', 'millrace'); print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True, env=peer.environment(place))
    return [
        Row(
            "import",
            ours - bare,
            theirs - bare,
            limit - bare,
            "≤ 1.3 × the limit",
            "less the bare interpreter; limit: pydantic and httpx without its command line",
        ),
        Row("%load_ext millrace", 1000 * float(loaded.stdout), None, None, "≤ 500 ms", "in IPython, once"),
    ]
