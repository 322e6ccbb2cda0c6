"""Deployments from a script, a kernel, an async function and a notebook file; their errors; serving."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from yard import POOL, Yard

from millrace import Cron, Flow, Interval, flow, settings
from millrace.client.synchronous import Client
from millrace.deployments import triggers
from millrace.deployments.batch import deploy
from millrace.deployments.deployment import RunnerDeployment
from millrace.deployments.notebook import deploy_notebook
from millrace.deployments.serve import serve
from millrace.deployments.timing import schedules_from
from millrace.entrypoints import EntrypointType
from millrace.errors import (
    EntrypointError,
    InvalidInput,
    MissingFlow,
    ParameterError,
    PreflightFailed,
    PullFailed,
    ScheduleError,
)
from millrace.schema.artifacts import ArtifactFilter, ArtifactQuery
from millrace.schema.deployments import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, ConcurrencyOptions
from millrace.schema.events import EventFilter, EventNameFilter, EventOrder, EventQuery, EventResourceFilter
from millrace.schema.flows import IdCondition
from millrace.schema.pools import WorkPoolCreate
from millrace.schema.runs import FlowRun
from millrace.schema.states import SetState, StateType, named
from millrace.workers.execution import KINDS, template_of
from promises import CANCELLED_WITHIN, Promise


@pytest.fixture
def yard(staffed: Yard) -> Yard:
    staffed.deployment("@flow\ndef job(n: int = 1):\n    return n\n", name="first")
    return staffed


@pytest.fixture
def unserved(yard: Yard) -> Iterator[str]:
    """The name of a pool without a worker."""
    yield yard.client.create_work_pool(WorkPoolCreate(name="unserved", type="process")).name
    yard.client.delete_work_pool("unserved")


@flow
def here(n: int = 1, day: str = "monday") -> int:
    return n


@flow
def wanting(key: int) -> int:
    return key


# -- without a server


def test_one_kind_of_schedule_only() -> None:
    with pytest.raises(InvalidInput, match=r"Only one of interval, cron.* not interval and cron"):
        here.to_deployment("d", interval=10, cron="* * * * *")
    with pytest.raises(InvalidInput, match="anchor_date belongs to interval"):
        schedules_from(cron="* * * * *", anchor_date=datetime(2026, 1, 1))
    with pytest.raises(ScheduleError):
        here.to_deployment("d", cron="every monday")
    with pytest.raises(ScheduleError, match="is no schedule"):
        here.to_deployment("d", schedules=["* * * * *"])
    with pytest.raises(ScheduleError, match="no option 'often'"):
        here.to_deployment("d", schedules=[{"schedule": {"cron": "@daily"}, "often": True}])


def test_the_ways_to_give_schedules() -> None:
    assert len(here.to_deployment("d", interval=[10, timedelta(minutes=5)]).schedules) == 2
    assert len(here.to_deployment("d", cron=["0 1 * * *", "0 2 * * *"]).schedules) == 2
    both = here.to_deployment("d", schedules=[Interval(60), Cron("0 9 * * *", timezone="Europe/Oslo")])
    assert [type(one.schedule).__name__ for one in both.schedules] == ["IntervalSchedule", "CronSchedule"]
    assert here.to_deployment("d").schedules == []
    short = {"cron": "@daily", "timezone": "Europe/Oslo", "active": False, "slug": "s", "parameters": {"n": 2}}
    long = {"schedule": {"cron": "@daily", "timezone": "Europe/Oslo"}, "active": False, "slug": "s"}
    given = here.to_deployment("d", schedules=[short]).schedules
    given += here.to_deployment("d", schedules=[{**long, "parameters": {"n": 2}}]).schedules
    assert given[0] == given[1] == Cron("@daily", "Europe/Oslo", active=False, slug="s", parameters={"n": 2})
    local = schedules_from(cron="0 9 * * *", timezone="Europe/Oslo")
    assert local[0].schedule.timezone == "Europe/Oslo"


def test_parameters_are_checked_before_anything_is_made() -> None:
    with pytest.raises(ParameterError, match=r"'m'.*Known parameters: n, day"):
        here.to_deployment("d", parameters={"m": 1})
    with pytest.raises(ParameterError, match="'n' cannot be 'many'"):
        here.to_deployment("d", parameters={"n": "many"})
    assert here.to_deployment("d", parameters={"n": "5"}).parameters == {"n": 5}


def test_arguments_that_need_a_pool() -> None:
    for options, what in (
        ({"work_queue_name": "q"}, "A work queue can only be given with a work pool: .*work_queue_name='q'"),
        ({"job_variables": {"env": {}}}, "Job variables can only be given with a work pool: .*job_variables={'env'"),
    ):
        with pytest.raises(InvalidInput, match=rf"{what}.*Add work_pool_name="):
            here.to_deployment("d", **options).apply()
    with pytest.raises(InvalidInput, match=r"An image can only .*'here/d' has image='r/i:t'"):
        here.to_deployment("d").apply(image="r/i:t")
    with pytest.raises(InvalidInput, match="at least one deployment"):
        deploy()
    with pytest.raises(InvalidInput, match="at least one deployment"):
        serve()
    with pytest.raises(InvalidInput, match="belongs to the pool 'p'"):
        serve(here.to_deployment("d", work_pool_name="p"))


def test_what_is_no_deployment_is_refused_with_what_makes_one() -> None:
    for do in (deploy, serve):
        with pytest.raises(InvalidInput, match=rf"{do.__name__}\(\) takes deployments of flows: here\.to_deployment\("):
            do(here)
        with pytest.raises(InvalidInput, match=r"got 'here/d'"):
            do("here/d")
        with pytest.raises(InvalidInput, match=rf"one by one: {do.__name__}\(\*those\)"):
            do([here.to_deployment("d")])
        with pytest.raises(InvalidInput, match="Two of the deployments are 'here/d': one would replace the other"):
            do(here.to_deployment("d"), here.to_deployment("d", cron="@daily"))
    with pytest.raises(InvalidInput, match=r"<function .*> is no flow: only what @flow makes"):
        RunnerDeployment.from_flow(lambda: 1, "d")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (None, "is a text, not None"),
        (5, "is a text, not 5"),
        ("", "is empty"),
        ("a/b", "contains /"),
        ("a\nb", "one line"),
    ],
)
def test_names_that_cannot_be(name: Any, why: str) -> None:
    for make in (here.to_deployment, partial(RunnerDeployment.from_flow, here)):
        with pytest.raises(InvalidInput, match=why):
            make(name)


def test_a_name_is_what_was_written_and_of_a_file_its_stem() -> None:
    assert [here.to_deployment(name).name for name in ("v1.2", "etl.py", "/srv/book.ipynb")] == ["v1.2", "etl", "book"]


def test_schedules_of_one_slug_are_refused_where_they_are_given() -> None:
    with pytest.raises(ScheduleError, match="Two of the schedules have the slug 's'"):
        here.to_deployment("d", schedules=[Cron("@daily", slug="s"), {"interval": 60, "slug": "s"}])
    assert len(here.to_deployment("d", schedules=[Cron("@daily"), Cron("@hourly", slug="s")]).schedules) == 2


def test_triggers_are_checked_where_they_are_given() -> None:
    with pytest.raises(ParameterError, match=r"'trigger 2' gives .* 'm', which the flow 'here' does not take"):
        here.to_deployment("d", triggers=[{"expect": ["x"]}, {"expect": ["x"], "parameters": {"m": "{{ event.id }}"}}])
    for wrong in ({"expect": ["x"]}, "x"):
        with pytest.raises(InvalidInput, match=r"triggers cannot be .*they are a list"):
            here.to_deployment("d", triggers=wrong)  # type: ignore[arg-type]
    kept = here.to_deployment("d", triggers=[{"expect": ["x"], "parameters": {"n": "{{ event.id }}"}}])
    assert len(kept.triggers) == 1


def test_options_that_there_are_not() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        here.to_deployment("d", colour="red")  # type: ignore[call-arg]
    with pytest.raises(InvalidInput, match=r"no trigger.*\{'expect'"):
        triggers.require([5])
    with pytest.raises(InvalidInput, match="say opposite things"):
        RunnerDeployment.from_flow(here, "d", paused=True, is_schedule_active=True)
    assert RunnerDeployment.from_flow(here, "d", is_schedule_active=False).paused is True
    with pytest.raises(InvalidInput, match=r"entrypoint_type cannot be 'cell'.*EntrypointType.NOTEBOOK_PATH"):
        here.to_deployment("d", entrypoint_type="cell")  # type: ignore[arg-type]
    with pytest.raises(EntrypointError, match=r"in which notebook.*from_entrypoint\('book.ipynb:here'"):
        here.to_deployment("d", entrypoint_type=EntrypointType.NOTEBOOK_PATH)
    with pytest.raises(InvalidInput, match="/ % & > <"):
        RunnerDeployment.from_flow(here, "a/b")
    with pytest.raises(InvalidInput, match=r"where the code of the deployment 'x' is.*from_flow"):
        RunnerDeployment(name="x").apply()
    with pytest.raises(InvalidInput, match="tags cannot be 'x'"):
        here.to_deployment("d", tags="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"end its URL in \.git"):
        RunnerDeployment.from_storage("https://example.org/code", "a.py:b", "d")
    with pytest.raises(PullFailed, match="no directory"):
        type(here).from_source("/no/such/directory", "a.py:b")


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({"limit": "many"}, "limit: Input should be a valid integer"),
        ({"limit": 1, "collision_strategy": "DROP"}, "collision_strategy: Input should be 'ENQUEUE' or 'CANCEL_NEW'"),
        ({"limit": 1, "grace_period_seconds": 5}, "grace_period_seconds: .*60"),
        ({"limit": 1, "colour": "red"}, "no field 'colour'; there are"),
        (-1, "greater than or equal to 0"),
        ("3", "Give a number, or ConcurrencyLimitConfig"),
        (True, "cannot be True"),
    ],
)
def test_limits_that_cannot_be(limit: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"concurrency_limit .*{why}"):
        here.to_deployment("d", concurrency_limit=limit)


def test_the_ways_to_give_a_limit() -> None:
    config = ConcurrencyLimitConfig(limit=2, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    for limit in (config, {"limit": 2, "collision_strategy": "CANCEL_NEW"}):
        made = here.to_deployment("d", concurrency_limit=limit)
        assert made.concurrency_limit == 2
        assert made.concurrency_options == ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    assert here.to_deployment("d", concurrency_limit=3).concurrency_options is None


REFERENCE = {
    "to_deployment": "name interval cron rrule paused schedules concurrency_limit parameters triggers description tags "
    "version enforce_parameter_schema work_pool_name work_queue_name job_variables entrypoint_type",
    "deploy": "name work_pool_name image build push work_queue_name job_variables interval cron rrule paused schedules "
    "concurrency_limit triggers parameters description tags version enforce_parameter_schema entrypoint_type "
    "print_next_steps ignore_warnings",
    "serve": "name interval cron rrule paused schedules global_limit triggers parameters description tags version "
    "enforce_parameter_schema pause_on_shutdown print_starting_message limit webserver entrypoint_type",
}
_OF_ALL = (
    "name interval cron rrule paused schedules schedule is_schedule_active parameters triggers description tags "
    "version enforce_parameter_schema work_pool_name work_queue_name job_variables"
)
REFERENCE_MAKERS = {
    "from_flow": f"flow {_OF_ALL} entrypoint_type",
    "from_entrypoint": f"entrypoint {_OF_ALL}",
    "from_storage": f"storage entrypoint {_OF_ALL}",
    "apply": "work_pool_name image",
}


@pytest.mark.parametrize(("owner", "names"), [(Flow, REFERENCE), (RunnerDeployment, REFERENCE_MAKERS)])
def test_the_arguments_and_their_order_are_those_of_the_reference(owner: Any, names: dict[str, str]) -> None:
    for method, expected in names.items():
        parameters = inspect.signature(getattr(owner, method)).parameters.values()
        ordered = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
        assert ordered == expected.split(), method
        assert not [one for one in parameters if one.kind is one.VAR_KEYWORD], method
        documented = inspect.getdoc(getattr(owner, method)) or ""
        assert not [one.name for one in parameters if one.name not in ("self",) and one.name not in documented], method


def test_a_flow_of_a_file_is_found_beside_it() -> None:
    limit = {"limit": 2, "collision_strategy": "CANCEL_NEW"}
    made = here.to_deployment("test", tags=["a"], concurrency_limit=limit)
    assert made.entrypoint == "test_deployments.py:here"
    assert made.path == Path(__file__).parent
    assert made.version and len(made.version) == 32
    assert made.concurrency_limit == 2


# -- with a server


def test_an_unknown_pool_lists_those_there_are(yard: Yard) -> None:
    with pytest.raises(InvalidInput, match=rf"no work pool 'yrad'.*Did you mean '{POOL}'.*'default'"):
        deploy(here.to_deployment("d"), work_pool_name="yrad")


def test_a_process_pool_takes_no_image(yard: Yard) -> None:
    with pytest.raises(InvalidInput, match="does not support custom images"):
        deploy(here.to_deployment("d"), work_pool_name=POOL, image="repo/image:tag")


def test_what_is_no_image_is_refused(yard: Yard) -> None:
    template = template_of(KINDS.load("docker"))
    yard.client.create_work_pool(WorkPoolCreate(name="boxed", type="docker", base_job_template=template))
    try:
        with pytest.raises(InvalidInput, match=r"image is a name such as .* not 5"):
            here.deploy("d", work_pool_name="boxed", image=5)
    finally:
        yard.client.delete_work_pool("boxed")


def test_what_the_server_stores(yard: Yard) -> None:
    (made,) = deploy(
        here.to_deployment(
            "stored",
            cron="0 3 * * *",
            parameters={"n": 2},
            tags=["x"],
            description="Nightly.",
            catch_up="all",
            paused=True,
        ),
        work_pool_name=POOL,
        print_next_steps_message=False,
    )
    stored = yard.client.read_deployment(made)
    assert (stored.name, stored.paused, stored.parameters, stored.tags) == ("stored", True, {"n": 2}, ["x"])
    assert stored.entrypoint == "test_deployments.py:here"
    assert stored.labels["millrace.catch-up"] == "all"
    assert stored.job_variables["working_dir"] == str(Path(__file__).parent)
    assert set((stored.parameter_openapi_schema or {})["properties"]) == {"n", "day"}
    again = deploy(here.to_deployment("stored"), work_pool_name=POOL, print_next_steps_message=False).first
    assert again == made


def test_deploying_again_says_what_changed(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    def said(**options: Any) -> str:
        capsys.readouterr()
        deploy(here.to_deployment("changing", **options), work_pool_name=POOL)
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    assert "changed" not in said(cron="0 3 * * *", tags=["a", "b"])
    assert "nothing changed" in said(cron="0 3 * * *", tags=["a", "b"])
    last = said(tags=["a"], parameters={"n": 2})
    assert "parameters" in last and "tags (without 'b')" in last and "schedules (without At 03:00" in last


def test_deploying_again_says_that_triggers_changed(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for given in ([{"expect": ["a"]}], [{"expect": ["a"]}], [{"expect": ["b"]}], []):
        here.deploy("triggered", work_pool_name=POOL, triggers=given, ignore_warnings=True)
        told.append(" ".join(re.sub(r"[│┃|]", " ", capsys.readouterr().out).split()))
    assert "changed" not in told[0] and "nothing changed" in told[1]
    assert "changed: triggers" in told[2] and "changed: triggers" in told[3]


def test_schedules_that_lack_a_parameter_are_warned_of(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    def asked(schedules: Any, parameters: dict[str, Any] | None = None) -> str:
        one = RunnerDeployment.from_flow(wanting, "d", schedules=schedules, parameters=parameters)
        deploy(one, work_pool_name=POOL)
        said = capsys.readouterr()
        return " ".join((said.out + said.err).split())

    wanted = "wanting/d: its runs (every minute) will fail: the parameter 'key' has no default and no value. Give"
    assert wanted in asked([Interval(60)])
    assert "will fail" not in asked([Interval(60)], {"key": 1})
    assert "will fail" not in asked([Interval(60, parameters={"key": 1})])
    assert "will fail" not in asked([])


def test_one_that_fails_does_not_stop_the_others(yard: Yard, unserved: str, capsys: pytest.CaptureFixture[str]) -> None:
    bad = here.to_deployment("bad", work_queue_name="q")
    bad.flow_name = "not/allowed"
    made = deploy(here.to_deployment("good"), bad, here.to_deployment("fine"), work_pool_name=unserved)
    assert len(made) == 2
    said = capsys.readouterr().out
    assert "failed" in said and said.count("applied") == 2 and "millrace worker start" in said
    with pytest.raises(Exception, match="not/allowed"):
        deploy(bad, work_pool_name=unserved)


def test_many_in_one_call_are_few_requests_and_each_failure_is_told(
    yard: Yard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"many{n}" for n in range(120)]
    options: dict[str, Any] = {"cron": "0 3 * * *", "tags": ["many"]}
    wanted = [here.to_deployment(name, **options) for name in names]
    wanted[7] = here.to_deployment("bad", job_variables={"env": "none"}, **options)
    wanted[9] = here.to_deployment("pulled", triggers=[{"expect": ["x"]}], **options)
    sent: list[str] = []
    send = Client._call

    def counted(self: Client, operation: str, *values: Any, **fields: Any) -> Any:
        sent.append(operation)
        return send(self, operation, *values, **fields)

    monkeypatch.setattr(Client, "_call", counted)
    made = deploy(*wanted, work_pool_name=POOL)
    assert len(sent) < 20 and sent.count("create_deployments") == 3, sent
    stored = {one.id: one.name for one in yard.client.read_deployments(limit=200)}
    assert [stored[id] for id in made] == [one.name for one in wanted if one.name != "bad"]
    said = capsys.readouterr().out
    assert said.count("applied") == 119 and "Job variable 'env'" in re.sub(r"\s+", " ", said)
    assert [one.name for one in yard.client.read_automations()] == ["pulled__automation_1"]
    again = here.to_deployment("pulled", **options)
    assert deploy(again, here.to_deployment(names[0], **options), work_pool_name=POOL)[1] == made[0]
    assert yard.client.read_automations() == [], "its trigger went with what is said now"


SCRIPT = """
import asyncio, sys
from pathlib import Path
from millrace import flow
from helper_of_script import double

