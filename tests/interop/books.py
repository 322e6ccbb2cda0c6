"""The notebooks of the scenarios, and a real kernel to execute them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

REPORT = [
    (["parameters"], 'who: str = "nobody"\nn: int = 2'),
    ([], "from math import factorial"),
    ([], 'print(f"a report for {who}: {factorial(n)}")'),
]
FLOW = """%%flow interop_cell --log-prints
from millrace import task

@task
def times(x: int) -> int:
    return FACTOR * x

def interop_cell(x: int = 2) -> int:
    print(f"the cell got {x}")
    return sum(future.result() for future in times.map(range(x)))
"""
SLEEPER = """%%flow interop_nap --log-prints
import time

def interop_nap(seconds: float = 300.0) -> None:
    print("asleep")
    for _ in range(int(seconds * 10)):
        time.sleep(0.1)
"""
SUSPENDER = """%%flow interop_suspend --log-prints
from millrace import suspend_flow_run

def interop_suspend() -> int:
    answer = suspend_flow_run(wait_for_input=int, timeout=300)
    print(f"answered {answer}")
    return answer
"""
NOTER = """%%flow interop_note --log-prints
import os
import time

import psutil

def interop_note(note: str = "", seconds: float = 0.0) -> None:
    above = " ".join(str(parent.pid) for parent in psutil.Process().parents())
    with open(note, "a") as file:
        file.write(f"begin {os.getpid()} {above}\\n")
    print("noted")
    time.sleep(seconds)
    with open(note, "a") as file:
        file.write("end\\n")
"""


def write(path: Path, cells: list[tuple[list[str], str]]) -> Path:
    """A notebook of code cells, each with its tags."""
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for tags, text in cells:
        book.cells.append(nbformat.v4.new_code_cell(text, metadata={"tags": tags} if tags else {}))
    nbformat.write(book, path)
    return path


def execute(folder: Path, cells: list[str], env: dict[str, str]) -> list[str]:
    """What the cells print or show, executed in a kernel with this environment and nothing else."""
    path = write(folder / "book.ipynb", [([], text) for text in cells])
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        client.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return ["".join(_text(output) for output in cell.outputs) for cell in book.cells]


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.get("data", {}).get("text/plain", ""))
