"""Artifacts in JupyterLab: in their cell, live in the monitor, in the card that stays."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from labpage import LabPage, expect

PNG = re.compile("^data:image/png;base64,iVBOR")
SETUP = "%load_ext millrace\nimport millrace"
HOSTILE = "<img src=x onerror=window.hacked=1>[a](javascript:window.hacked=1)<b>bold</b>"
FLOW = f"""%%flow
import time
from millrace.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact
from millrace.artifacts import update_progress_artifact
HOSTILE = "{HOSTILE}"
@flow
def leaving(seconds: float = 6.0):
    create_table_artifact([{{"city": "Oslo", "n": 3, HOSTILE: HOSTILE}}], key="cities", description=HOSTILE)
    create_markdown_artifact("## A report\\n\\n**3** rows from [here](https://example.org) " + HOSTILE, key="report")
    bar = create_progress_artifact(0, key="load", description="rows read")
    for n in range(21):
        update_progress_artifact(bar, 5 * n)
        time.sleep(seconds / 21)
"""
FIGURE = """from millrace.artifacts import *
from matplotlib.figure import Figure
figure = Figure(figsize=(4, 2))
figure.subplots().plot([1, 3, 2])
create_image_artifact(figure, key="plot", description="a **figure**");
create_table_artifact({"name": ["Ada", "Bo"], "rows": [3, None]}, key="rows");
bar = create_progress_artifact(40, key="bar");"""


def picture(page: LabPage, name: str) -> None:
    """A picture for people, where one is wished."""
    if folder := os.environ.get("MILLRACE_TEST_PICTURES"):
        for theme in ("Light", "Dark"):
            page.theme(theme)
            page.page.screenshot(path=Path(folder) / f"{name}-{theme.lower()}.png")


def test_artifacts_in_their_cell(notebook: Callable[..., LabPage], errors: list[str]) -> None:
    page = notebook(SETUP, FIGURE, "update_progress_artifact(bar, 100);")
    page.run(0, 1)
    shown = page.output(1)
    expect(shown.locator("img")).to_have_attribute("src", PNG)
    expect(shown.get_by_role("cell", name="Ada")).to_be_visible()
    expect(shown.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
    page.run(2)
    expect(shown.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    picture(page, "cell")
    assert errors == []


def test_artifacts_live_in_the_monitor(notebook: Callable[..., LabPage], errors: list[str]) -> None:
    page = notebook(
        SETUP,
        FLOW,
        "leaving.deploy('now', print_next_steps=False)\nrun = millrace.run_deployment('leaving/now', timeout=0)",
        "monitor = millrace.watch(run)",
        "print(monitor.wait(timeout=60))",
    )
    page.run(0, 1, 2, 3)
    live = page.output(3).locator(".millrace-monitor")
    part = live.locator(".millrace-artifacts")
    expect(part.locator(".millrace-artifact")).to_have_count(3)
    expect(part.locator("table")).to_contain_text("Oslo")
    expect(part.locator("h2")).to_have_text("A report")
    expect(part.locator("a")).to_have_attribute("href", "https://example.org")
    expect(part).to_contain_text("<b>bold</b>")
    expect(part.locator("img")).to_have_count(0)
    bar = part.get_by_role("progressbar")
    before = bar.get_attribute("aria-valuenow")
    expect(bar).not_to_have_attribute("aria-valuenow", str(before))  # it moves
    picture(page, "monitor")
    page.run(4)
    card = page.output(3)
    expect(card).to_contain_text("Artifacts (3)")
    expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(card.locator("img")).to_have_count(0)
    assert page.page.evaluate("window.hacked") is None
    picture(page, "card")
    assert errors == []