@flow
def etl(n: int = 2):
    return double(n) + len(Path("data.txt").read_text())

async def later():
    first = etl.deploy("from-async", work_pool_name="yard", print_next_steps=False)
    second = await etl.deploy("from-async", work_pool_name="yard", print_next_steps=False)
    assert first == second
    return first

if __name__ == "__main__":
    print("ID", etl.deploy("from-script", work_pool_name="yard", print_next_steps=False))
    print("ID", asyncio.run(later()))
"""


def test_a_script_deploys_itself_and_runs_with_its_files(yard: Yard) -> None:
    (yard.code / "etl.py").write_text(SCRIPT)
    (yard.code / "helper_of_script.py").write_text("def double(n): return 2 * n\n")
    (yard.code / "data.txt").write_text("abc")
    done = subprocess.run(
        [sys.executable, "code/etl.py"], cwd=yard.code.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ids = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ID")]
    assert len(ids) == 2
    for one in ids:
        run = yard.wait(yard.run(one, n=5))  # type: ignore[arg-type]
        assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))


def _kernel(cells: list[str], folder: Path) -> list[str]:
    """Run cells in a real kernel; what each printed or showed."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=90, resources={"metadata": {"path": str(folder)}}, kernel_name="python3").execute()
    shown = []
    for cell in book.cells:
        texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
        shown.append("".join(texts))
    return shown


