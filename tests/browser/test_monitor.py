"""The live monitor in JupyterLab, of real runs on the embedded server's worker."""

from __future__ import annotations

from collections.abc import Callable

from labpage import LabPage, expect

from millrace.client import locate
from millrace.client.handle import RunHandle
from millrace.schema.queries import FlowRunQuery
from promises import Promise

SETUP = "%load_ext millrace\nimport millrace"
HOSTILE = "<img src=x onerror=window.hacked=1><b>bold</b>"
HOSTILE_FLOW = f"""%%flow
import time
HOSTILE = "{HOSTILE}"
@task(name=HOSTILE, task_run_name=HOSTILE)
def part():
    print(HOSTILE)
    time.sleep(2)
@flow(flow_run_name=HOSTILE, log_prints=True)
def hostile():
    part()
    raise ValueError(HOSTILE)
"""
SLOW = """%%flow
import time
def slow(seconds: float = 30.0):
    for _ in range(int(seconds * 10)):
        time.sleep(0.1)
"""
FLOOD = """%%flow --log-prints
import time
def flood():
    for n in range(20_000):
        print("line", n)
    time.sleep(1)
"""
# The longest time that the kernel's own thread was kept from its work.
STALLS = """import time
worst, last = 0.0, time.monotonic()
end = last + 2
while last < end:
    time.sleep(0.005)
    worst, last = max(worst, time.monotonic() - last), time.monotonic()
print(worst)
"""


