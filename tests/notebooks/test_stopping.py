"""Interrupting a cell: the run it called ends with all it started, and the kernel keeps what is its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from jupyter_client.manager import KernelManager
from promises import CANCELLED_WITHIN, Promise

FLOWS = """
import asyncio, contextvars, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from millrace import ProcessPoolTaskRunner, flow, task

MARK = "import time; time.sleep(300)  # {mark}"
# Jupyter interrupts the whole group of processes: this one is not in it
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)  # own-{mark}"], start_new_session=True)
before = ProcessPoolTaskRunner(max_workers=1).__enter__()  # processes of the kernel, for several runs

@task
def quick():
    return 1

@task
def loops():
    while True:
        time.sleep(0.05)

@task
def starts():
    subprocess.run([sys.executable, "-c", MARK])

@flow
def threaded():
    subprocess.Popen([sys.executable, "-c", MARK], start_new_session=True)
    while True:
        time.sleep(0.05)

def begin():
    thread = threading.Thread(target=contextvars.copy_context().run, args=(threaded,))
    thread.start()
    return thread

@flow
def on_threads():
    starts.submit(), loops.submit()
    with ThreadPoolExecutor() as pool:
        pool.submit(contextvars.copy_context().run, threaded).result()

@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def on_processes():
    starts.submit(), loops.submit()
    begin().join()

@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
async def awaited():
    starts.submit(), loops.submit()
    await asyncio.to_thread(threaded)

@flow(task_runner=before)
def pooled():
    return quick.submit().result()

pooled()
"""


class Kernel:
    """A kernel with a data directory, and a server, of its own."""

    def __init__(self, home: Path) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE_", "PREFECT_"))}
        self.manager = KernelManager()
        self.manager.start_kernel(cwd=str(home), env={**kept, "MILLRACE_HOME": str(home), "IPYTHONDIR": str(home / "i")})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(60)

    def run(self, code: str) -> str:
        """What a cell prints; it must not raise."""
        said: list[str] = []

        def take(message: dict[str, Any]) -> None:
            assert message["msg_type"] != "error", message["content"]
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                said.append(message["content"]["text"])

        self.client.execute_interactive(code, timeout=120, output_hook=take)
        return "".join(said)

    def children(self) -> set[int]:
        """The processes it started."""
        [pid] = self.run("import os; print(os.getpid())").split()
        return {process.pid for process in psutil.Process(int(pid)).children()}

    def stop(self) -> None:
        """End it and its server."""
        self.run("from millrace.client.locate import stop_embedded; stop_embedded()")
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with tempfile.TemporaryDirectory(prefix="mr-") as home:
        started = Kernel(Path(home))
        yield started
        started.stop()


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"# {mark}" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


STATES = """
from millrace.client.locate import connect
print(*{one.state_name for one in connect().read_flow_runs(flows={"name": {"any_": [NAME]}})})
"""


@pytest.mark.parametrize("called", ["on_threads()", "on_processes()", "await awaited()"])
def test_an_interrupted_cell_leaves_nothing_of_its_run_and_all_of_the_kernel(kernel: Kernel, called: str) -> None:
    mark = f"run-{uuid4().hex}"
    try:
        kernel.run(FLOWS.replace("{mark}", mark))
        before = kernel.children()
        kernel.client.execute(called, stop_on_error=False)
        until = time.monotonic() + 90
        while len(marked(mark)) < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
        promise = Promise(CANCELLED_WITHIN)
        kernel.manager.interrupt_kernel()
        assert kernel.run("print('own', own.poll(), 'again', pooled())").splitlines()[-1] == "own None again 1"
        assert not marked(mark)
        promise.kept()
        assert kernel.children() == before
        name = called.removeprefix("await ").removesuffix("()").replace("_", "-")
        assert kernel.run(f"NAME = {name!r}{STATES}").strip() == "Cancelled"
        assert kernel.run(f"NAME = 'threaded'{STATES}").strip() == "Cancelled"
    finally:
        kernel.run("own.kill(); own.wait(); before.__exit__()")
        for process in marked(mark):
            process.kill()
