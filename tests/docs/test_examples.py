"""What the reference's examples call, in scripts of our own: each is a file that a person would type, run by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from repositories import commit, served

from millrace import Secret, settings
from millrace.client.locate import connect, stop_embedded
from millrace.client.synchronous import Client
from millrace.deployments import load_deployments_from_yaml
from millrace.deployments.entry import Entry
from millrace.errors import MillraceError


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A data directory with an embedded server, which the scripts start."""
    found = Path(tempfile.mkdtemp(prefix="mr-"))  # short: the path of a socket has at most a hundred bytes
    before = {name: os.environ.get(name) for name in ("MILLRACE_HOME", "MILLRACE_API_URL", "PREFECT_API_URL")}
    for name in before:
        os.environ.pop(name, None)
    os.environ["MILLRACE_HOME"] = str(found)
    settings.current.cache_clear()
    yield found
    stop_embedded()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    settings.current.cache_clear()
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture
def client(home: Path) -> Client:
    return connect()


def run(directory: Path, text: str, name: str = "script.py") -> subprocess.CompletedProcess[str]:
    """Runs a script to its end."""
    (directory / name).write_text(text)
    done = subprocess.run(
        [sys.executable, name], cwd=directory, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_flows_defined_called_and_awaited(home: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
import asyncio
from millrace import flow, tags

@flow
def total(a, b):
    return a + b

@flow
async def product(a, b):
    return a * b

@flow(version="v1", description="Does nothing.")
def nothing():
    pass

@flow(name="A name with blanks")
def named():
    return named.name

@flow(log_prints=True)
def greet(name):
    print(f"good day, {name}")
    return name.upper()

print(total(1, 2), asyncio.run(product(2, b=4)), nothing(), named())
print(greet("mill"))
with tags("db", "blue"):
    state = greet("race", return_state=True)
print(state.name, state.result())
print((nothing.version, nothing.description))
""",
    )
    assert done.stdout.splitlines() == [
        "3 8 None A name with blanks",
        "good day, mill",
        "MILL",
        "good day, race",
        "Completed RACE",
        "('v1', 'Does nothing.')",
    ]
    assert done.stderr.count("| Flow run '") == 12, "each run begins and ends on the screen"
    (run_of,) = connect().read_flow_runs(flow_runs={"tags": {"all_": ["db", "blue"]}})
    assert run_of.parameters == {"name": "race"}


def test_other_options_for_the_same_flow(home: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
from millrace import ThreadPoolTaskRunner, flow, task

@task
def double(n):
    return 2 * n

@flow(name="First name")
def work(x, y):
    return sum(double.map([x, y]).result())

renamed = work.with_options(name="Second name")
state = work.with_options(task_runner=ThreadPoolTaskRunner)(1, 3, return_state=True)
assert state.result() == 8
print(work.name, renamed.name, work.with_options(task_runner=ThreadPoolTaskRunner(max_workers=2))(2, 3))
""",
    )
    assert done.stdout == "First name Second name 10\n"


def test_loading_without_and_with_running(home: Path, tmp_path: Path) -> None:
    (tmp_path / "needs.py").write_text(
        "import nobody_has_this\nfrom millrace import flow\n"
        "@flow(name='Needs', retries=2)\nasync def etl(n: int = 1): ...\n"
    )
    done = run(
        tmp_path,
        """
from millrace.exceptions import MissingFlowError, ScriptError
from millrace.flows import (
    is_entrypoint_async, load_flow_arguments_from_entrypoint, load_flow_from_entrypoint, safe_load_flow_from_entrypoint,
)
from millrace import flow

@flow
def own():
    return "own"

if __name__ == "__main__":
    print(load_flow_from_entrypoint("script.py:own")())
    print(is_entrypoint_async("needs.py:etl"), load_flow_arguments_from_entrypoint("needs.py:etl"))
    print(load_flow_from_entrypoint("needs.py:etl").name, safe_load_flow_from_entrypoint("needs.py:etl").retries)
    try:
        load_flow_from_entrypoint("needs.py:etl", use_placeholder_flow=False)
    except ScriptError as error:
        print(error.line, type(error.__cause__).__name__)
    try:
        load_flow_from_entrypoint("script.py:absent")
    except MissingFlowError as error:
        print("missing")
""",
    )
    assert done.stdout.splitlines() == [
        "own",
        "True {'name': 'Needs', 'retries': 2}",
        "Needs 2",
        "1 ModuleNotFoundError",
        "missing",
    ]


def test_what_a_run_asks_of_itself(home: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
import json
from millrace import flow, task
from millrace.runtime import deployment, flow_run, task_run

@task
def part():
    return [task_run.name, task_run.run_count, flow_run.flow_name]

@flow(flow_run_name="of {day}")
def etl(day: str):
    return [flow_run.name, flow_run.parameters, deployment.id, part()]

print(json.dumps(etl("monday")), flow_run.id)
""",
    )
    text, _, rest = done.stdout.rpartition(" ")
    assert json.loads(text) == ["of monday", {"day": "monday"}, None, ["part-0", 1, "etl"]] and rest == "None\n"


def test_deployed_from_its_own_directory(home: Path, client: Client, tmp_path: Path) -> None:
    run(
        tmp_path,
        """
from pathlib import Path
from millrace import flow

@flow(log_prints=True)
def local(name: str = "world"):
    print(f"hello {name}")

if __name__ == "__main__":
    local.from_source(source=str(Path(__file__).parent), entrypoint="from_here.py:local").deploy(
        name="from-here", parameters=dict(name="mill")
    )
""",
        "from_here.py",
    )
    found = client.read_deployment_by_name("local", "from-here")
    assert found.parameters == {"name": "mill"} and found.entrypoint == "from_here.py:local"


SERVES = {
    "one": (
        """
from millrace import flow

@flow
def lone(name="x"):
    return f"hello {name}"

if __name__ == "__main__":
    lone.serve("hourly", interval=3600)
""",
        ["lone/hourly"],
    ),
    "two": (
        """
import datetime
from millrace import flow, serve

@flow
def first(name="x"):
    return f"hello {name}"

@flow
def second(name="x"):
    return f"goodbye {name}"

if __name__ == "__main__":
    hello = first.to_deployment("hello", tags=["dev"], interval=datetime.timedelta(days=1))
    bye = second.to_deployment("goodbye", tags=["dev"], cron="0 4 * * sun")
    serve(hello, bye)
""",
        ["first/hello", "second/goodbye"],
    ),
}


@pytest.mark.parametrize("which", SERVES)
def test_served_until_interrupted(home: Path, client: Client, tmp_path: Path, which: str) -> None:
    text, names = SERVES[which]
    (tmp_path / "serving.py").write_text(text)
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen([sys.executable, "serving.py"], cwd=tmp_path, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 60
        while "Stop with Ctrl-C" not in (tmp_path / "said.txt").read_text():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "said.txt").read_text()
            time.sleep(0.1)
        for name in names:
            flow_name, _, deployment_name = name.partition("/")
            made = client.read_deployment_by_name(flow_name, deployment_name)
            asked = client.create_flow_run_from_deployment(made.id)
            while not ((found := client.read_flow_run(asked.id)).state and found.state.is_final()):
                assert time.monotonic() < deadline + 60
                time.sleep(0.1)
            assert found.state_name == "Completed"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    with pytest.raises(MillraceError):
        client.read_deployment_by_name("nobody", "here")


NAMES = """
DaskTaskRunner DeploymentSpec DockerImage Flow GitRepository Interval IntervalSchedule LocalStorage RunnerDeployment Secret
ThreadPoolTaskRunner arun_deployment deploy flow get_run_logger is_entrypoint_async load_flow_arguments_from_entrypoint
load_flow_from_entrypoint load_flow_from_flow_run load_flow_from_script load_flow_from_text load_flows_from_script
load_placeholder_flow run_deployment safe_load_flow_from_entrypoint select_flow serve tags task unmapped
"""


def test_what_examples_import_is_there_under_one_name(home: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        f"from millrace import {', '.join(NAMES.split())}\n"
        f"import millrace\nassert set({NAMES.split()!r}) <= set(millrace.__all__)\nprint(len(dir(millrace)))",
    )
    assert int(done.stdout) > len(NAMES.split())


def test_a_flow_from_a_repository_public_and_private(home: Path, client: Client, tmp_path: Path) -> None:
    token = "a-token-that-is-a-canary"
    Secret(token).save("repository-token")
    text = "from millrace import flow\n\n@flow(log_prints=True)\ndef stored(n: int = 1):\n    return n + 1\n"
    for name in ("open.git", "closed.git"):
        commit(tmp_path / "repositories" / name, {"flows.py": text})
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    with served(tmp_path / "repositories") as (open_url, _), served(tmp_path / "repositories", "x", token) as (closed, _):
        done = run(
            scripts,
            f"""
from millrace import GitRepository, Secret, flow

theirs = flow.from_source(source="{open_url}/open.git", entrypoint="flows.py:stored")
print(theirs(2))
closed = flow.from_source(
    source=GitRepository(
        url="{closed}/closed.git",
        credentials={{"username": "x", "access_token": Secret.load("repository-token")}},
    ),
    entrypoint="flows.py:stored",
)
print(closed(n=4), type(closed).__name__)

if __name__ == "__main__":
    closed.deploy(name="from-closed", work_pool_name="default")
""",
        )
    assert done.stdout.splitlines()[:2] == ["3", "5 Flow"]
    found = client.read_deployment_by_name("stored", "from-closed")
    assert found.entrypoint == "flows.py:stored" and "repository-token" in json.dumps(found.pull_steps)
    assert token not in found.model_dump_json() + done.stdout + done.stderr


def test_a_specification_in_python(home: Path, client: Client, tmp_path: Path) -> None:
    run(
        tmp_path,
        """
from datetime import timedelta
from millrace import DeploymentSpec, IntervalSchedule, flow

@flow
def specified(name="world"):
    print(f"good day, {name}")

DeploymentSpec(flow=specified, name="first", parameters={"name": "Earth"}, tags=["a", "b"]).create_deployment()
DeploymentSpec(flow=specified, name="hourly", schedule=IntervalSchedule(interval=timedelta(hours=1))).create_deployment()
""",
        "specified.py",
    )
    first, hourly = (client.read_deployment_by_name("specified", name) for name in ("first", "hourly"))
    assert (first.parameters, sorted(first.tags), first.schedules) == ({"name": "Earth"}, ["a", "b"], [])
    (schedule,) = hourly.schedules
    assert schedule.schedule.interval.total_seconds() == 3600  # type: ignore[union-attr]


def test_the_specification_in_the_docs_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs/deployments.md").read_text()
    (tmp_path / "millrace.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "flows.py").write_text("from millrace import flow\n\n@flow\ndef etl(n: int = 1):\n    return n\n")
    monkeypatch.setenv("REGION", "north")
    (made,) = load_deployments_from_yaml(tmp_path / "millrace.yaml")
    assert made.full_name == "etl/nightly" and made.job_variables == {"env": {"REGION": "north"}}
    known = {name for name in Entry.model_fields if name not in ("version_type", "sla")}
    assert not [name for name in known if f"`{name}`" not in text]