KERNEL = [
    "%load_ext millrace",
    "import json\nRATE = 3\nfrom helper_of_book import plus",
    "def pay(hours):\n    return plus(hours * RATE)",
    "%%flow wages\nimport os\ndef wages(hours: int = 2):\n    return {'pay': pay(hours), 'cwd': os.getcwd()}",
    "made = wages.deploy('from-kernel', work_pool_name='yard', parameters={'hours': 4}, print_next_steps=False)\n"
    "print(made)",
    "same = await wages.deploy('from-kernel', work_pool_name='yard', print_next_steps=False)\nprint(same == made)",
]


def test_a_flow_of_a_kernel_runs_with_what_it_needs_from_other_cells(yard: Yard) -> None:
    (yard.code / "helper_of_book.py").write_text("def plus(n): return n + 1\n")
    shown = _kernel(KERNEL, yard.code)
    assert shown[5].strip() == "True"
    deployment = yard.client.read_deployment(shown[4].strip())  # type: ignore[arg-type]
    assert deployment.path and Path(deployment.path).parent == settings.current().code_directory
    assert deployment.version == Path(deployment.path).name
    (yard.code / "helper_of_book.py").unlink()  # it was carried
    run = yard.wait(yard.run(deployment.id, hours=4))
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    assert run.state is not None and run.state.data


