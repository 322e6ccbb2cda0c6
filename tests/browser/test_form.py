"""The deployment form in JupyterLab: filled like a person would, against the real embedded server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labpage import LabPage, expect

from millrace.client import locate
from millrace.schema.deployments import Deployment

if TYPE_CHECKING:
    from playwright.sync_api import Locator

FLOW = """%load_ext millrace
import millrace
SIGN = "!"
"""
GREET = """%%flow greet
from typing import Literal
def greet(times: int, region: Literal["eu", "us"] = "eu", note: str | None = None):
    return (note or region) * times + SIGN
"""


def fill(form: Locator, label: str, text: str) -> None:
    field = form.get_by_label(label)
    field.fill(text)
    field.press("Tab")


def deployed(name: str) -> Deployment:
    return locate.connect().read_deployment_by_name(*name.split("/"))


def test_deploys_end_to_end(notebook: Callable[..., LabPage], lab: tuple[LabPage, Path], errors: list[str]) -> None:
    page = notebook(FLOW, GREET, "form = millrace.deploy_form(greet)\nform", "exec(open('call.py').read())")
    locate.connect().create_work_pool(name="gpu", type="process")
    page.run(0, 1, 2)
    assert "Flow 'greet' is ready: greet(times, region, note)." in page.text(1)
    form = page.output(2)
    expect(form.locator(".millrace-form")).to_have_count(1)  # as the value of its cell it is not shown again
    expect(form.get_by_label("Name")).to_have_value("greet")
    expect(form.get_by_label("region")).to_have_value("eu")
    expect(form.get_by_text("worker online")).to_be_visible()

    # It says so when nobody would run it.
    form.get_by_label("Work pool").select_option("gpu")
    expect(form.get_by_text("No worker polls this pool")).to_be_visible()
    expect(form.get_by_text("millrace worker start --pool gpu")).to_be_visible()
    form.get_by_label("Work pool").select_option("default")

    # Deploy explains what is missing instead of being dead, and leads to it.
    deploy = form.get_by_role("button", name="Deploy")
    deploy.click()
    expect(form.get_by_text("1 thing to fix: times")).to_be_visible()
    expect(form.get_by_text("A value is needed.")).to_be_visible()
    expect(form.get_by_label("times")).to_be_focused()
    fill(form, "times", "2q")
    expect(form.get_by_text("'2q' is not an integer")).to_be_visible()
    fill(form, "times", "2")
    expect(form.get_by_text("is not an integer")).to_be_hidden()
    expect(form.get_by_label("region")).to_be_focused()
    fill(form, "note", "hei")

    form.get_by_role("button", name="Cron").click()
    fill(form, "cron", "61 9 * * *")
    expect(form.locator(".millrace-error:visible").first).to_contain_text("minute")
    form.get_by_label("preset").select_option("weekdays at 09:00")
    fill(form, "time zone", "Europe/Oslo")
    expect(form.get_by_text("09:00:00 Europe/Oslo")).to_have_count(5)
    expect(form.get_by_role("columnheader", name="UTC")).to_be_visible()

    deploy.dblclick()
    expect(form.locator(".millrace-form")).to_contain_text("greet/greet · version")
    expect(form.locator(".millrace-form")).to_contain_text("next run")
    made = deployed("greet/greet")
    assert made.parameters == {"times": 2, "note": "hei"}
    assert [(item.schedule.describe(), item.active) for item in made.schedules] == [
        ("At 09:00, Monday through Friday (Europe/Oslo)", True)
    ]

    # The printed cell makes the same deployment.
    form.get_by_role("button", name="Copy as Python").click()
    code = form.locator("pre").inner_text()
    (lab[1] / "call.py").write_text(code)
    page.run(3)
    again = deployed("greet/greet")
    assert again.id == made.id
    for part in ("parameters", "entrypoint", "version", "work_pool_name", "path", "job_variables"):
        assert getattr(again, part) == getattr(made, part)
    assert [item.schedule for item in again.schedules] == [item.schedule for item in made.schedules]

    form.get_by_role("button", name="Run now").click()
    expect(form.get_by_text("✔ Completed")).to_be_visible()
    expect(form.locator(".millrace-monitor")).to_have_count(0)  # settled
    assert not errors


def test_keys_stay_in_the_form_and_secrets_do_not(
    notebook: Callable[..., LabPage], lab: tuple[LabPage, Path], errors: list[str]
) -> None:
    page = notebook(
        FLOW + "from pydantic import SecretStr",
        "%%flow\ndef login(token: SecretStr, level: int = 1, fast: bool = False):\n    return level",
        "%millrace deploy login",
    )
    page.theme("Dark")
    page.run(0, 1, 2)
    form = page.output(2)
    cells = page.page.locator(".jp-Notebook .jp-Cell")
    for place in (form.get_by_label("Work pool"), form.get_by_label("fast"), form.get_by_role("button", name="Cron")):
        place.focus()
        place.press("d")
        place.press("d")
    expect(cells).to_have_count(3)
    fill(form, "Name", "by keys")
    fill(form, "token", "hunter2")
    form.get_by_label("level").fill("3")
    form.get_by_label("level").press("Control+Enter")
    expect(form.locator(".millrace-form")).to_contain_text("The secret 'token' must be given by reference")
    page.command("docmanager:save")
    book = lab[1] / "test_keys_stay_in_the_form_and_secrets_do_not.ipynb"
    assert "hunter2" not in book.read_text()
    fill(form, "token", "secret:login-token")
    form.get_by_label("level").press("Control+Enter")
    expect(form.locator(".millrace-form")).to_contain_text("login/by keys")
    assert deployed("login/by keys").parameters == {"level": 3, "token": "secret:login-token"}
    form.get_by_role("button", name="Copy as Python").click()
    expect(form.locator("pre")).to_contain_text("secret:login-token")
    form.get_by_role("button", name="Edit").click()
    expect(form.get_by_text("Replaces the one made")).to_be_visible()
    page.command("docmanager:save")
    assert "hunter2" not in book.read_text()
    page.theme("Light")
    assert not errors
