"""Pages of the documentation whose blocks are a whole: run in order, in one process, as a reader types them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["secrets"])
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    bin_directory = Path(sys.executable).parent
    path = f"{bin_directory}{os.pathsep}{os.environ['PATH']}"
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text())
    code = []
    for kind, text in blocks:
        commands = [line.removeprefix("$ ") for line in text.splitlines()] if kind == "console" else []
        code += [f"subprocess.run(['bash', '-ec', {command!r}], check=True)" for command in commands] or [text]
    script = tmp_path / "page.py"
    script.write_text("import subprocess\n" + "\n".join(code))
    try:
        done = subprocess.run(
            [sys.executable, script.name], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for promised in re.findall(r"print\(.*?\)  +# (.*)$", "\n".join(code), re.MULTILINE):
            assert promised.rstrip("…") in done.stdout
    finally:
        subprocess.run([bin_directory / "millrace", "down"], check=False, capture_output=True)