def test_code_that_does_not_load_elsewhere_is_refused(yard: Yard) -> None:
    cells = [
        "%load_ext millrace\nimport sys, types\nsys.modules['only_here'] = types.ModuleType('only_here')",
        "import only_here",
        "%%flow lonely\ndef lonely():\n    return only_here",
        "try:\n    lonely.deploy('d', work_pool_name='yard')\n"
        "except Exception as error:\n    print(type(error).__name__, error)",
    ]
    said = _kernel(cells, yard.code)[3]
    assert PreflightFailed.__name__ in said and "only_here" in said


def _book(path: Path, cells: list[tuple[str, list[str]]]) -> Path:
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, metadata={"tags": tags}) for source, tags in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(book, path)
    return path


REPORT = [
    ("n: int = 2  # rows\ntitle = 'report'", ["parameters"]),
    ("from helper_of_report import VALUE\nfrom pathlib import Path", []),
    ("print('rows', n)\nPath('seen.txt').write_text(f'{n} {title} {VALUE}')", []),
]


def _artifacts(yard: Yard, run: FlowRun) -> dict[str, str]:
    wanted = ArtifactFilter(flow_run_id=IdCondition(any_=[run.id]))
    return {str(one.type): one.data for one in yard.client.read_artifacts(ArtifactQuery(artifacts=wanted))}


