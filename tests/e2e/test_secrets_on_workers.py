"""Secrets on a worker: given by reference, used in the run, and to be found nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import nbformat
import psutil
import pytest
from yard import POOL, Yard, open_yard

from millrace import Interval, Secret, run_deployment, settings
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import ParameterError
from millrace.schema.actions import RunDeployment
from millrace.schema.automations import AutomationCreate
from millrace.schema.states import StateType
from millrace.schema.triggers import EventTrigger

CANARY = "canary-91be-hunter22"
OTHER = "canary-44cc-of-the-environment"


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    # the worker's environment has it; its logs and the tables of processes must not show it
    yield from open_yard(tmp_path, monkeypatch, PW=OTHER, MILLRACE_LEASE_SECONDS="30")


def nowhere(yard: Yard, *wanted: str) -> None:
    """No file of the data directory and the code, and no command line, holds one of the texts."""
    files = [file for place in (yard.home, yard.code) for file in place.rglob("*") if file.is_file()]
    assert any(file.name.endswith("-wal") for file in files)
    for text in wanted:
        found = [str(file) for file in files if text.encode() in file.read_bytes()]
        assert not found, found
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines for text in wanted if text in line]


JOB = """
import logging, threading
import millrace
from millrace import Secret, Variable, concurrency, runtime
from millrace.artifacts import create_table_artifact, create_progress_artifact, update_progress_artifact

@task(log_prints=True, tags=["few"])
def use(pw: Secret):
    print("task", pw.get())
    logging.getLogger("millrace.mine").warning("logger %s", pw.get())
    create_table_artifact([{"key": pw.get(), "n": 1}], key="rows", description=pw.get())
    bar = create_progress_artifact(10, key="bar")
    update_progress_artifact(bar, 100)
    return len(pw.get())

@flow(log_prints=True)
def job(pw: Secret, fail: bool = True):
    with concurrency("one"):
        other = Secret.load("other")
        print("flow", pw.get(), other.get())
        print("raw", pw.get(), file=sys.stderr)
        thread = threading.Thread(target=lambda: get_run_logger().info("thread %s", pw.get()))
        thread.start()
        thread.join()
        millrace.tags(pw.get())
        note("done", size=use(pw), variable=Variable.get("size"), name=runtime.flow_run.name)
        time.sleep(1)
    if fail:
        raise ValueError(pw.get())
"""


def test_a_flow_is_given_a_secret(yard: Yard) -> None:
    Secret(CANARY).save("db")
    Secret(OTHER).save("other")
    client = yard.client
    client.create_variable(name="size", value={"n": 5})
    client.create_limit(name="one", limit=1)
    client.create_tag_limit(tag="few", concurrency_limit=1)
    deployed = yard.deployment(JOB, parameters={"pw": Secret.load("db")})
    assert client.read_deployment(deployed).parameters == {"pw": "secret:db"}
    yard.start_worker()
    run = yard.wait(yard.run(deployed), seconds=120)
    assert run.state_type is StateType.FAILED, (run.state, yard.output(run))
    assert run.state is not None
    assert run.state.message is not None
    assert "ValueError: ********" in run.state.message
    (entry,) = yard.entries(run, "done")
    assert (entry["size"], entry["variable"], entry["name"]) == (len(CANARY), {"n": 5}, run.name)
    wanted = {"task ********", "logger ********", "flow ******** ********", "thread ********", "raw ********"}
    yard.until(lambda: wanted <= {log.message.strip() for log in yard.logs(run)})
    nowhere(yard, CANARY, OTHER)


@pytest.mark.parametrize("how", ["deploy", "run", "request", "plain"])
def test_a_plain_value_of_a_secret_is_refused_and_not_shown(yard: Yard, how: str) -> None:
    text = "@flow\ndef job(pw: Secret | None = None, word: str = ''): ...\n"
    text = f"from millrace import Secret\n{text}"
    deployed = yard.deployment(text)
    if how in ("deploy", "run"):
        Secret(CANARY).save("db")
    with pytest.raises(ParameterError) as caught:
        if how == "deploy":  # a loaded secret, anywhere
            yard.deployment(text, parameters={"word": f"key {CANARY}"})
        elif how == "run":
            run_deployment(deployed, parameters={"word": f"key {CANARY}"}, timeout=0)
        elif how == "request":  # where a secret is wanted, also one that nobody here knows
            yard.run(deployed, pw="canary-unknown")
        else:
            yard.deployment(text, parameters={"pw": "canary-unknown"})
    assert "canary" not in str(caught.value)
    assert ("secret:NAME" if how in ("request", "plain") else "'word'") in str(caught.value)
    nowhere(yard, CANARY, "canary-unknown")


BOOK = """
import millrace, os
print("cell", password, key.get_secret_value())
print(millrace.get_run_logger().warning("logged %s", password))
print([name for name, value in os.environ.items() if value == key.get_secret_value()])
with millrace.concurrency("one"):
    bar = millrace.create_progress_artifact(50, key="bar")
    millrace.create_table_artifact([{"key": password}], key="rows")
