"""The peers, Prefect and papermill, in an environment of their own, made once by `scripts/install_prefect.sh`."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTALL = ROOT / "scripts" / "install_prefect.sh"


@lru_cache(maxsize=1)
def python() -> Path:
    """The interpreter of the peers' environment; made if it is missing."""
    env = {**os.environ, "MILLRACE_PEER_PYTHON": sys.executable}
    said = subprocess.run([str(INSTALL)], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Path(said.strip()) / "bin" / "python"


def environment(home: Path, **more: str) -> dict[str, str]:
    """The peer's environment variables: a private home, no analytics, nothing of ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE", "PREFECT", "PYTHON"))}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_CLI_COLORS": "false",
        **more,
    }
