"""The README's tour, run as a reader runs it: cells in one kernel, commands in a terminal, one data directory."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(ipython|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def _run_cell(client, source: str) -> None:
    said: list[str] = []

    def hear(message) -> None:
        content = message["content"]
        said.append(content.get("text") or "\n".join(content.get("traceback", ())))

    reply = client.execute_interactive(source, timeout=120, output_hook=hear)
    assert reply["content"]["status"] == "ok", f"{source}\n{''.join(said)}"


@pytest.mark.timeout(240)
def test_the_tour(home: Path) -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert [kind for kind, _ in blocks].count("ipython") >= 6
    bin_directory = Path(sys.executable).parent
    kernel, client = start_new_kernel(cwd=str(ROOT))
    try:
        for kind, text in blocks:
            if kind == "ipython":
                _run_cell(client, text)
                continue
            for line in text.splitlines():
                name, *arguments = shlex.split(line.removeprefix("$ "))
                done = subprocess.run([bin_directory / name, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
        subprocess.run([bin_directory / "millrace", "down"], check=False, capture_output=True)