print(millrace.runtime.flow_run.parameters, millrace.Variable.get("size"))
password
"""


def test_a_notebook_is_given_secrets(yard: Yard) -> None:
    Secret(CANARY).save("db")
    yard.client.create_variable(name="size", value=5)
    yard.client.create_limit(name="one", limit=1)
    cells = [
        nbformat.v4.new_code_cell(
            "from pydantic import SecretStr\nimport millrace\npassword: 'Secret'\nkey: SecretStr = SecretStr('')",
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell(BOOK),
        nbformat.v4.new_code_cell("raise ValueError(password + key.get_secret_value())"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), yard.code / "book.ipynb")
    yard.deployment("@flow\ndef job(): ...")
    with pytest.raises(ParameterError, match="by reference"):
        RunnerDeployment.from_storage(yard.code, "book.ipynb", "no", parameters={"password": "typed in"})
    given = {"password": Secret.load("db"), "key": "env:PW"}
    deployed = RunnerDeployment.from_storage(yard.code, "book.ipynb", "b", parameters=given).apply(work_pool_name=POOL)
    with pytest.raises(ParameterError, match="by reference"):
        yard.run(deployed, password="typed in")
    yard.start_worker()
    run = yard.wait(yard.run(deployed), seconds=120)
    assert run.state is not None
    assert run.state_type is StateType.FAILED, (run.state, yard.output(run))
    assert "ValueError" in str(run.state.message)
    references = {"password": "secret:db", "key": "env:PW"}
    assert run.parameters == references
    yard.until(lambda: "logged ********" in {log.message for log in yard.logs(run)})
    said = [log.message for log in yard.logs(run)]
    assert {"cell ******** ********", "[]", f"{references} 5"} <= set(said), said
    page = (settings.current().run_directory(run.id) / "executed.ipynb").read_text()
    assert "<secret from secret:db>" in page
    assert "<secret from env:PW>" in page
    time.sleep(0.5)
    nowhere(yard, CANARY, OTHER)


def test_a_secret_that_is_not_there_is_said(yard: Yard) -> None:
    cells = [nbformat.v4.new_code_cell("password: Secret", metadata={"tags": ["parameters"]})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), yard.code / "book.ipynb")
    yard.deployment("@flow\ndef job(): ...")
    made = RunnerDeployment.from_storage(yard.code, "book.ipynb", "b", parameters={"password": "secret:gone"})
    deployed = made.apply(work_pool_name=POOL)
    yard.start_worker()
    run = yard.wait(yard.run(deployed), seconds=120)
    assert run.state_type is StateType.FAILED
    assert run.state is not None
    assert "No secret is named 'gone'" in str(run.state.message)


HIDDEN = """
from millrace import Secret
from pydantic import BaseModel, SecretStr

class Login(BaseModel):
    user: str
    password: SecretStr

@task
def use(key: SecretStr, at: Secret = "secret:db"):
    return [len(key.get_secret_value()), len(at.get())]

@flow(log_prints=True)
def job(
    pw: SecretStr, login: Login, keys: list[SecretStr] = [], at: Secret = "secret:db", own: SecretStr = "in the code"
):
    print("values", pw.get_secret_value(), login.password.get_secret_value(), login)
    note("done", pw=len(pw.get_secret_value()), password=len(login.password.get_secret_value()), at=len(at.get()),
         keys=[len(key.get_secret_value()) for key in keys], own=own.get_secret_value(), task=use(pw))
"""


def automation(yard: Yard, deployment: UUID, parameters: dict[str, str]) -> None:
    yard.client.create_automation(
        AutomationCreate(
            name="runs it",
            trigger=EventTrigger(expect={"someone.asked"}, posture="Reactive", threshold=1),
            actions=[RunDeployment(source="selected", deployment_id=deployment, parameters=parameters)],
        )
    )


@pytest.mark.parametrize("enforced", [True, False], ids=["enforced", "not enforced"])
def test_what_pydantic_hides_comes_by_reference_too(yard: Yard, enforced: bool) -> None:
    Secret(CANARY).save("db")
    Secret(OTHER).save("other")
    given = {"login": {"user": "u", "password": "secret:other"}, "keys": ["secret:db", "secret:other"]}
    deployed = yard.deployment(HIDDEN, parameters=given, enforce_parameter_schema=enforced)
    stored = yard.client.read_deployment(deployed)
    assert stored.parameters == given
    assert "in the code" not in str(stored.parameter_openapi_schema)
    for plain in (
        {"pw": "canary-typed"},
        {"login": {"user": "u", "password": "canary-typed"}},
        {"keys": ["canary-typed"]},
    ):
        with pytest.raises(ParameterError, match="secret:NAME") as caught:
            yard.run(deployed, **{"pw": "secret:db", **plain})
        assert "canary" not in str(caught.value)
        with pytest.raises(ParameterError, match="secret:NAME"):
            run_deployment(deployed, parameters={"pw": "secret:db", **plain}, timeout=0)
    for by_schedule in (False, True):
        with pytest.raises(ParameterError, match="secret:NAME"):  # kept for later runs
            if by_schedule:
                yard.deployment(
                    HIDDEN,
                    enforce_parameter_schema=enforced,
                    schedules=[Interval(3600, parameters={"pw": "canary-typed"})],
                )
            else:
                automation(yard, deployed, {"pw": "canary-typed"})
    automation(yard, deployed, {"pw": "secret:db"})
    yard.start_worker()
    run = yard.wait(yard.run(deployed, pw="secret:db"), seconds=120)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    assert run.parameters == {"pw": "secret:db", **given}
    (entry,) = yard.entries(run, "done")
    lengths = {"pw": len(CANARY), "password": len(OTHER), "at": len(CANARY), "keys": [len(CANARY), len(OTHER)]}
    assert {key: entry[key] for key in lengths} == lengths
    assert (entry["own"], entry["task"]) == ("in the code", [len(CANARY), len(CANARY)])
    said = "values ******** ******** user='u' password=SecretStr('**********')"
    yard.until(lambda: said in {log.message.strip() for log in yard.logs(run)})
    (yard.code / "ledger.jsonl").unlink()
    nowhere(yard, CANARY, OTHER, "canary-typed")