def test_a_whole_notebook_is_a_flow(yard: Yard) -> None:
    (yard.code / "helper_of_report.py").write_text("VALUE = 1\n")
    book = _book(yard.code / "report.ipynb", REPORT)
    made = deploy_notebook(book, "weekly", work_pool_name=POOL, parameters={"n": "7"}, print_next_steps=False)
    (yard.code / "helper_of_report.py").write_text("VALUE = 'changed since'\n")
    deployment = yard.client.read_deployment(made)
    assert deployment.entrypoint == "report.ipynb" and deployment.parameters == {"n": 7}
    run = yard.wait(yard.run(made), seconds=60)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    assert (yard.code / "seen.txt").read_text() == "7 report 1"
    files = _artifacts(yard, run)
    executed = json.loads(Path(files["notebook"]).read_text())
    assert [cell["metadata"]["millrace"]["status"] for cell in executed["cells"] if cell["cell_type"] == "code"] == [
        "completed"
    ] * len([cell for cell in executed["cells"] if cell["cell_type"] == "code"])
    assert "rows 7" in Path(files["html"]).read_text()
    assert "rows 7" in [log.message for log in yard.logs(run)]
    cells = EventResourceFilter(id_prefix=[f"millrace.cell.{run.id}."])
    query = EventFilter(event=EventNameFilter(prefix=["millrace.cell."]), resource=cells, order=EventOrder.ASC)
    yard.until(lambda: len(yard.client.read_events(EventQuery(filter=query)).events) >= 6, 10)
    events = yard.client.read_events(EventQuery(filter=query)).events
    assert [one.event for one in events[:2]] == ["millrace.cell.started", "millrace.cell.finished"]
    assert events[1].payload["status"] == "completed"


