"""The page of a run that another machine executed: a worker with a data directory of its own, and a server over TCP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from millrace import settings
from millrace.client import locate
from millrace.client.endpoint import Endpoint
from millrace.client.synchronous import Client
from millrace.deployments.notebook import deploy_notebook
from millrace.errors import NotFound
from millrace.schema.actions import Email, SendNotification
from millrace.schema.automations import AutomationCreate
from millrace.schema.pages import LARGEST_PAGE
from millrace.schema.pools import WorkPoolCreate
from millrace.schema.runs import DeploymentFlowRunCreate
from millrace.schema.triggers import EventTrigger
from receivers import Letters, mail_server

WAIT = 120.0
TAKEN = 2_000_000
"""Bytes of a request that the server of these tests takes."""


def soon(look: Callable[[], Any], why: Callable[[], str]) -> Any:
    deadline = time.monotonic() + WAIT
    while not (found := look()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)
    return found


class Machine:
    """A program of Millrace with a data directory of its own."""

    def __init__(self, home: Path, *words: str, **env: str) -> None:
        home.mkdir()
        self.home, self.log = home, home / "said.txt"
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("MILLRACE_", "PREFECT_"))}
        kept |= {"MILLRACE_HOME": str(home), **env}
        with self.log.open("wb") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "millrace", *words], env=kept, stdout=told, stderr=told, cwd=home
            )

    def said(self) -> str:
        return self.log.read_text()[-3000:]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def letters() -> Iterator[Letters]:
    with mail_server() as found:
        yield found


@pytest.fixture
def server(tmp_path: Path, letters: Letters) -> Iterator[Machine]:
    words = ("server", "start", "--port", "0", "--no-token")
    found = Machine(tmp_path / "server", *words, MILLRACE_SMTP_URL=letters.url, MILLRACE_MAX_BODY_BYTES=str(TAKEN))
    try:
        soon(lambda: "serves http" in found.said(), found.said)
        yield found
    finally:
        found.end()


@pytest.fixture
def client(server: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client on a third machine."""
    url = server.said().split("serves ")[1].split(";")[0]
    monkeypatch.setenv("MILLRACE_API_URL", url)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "laptop"))
    settings.current.cache_clear()
    with Client(Endpoint(url)) as found:
        yield found
    locate.connect().close()
    settings.current.cache_clear()


@pytest.fixture
def worker(client: Client, tmp_path: Path) -> Iterator[Machine]:
    client.create_work_pool(WorkPoolCreate(name="yard", type="process"))
    url = os.environ["MILLRACE_API_URL"]
    found = Machine(tmp_path / "worker", "worker", "start", "--pool", "yard", MILLRACE_API_URL=url)
    try:
        yield found
    finally:
        found.end()


def book(path: Path) -> Path:
    """A notebook whose page is as large as asked, of two cells since the output of one is limited, and which fails."""
    code = "from IPython.display import HTML\nHTML('<b>catch: trout</b>' + 'x' * (size // 2))"
    cells = [new_code_cell("size = 0", metadata={"tags": ["parameters"]}), *map(new_code_cell, [code, code, "1 / 0"])]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def failed(client: Client, deployment: UUID, size: int, name: str) -> UUID:
    asked = DeploymentFlowRunCreate(parameters={"size": size}, name=name)
    return client.create_flow_run_from_deployment(deployment, asked).id


@pytest.mark.timeout(300)
def test_the_mail_of_a_run_on_another_machine_has_its_page(
    client: Client, server: Machine, worker: Machine, letters: Letters, tmp_path: Path
) -> None:
    made = deploy_notebook(book(tmp_path / "catch.ipynb"), work_pool_name="yard", print_next_steps=False)
    trigger = EventTrigger(expect={"prefect.flow-run.Failed"})
    mail = SendNotification(subject="{{ flow_run.name }}", body="Look.", email=Email(to=["ops@example.org"]))
    client.create_automation(AutomationCreate(name="tell", trigger=trigger, actions=[mail]))
    sizes = {"whole": 0, "over what the server takes": TAKEN, "over what is mailed": LARGEST_PAGE}
    runs = {name: failed(client, made, size, name) for name, size in sizes.items()}
    soon(lambda: len(letters.received) == len(runs), lambda: server.said() + worker.said())
    mails = {str(letter["Subject"]): letter for letter in letters.received}

    (page,) = mails["whole"].iter_attachments()
    assert (page.get_filename(), page.get_content_type()) == ("executed.html", "text/html")
    text = page.get_payload(decode=True).decode()
    assert "<b>catch: trout</b>" in text and "ZeroDivisionError" in text and 'data-state-type="FAILED"' in text
    assert mails["whole"].get_body().get_content().strip() == "Look."
    file = worker.home / "runs" / str(runs["whole"]) / "executed.html"
    assert text == file.read_text()
    kept = client.read_page(runs["whole"])
    assert (kept.text, kept.size) == (text, file.stat().st_size)

    for name in ("over what the server takes", "over what is mailed"):
        assert not mails[name].is_multipart()
        said = mails[name].get_body().get_content()
        megabytes = (worker.home / "runs" / str(runs[name]) / "executed.html").stat().st_size / 1024 / 1024
        assert f"too large to be attached ({megabytes:.1f} MB)" in said
        assert f":{worker.home}/runs/{runs[name]}/executed.html" in said

    assert not (server.home / "runs" / str(runs["whole"])).exists()
    client.delete_flow_run(runs["whole"])
    with pytest.raises(NotFound, match="No page is kept"):
        client.read_page(runs["whole"])
