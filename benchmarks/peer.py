"""The peers, Prefect and papermill, in an environment of their own, made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = Path(os.environ.get("MILLRACE_PEER_VENV", ROOT / ".venv-peer"))
PACKAGES = ["prefect==3.8.8", "fastapi==0.142.4", "papermill>=2.7,<3", "ipykernel>=7,<8"]


def python() -> Path:
    """The interpreter of the peers' environment; made if it is missing."""
    found = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / ".ready"
    if not ready.exists():
        print(f"installing the peers into {ENVIRONMENT} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(found), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        ready.touch()
    return found


def environment(home: Path, **more: str) -> dict[str, str]:
    """The peer's environment variables: a private home, no analytics, nothing of ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE", "PREFECT"))}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_CLI_COLORS": "false",
        **more,
    }