def test_a_failed_cell_is_a_failed_run_that_names_it(yard: Yard) -> None:
    book = _book(yard.code / "broken.ipynb", [("n = 1", ["parameters"]), ("1 / (n - 1)", [])])
    made = deploy_notebook(book, work_pool_name=POOL, print_next_steps=False)
    run = yard.wait(yard.run(made), seconds=60)
    assert run.state_type is StateType.FAILED
    assert run.state is not None and "ZeroDivisionError" in str(run.state.message) and "cell" in str(run.state.message)
    assert set(_artifacts(yard, run)) == {"notebook", "html"}
    assert any("ZeroDivisionError" in log.message for log in yard.logs(run))


def test_a_flow_inside_a_notebook_file(yard: Yard) -> None:
    book = _book(
        yard.code / "book.ipynb",
        [("from millrace import flow\nRATE = 2", []), ("@flow\ndef pay(hours: int = 1):\n    return hours * RATE", [])],
    )
    os.chdir(yard.code)
    made = RunnerDeployment.from_entrypoint("book.ipynb:pay", "d", parameters={"hours": 3}).apply(POOL)
    with pytest.raises(MissingFlow):
        RunnerDeployment.from_entrypoint(f"{book.name}:nobody", "d")
    with pytest.raises(EntrypointError, match="not a file"):
        RunnerDeployment.from_entrypoint("absent.ipynb", "d")
    run = yard.wait(yard.run(made))
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))