def test_live_then_settled_and_text_is_text(notebook: Callable[..., LabPage], errors: list[str]) -> None:
    page = notebook(
        SETUP,
        HOSTILE_FLOW,
        "hostile.deploy('now', print_next_steps=False)\nrun = millrace.run_deployment('hostile/now', timeout=0)",
        "monitor = millrace.watch(run)",
        "print(monitor.wait(timeout=20), monitor)",
    )
    page.run(0, 1, 2, 3)
    live = page.output(3).locator(".millrace-monitor")
    expect(live.get_by_role("status")).to_contain_text("is Running")
    expect(live.locator(".millrace-chip")).to_have_text("● Running")
    expect(live.get_by_role("log")).to_contain_text(HOSTILE)
    expect(live.get_by_role("listitem")).to_contain_text(HOSTILE)
    before = live.locator(".millrace-head .millrace-dim").inner_text()
    expect(live.locator(".millrace-head .millrace-dim")).not_to_have_text(before)  # it ticks
    expect(live.locator("img, b:not(:text-is('Log'))")).to_have_count(0)

    page.run(4)
    assert page.text(4).startswith("Failed <RunMonitor 'hostile' Failed>")
    settled = page.output(3)
    expect(settled.locator(".millrace-monitor")).to_have_count(0)
    expect(settled.get_by_text("✖ Failed")).to_be_visible()
    expect(settled.get_by_text(f"ValueError: {HOSTILE}").first).to_be_visible()
    expect(settled.locator("img")).to_have_count(0)

    # What is saved is what is seen.
    page.command("docmanager:save")
    page.open(page.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path"))
    expect(page.output(3).get_by_text("✖ Failed")).to_be_visible()
    expect(page.output(3).locator("img")).to_have_count(0)
    assert page.page.evaluate("() => window.hacked") is None
    assert not errors


def test_cancel_interrupt_and_watch_again(notebook: Callable[..., LabPage], errors: list[str]) -> None:
    page = notebook(
        SETUP,
        SLOW,
        "slow.deploy('now', print_next_steps=False)\nrun = millrace.run_deployment('slow/now', timeout=0)",
        "millrace.watch(run, wait=True)\nprint('never')",
        "again = millrace.watch(run)",
        "again.wait(timeout=20)",
    )
    page.run(0, 1, 2)
    page.start(3)
    expect(page.output(3).locator(".millrace-chip")).to_have_text("● Running")
    page.command("notebook:interrupt-kernel")
    page.wait_idle()
    assert "The run goes on. See it again with:  %millrace watch" in page.text(3) and "never" not in page.text(3)
    (run,) = [run for run in locate.connect().read_flow_runs(FlowRunQuery()) if run.state_name == "Running"]

    page.run(4)  # replaces the first monitor, which keeps a card
    expect(page.output(3).locator(".millrace-monitor")).to_have_count(0)
    expect(page.output(3).get_by_text("live again with")).to_be_visible()
    live = page.output(4)
    live.get_by_role("button", name="Cancel run").click()
    expect(live.get_by_role("button", name="Cancelling…")).to_be_disabled()
    page.run(5)
    assert "Cancelled" in page.text(5)
    assert RunHandle(run.id).state.name == "Cancelled"
    expect(live.get_by_text("⊘ Cancelled")).to_be_visible()
    assert not errors


def test_a_wait_is_explained(notebook: Callable[..., LabPage], errors: list[str]) -> None:
    locate.connect().create_work_pool(name="nobody", type="process")
    page = notebook(
        SETUP,
        SLOW,
        "slow.deploy('waits', work_pool_name='nobody', print_next_steps=False, ignore_warnings=True)",
        "monitor = millrace.watch(millrace.run_deployment('slow/waits', timeout=0))",
    )
    page.run(0, 1, 2, 3)
    live = page.output(3)
    expect(live.get_by_text("No worker polls the pool nobody.")).to_be_visible()
    expect(live.get_by_text("millrace worker start --pool nobody")).to_be_visible()
    live.get_by_role("button", name="Cancel run").click()
    expect(live.get_by_text("⊘ Cancelled")).to_be_visible()
    assert not errors


def test_a_flood_leaves_the_kernel_responsive(notebook: Callable[..., LabPage], errors: list[str]) -> None:
    page = notebook(
        SETUP,
        FLOOD,
        "flood.deploy('now', print_next_steps=False)\nrun = millrace.run_deployment('flood/now', timeout=0)",
        "monitor = millrace.watch(run)",
        STALLS,
        "monitor.wait(timeout=40)",
    )
    page.run(0, 1, 2, 3)
    expect(page.output(3).get_by_role("log")).to_contain_text("line 9")
    page.run(4)
    assert float(page.text(4)) < Promise(1.0).ceiling
    page.run(5)
    assert "Completed" in page.text(5)
    assert not errors


ASKS = """%%flow
from datetime import date
from typing import Literal
from pydantic import Field
from millrace import RunInput, pause_flow_run
class Approval(RunInput):
    approved: bool = False
    rows: int = Field(ge=1, description="How many go out.")
    level: Literal["low", "high"] = "low"
    remark: str = "so <b>so</b>"
@flow(log_prints=True)
def publish():
    pause_flow_run(timeout=600, poll_interval=0.5)
    asked = Approval.with_initial_data("May the *report* go out?", approved=True)
    answer = pause_flow_run(wait_for_input=asked, timeout=600, poll_interval=0.5)
    print("answered", answer.approved, answer.rows, answer.level, answer.remark)
"""


def test_a_paused_run_is_resumed_on_the_page_with_what_it_asks_for(
    notebook: Callable[..., LabPage], errors: list[str]
) -> None:
    page = notebook(
        SETUP,
        ASKS,
        "publish.deploy('now', print_next_steps=False)\nrun = millrace.run_deployment('publish/now', timeout=0)",
        "monitor = millrace.watch(run)",
        "monitor.wait(timeout=40)",
    )
    page.run(0, 1, 2, 3)
    live = page.output(3)
    expect(live.locator(".millrace-chip")).to_have_text("‖ Paused")
    expect(live.locator(".millrace-limit")).to_contain_text("It fails in 9 min")
    expect(live.locator(".millrace-field")).to_have_count(0)
    live.get_by_role("button", name="Resume").click()

    rows = live.get_by_label("rows *", exact=False)
    expect(rows).to_be_visible()
    expect(live.locator(".millrace-about")).to_have_text("May the *report* go out?")
    expect(live.get_by_label("approved", exact=False)).to_be_checked()
    live.get_by_role("button", name="Resume").click()
    expect(live.locator(".millrace-field .millrace-problem").filter(has_text="A value is needed.")).to_be_visible()
    expect(rows).to_be_focused()
    rows.fill("0")
    live.get_by_role("button", name="Resume").click()
    expect(live.locator(".millrace-pause")).to_contain_text("0 is below 1")
    rows.fill("12")
    live.get_by_label("Level", exact=True).select_option("high")
    live.get_by_role("button", name="Resume").click()
    page.run(4)
    assert "Completed" in page.text(4)
    expect(live.get_by_text("answered True 12 high so <b>so</b>")).to_be_attached()
    assert not errors


REFUSES = """%%flow
from pydantic import field_validator
from millrace import RunInput, suspend_flow_run
class Code(RunInput):
    code: str
    note: list[int] = [1]
def guarded():
    suspend_flow_run(wait_for_input=Code)
"""


def test_the_page_shows_why_the_server_refuses_an_input_and_how_to_resume_without_it(
    notebook: Callable[..., LabPage], errors: list[str]
) -> None:
    page = notebook(
        SETUP,
        REFUSES,
        "guarded.deploy('now', print_next_steps=False)\nrun = millrace.run_deployment('guarded/now', timeout=0)",
        "monitor = millrace.watch(run)",
        "monitor.close()",
    )
    page.run(0, 1, 2, 3)
    live = page.output(3)
    expect(live.locator(".millrace-chip")).to_have_text("‖ Suspended")
    expect(live.locator(".millrace-limit")).to_have_text("It waits for ever.")
    live.get_by_label("code *", exact=False).fill("x")
    live.get_by_label("note", exact=False).fill('["no number"]')
    live.get_by_role("button", name="Resume").click()
    expect(live.locator(".millrace-refused")).to_contain_text("no number")
    expect(live.get_by_role("button", name="Resume")).to_be_enabled()
    page.run(4)
    expect(live.get_by_text("Waits until somebody resumes it")).to_be_visible()
    expect(live.locator("code").filter(has_text="millrace flow-run resume")).to_contain_text("-p code=…")
    assert not errors
