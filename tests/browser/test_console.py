"""Lines of a run under the cell that called it, in JupyterLab."""

from __future__ import annotations

import os
from collections.abc import Callable

from labpage import LabPage, expect

DEFINE = """%load_ext millrace
import threading, time
from millrace import flow, get_run_logger, task

@task
def read(n: int):
    get_run_logger().info("read %d rows", n)

@flow(log_prints=True)
def report(n: int = 2):
    log = get_run_logger()
    [read.submit(i) for i in range(n)]
    print("printed as it is")
    log.warning("mind the gap")
    threading.Thread(target=lambda: (time.sleep(2), log.info("late, from a thread"))).start()
"""


def test_lines_stand_under_the_cell_that_called(notebook: Callable[..., LabPage], errors: list[str]) -> None:
    page = notebook(DEFINE, "report()", "time.sleep(3)\nprint('another cell')", "report.with_options(retries=0)(0)")
    page.run(0, 1, 2)
    first = page.output(1)
    expect(first.get_by_text("late, from a thread")).to_be_visible()
    text = page.text(1)
    for said in ("Flow 'report' begins", "read 0 rows", "read 1 rows", "printed as it is", "Ended: Completed"):
        assert text.count(said) == 1, text
    assert text.count("mind the gap") == 1
    assert text.index("mind the gap") < text.index("Ended: Completed"), "in the order in which it was said"
    red = page.output(1).locator("[data-mime-type='application/vnd.jupyter.stderr']")
    assert "mind the gap" in red.inner_text() and "read 0 rows" not in red.inner_text()
    assert page.text(2).strip() == "another cell"
    if os.environ.get("MILLRACE_TEST_PICTURE"):
        page.page.screenshot(path=os.environ["MILLRACE_TEST_PICTURE"])
    assert not errors