SERVED = """
from millrace import flow
@flow
def etl(n: int = 2):
    return n
if __name__ == "__main__":
    etl.serve("served", interval=3600, tags=["x"], webserver=PORT)
"""


def _deployment(yard: Yard, flow_name: str, name: str) -> Any:
    found = [one for one in yard.client.read_deployments() if one.name == name]
    return found[0] if found else None


def test_a_script_serves_until_it_is_interrupted(yard: Yard) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (yard.code / "served.py").write_text(SERVED.replace("PORT", str(port)))
    process = yard._spawn("serve", [sys.executable, str(yard.code / "served.py")])
    yard.until(lambda: "Serving 'etl/served'" in yard.said("serve"))
    health = httpx.get(f"http://127.0.0.1:{port}/health")
    assert health.status_code == 200 and health.json()["deployments"] == ["etl/served"], health.text
    deployment = _deployment(yard, "etl", "served")
    run = yard.wait(yard.run(deployment.id, n=5))
    assert run.state_type is StateType.COMPLETED, (run.state, yard.said("serve"))
    yard.until(lambda: f"Run {run.name}: Completed." in yard.said("serve"))
    assert f"Run {run.name} of the deployment 'served' begins." in yard.said("serve")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0, yard.said("serve")
    assert _deployment(yard, "etl", "served").paused
    assert yard.said("serve").rstrip().endswith("Stopped serving."), "nothing lives on"


