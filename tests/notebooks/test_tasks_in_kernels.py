"""Tasks in the cells of a real kernel: called, submitted, mapped, awaited, cached, tried again; with and without a flow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_magics import Kernel

TASKS = """
import asyncio
from millrace import (INPUTS, TASK_SOURCE, InlineTaskRunner, ProcessPoolTaskRunner, allow_failure, as_completed, flow, quote,
                      task, unmapped)
calls = []

@task
def add(a, b=1):
    return a + b

@task
async def aadd(a, b=1):
    await asyncio.sleep(0)
    return a + b

@task(retries=2, retry_delay_seconds=[0, 0])
def flaky(n):
    calls.append(n)
    if len(calls) < 3:
        raise ValueError(n)
    return len(calls)

@task
def items(n):
    yield from range(n)

@flow
def etl(n: int = 2):
    first = add.submit(n)
    mapped = add.map([first, 10], unmapped(100))
    done = sorted(future.result() for future in as_completed(mapped))
    return done, flaky(1), list(items(3)), add(first)

@flow
async def aetl(n: int = 2):
    first = aadd.submit(n)
    both = await asyncio.gather(aadd(n), aadd(await first))
    return both, add.submit(first).result()
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    directory = tmp_path_factory.mktemp("tasks")
    home = Path(tempfile.mkdtemp(prefix="mr-", dir=directory))
    kernel = Kernel(directory, home, MILLRACE_AUTOSTART="true", MILLRACE_IDLE_EXIT_SECONDS="20")
    kernel.run("%load_ext millrace\nimport millrace")
    kernel.run(TASKS)
    assert kernel.error is None, kernel.error
    yield kernel
    kernel.run("from millrace.client import locate; locate.stop_embedded()")
    kernel.stop()


def said(kernel: Kernel, code: str) -> str:
    found = kernel.run(code)
    assert kernel.error is None, kernel.error
    return found.splitlines()[-1] if found else ""


def test_in_flows_of_both_colours(kernel: Kernel) -> None:
    assert said(kernel, "calls.clear(); print(etl())") == "([103, 110], 3, [0, 1, 2], 4)"
    assert said(kernel, "print(await aetl())") == "([3, 4], 4)"
    for runner in ("InlineTaskRunner", "ProcessPoolTaskRunner"):
        assert said(kernel, f"print(await aetl.with_options(task_runner={runner})())") == "([3, 4], 4)"


def test_without_a_flow(kernel: Kernel) -> None:
    assert said(kernel, "print(add(1), await aadd(2), add.submit(3).result(), await aadd.submit(4))") == "2 3 4 5"
    assert said(kernel, "print(add.map([1, 2]).result(), list(items(2)), items.submit(2).result())") == "[2, 3] [0, 1] [0, 1]"
    kernel.run("add.submit('a').result()")
    assert kernel.error is not None and kernel.error[0] == "TypeError"


def test_a_cell_that_is_changed_and_run_again_is_another_source(kernel: Kernel) -> None:
    cell = "@task(cache_policy=INPUTS + TASK_SOURCE)\ndef slow(n):\n    calls.append('slow')\n    return n + {}\n"
    kernel.run("calls.clear()")
    for more, expected in ((1, "Completed 5 1"), (1, "Cached 5 1"), (2, "Completed 6 2"), (1, "Cached 5 2")):
        kernel.run(cell.format(more))
        assert said(kernel, "state = slow(4, return_state=True); print(state.name, state.result(), len(calls))") == expected


def test_wrong_options_show_where_they_are_written(kernel: Kernel) -> None:
    for cell, message in (
        ("@task(tags='abc')\ndef wrong(): ...", "write tags=['abc']"),
        ("@task(result_storage_key='{parameters[day]}')\ndef wrong(n): ...", "the function has the parameters n"),
        ("@flow(retries=1.5)\ndef wrong(): ...", "retries must be a whole number"),
        ("%%flow\n@flow(result_storage='foo://x')\ndef wrong(): ...", "fsspec knows no foo://"),
    ):
        kernel.run(cell)
        assert kernel.error is not None and message in kernel.error[1], (cell, kernel.error)


RAISES = """
@task
def half(n):
    return n / 0

@flow
def calls():
    return half(1)

@flow
def waits():
    return half.submit(1).result()

@flow
async def awaits():
    return half(1)
"""


@pytest.mark.parametrize(("call", "function"), [("calls()", "calls"), ("waits()", "waits"), ("await awaits()", "awaits")])
def test_a_traceback_shows_the_lines_of_the_user_and_no_others(kernel: Kernel, call: str, function: str) -> None:
    kernel.run("from millrace import flow, task")
    kernel.run(RAISES)
    kernel.run(call)
    assert kernel.error is not None
    name, message, trace = kernel.error
    assert (name, message) == ("ZeroDivisionError", "division by zero")
    assert f"in {function}()" in trace and "in half(n)" in trace and "return n / 0" in trace
    assert "millrace/" not in trace and ".py:" not in trace