def test_an_interrupted_script_says_which_served_runs_live_on(yard: Yard) -> None:
    (yard.code / "slow.py").write_text(
        "import time\nfrom millrace import flow\n\n@flow\ndef slow(seconds: float = 3):\n    time.sleep(seconds)\n\n"
        "if __name__ == '__main__':\n    slow.serve('here')\n"
    )
    process = yard._spawn("serve", [sys.executable, str(yard.code / "slow.py")])
    yard.until(lambda: "Serving 'slow/here'" in yard.said("serve"))
    run = yard.run(_deployment(yard, "slow", "here").id, seconds=8)
    yard.wait(run, StateType.RUNNING)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0, yard.said("serve")
    assert f"1 run lives on: {run.name}." in yard.said("serve")
    assert yard.wait(run).state_type is StateType.COMPLETED


def test_serving_in_a_kernel_gives_the_prompt_back(yard: Yard) -> None:
    cells = [
        "%load_ext millrace\nimport time",
        "%%flow quick\ndef quick(n: int = 1):\n    return n",
        "handle = quick.serve('kept')\nprint(handle)",
        "from millrace import run_deployment\n"
        "run = run_deployment('quick/kept', timeout=30, poll_interval=1)\nprint(run.state_name)",
        "handle.stop()\nprint(handle)",
    ]
    shown = _kernel(cells, yard.code)
    assert "serving quick/kept" in shown[2]
    assert shown[3].strip() == "Completed"
    assert "stopped" in shown[4]


def _sleeping_book(yard: Yard) -> Any:
    cells = [
        ("seconds = 300", ["parameters"]),
        ("import os, time\nfrom pathlib import Path\nPath('pid').write_text(str(os.getpid()))", []),
        ("for _ in range(seconds):\n    time.sleep(1)", []),
    ]
    book = _book(yard.code / "long.ipynb", cells)
    run = yard.run(deploy_notebook(book, work_pool_name=POOL, print_next_steps=False))
    yard.until(lambda: (yard.code / "pid").exists() and (yard.code / "pid").read_text(), 40)
    return run


def _statuses(yard: Yard, run: FlowRun) -> list[str]:
    book = json.loads((settings.current().run_directory(run.id) / "executed.ipynb").read_text())
    return [cell["metadata"]["millrace"]["status"] for cell in book["cells"] if cell["cell_type"] == "code"]


def test_cancelling_a_notebook_ends_its_kernel(yard: Yard) -> None:
    run = _sleeping_book(yard)
    promise = Promise(CANCELLED_WITHIN)
    yard.client.set_flow_run_state(run.id, SetState(state=named("Cancelling")))
    ended = yard.wait(run, seconds=10 * CANCELLED_WITHIN)
    assert ended.state_type is StateType.CANCELLED, ended.state
    assert not psutil.pid_exists(int((yard.code / "pid").read_text())) and not yard.labelled(run)
    promise.kept()
    assert _statuses(yard, run)[-1] == "cancelled"


@pytest.mark.parametrize(
    ("who", "state"), [("kernel", StateType.CRASHED), ("child", StateType.CRASHED), ("child -9", StateType.CRASHED)]
)
def test_what_dies_is_crashed_and_leaves_nothing(yard: Yard, who: str, state: StateType) -> None:
    run = _sleeping_book(yard)
    kernel = int((yard.code / "pid").read_text())
    child = int(yard.client.read_flow_run(run.id).infrastructure_pid or 0)
    os.kill(kernel if who == "kernel" else child, signal.SIGTERM if who == "child" else signal.SIGKILL)
    ended = yard.wait(run, seconds=30)
    assert ended.state_type is state and ended.state is not None and ended.state.message
    print(ended.state.message)
    yard.until(lambda: not yard.labelled(run) and not psutil.pid_exists(kernel), 15)
    assert "completed" not in _statuses(yard, run)[-1]
