"""`millrace.yaml` and the commands about it, on a real server with a real worker."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from yard import POOL, Yard, open_plot

from millrace.cli import main
from millrace.deployments import specfile, specified
from millrace.deployments import triggers as automations
from millrace.deployments.deployment import RunnerDeployment
from millrace.deployments.found import in_directory
from millrace.errors import ParameterError, PullFailed, SpecError
from millrace.schema.deployments import DeploymentScheduleUpdate
from millrace.schema.flows import IdCondition
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import DeploymentFlowRunCreate, FlowRunFilter
from millrace.schema.states import StateType
from repositories import commit, served

FLOW = """
from millrace import flow

@flow(log_prints=True)
def etl(n: int = 1, seconds: float = 0):
    import os, time
    print("told", os.environ.get("TOLD"), "n", n)
    time.sleep(seconds)
    return n
"""

FILE = f"""
build:
  - prefect.deployments.steps.run_shell_script:
      id: commit
      script: echo abc123
deployments:
  - name: nightly
    entrypoint: flows.py:etl
    version: "{{{{ commit.stdout }}}}"
    parameters: {{n: 5}}
    schedules:
      - cron: "0 3 * * *"
        slug: night
      - interval: 86400
    work_pool: &pool
      name: {POOL}
      job_variables: {{env: {{TOLD: "{{{{ commit.stdout }}}} {{{{ $WHO }}}}"}}}}
  - name: small
    entrypoint: flows.py:etl
    build: []
    concurrency_limit: {{limit: 1, collision_strategy: CANCEL_NEW}}
    work_pool: {{name: {POOL}}}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def yard(ground: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    for yard in open_plot(ground, tmp_path):
        yard.deployment("@flow\ndef job():\n    pass\n", name="first")  # makes the pool
        (yard.code / "flows.py").write_text(FLOW)
        monkeypatch.chdir(yard.code)
        monkeypatch.setenv("WHO", "you")
        yield yard


@pytest.fixture
def cli(yard: Yard, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code: object = 0
        with contextlib.suppress(SystemExit):
            try:
                main(list(words))
            except SystemExit as ended:
                code = ended.code
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return (code if isinstance(code, int) else 0), out, err

    return run


def test_a_file_is_deployed_and_its_deployments_run(yard: Yard, cli: Run) -> None:
    (yard.code / "millrace.yaml").write_text(FILE)
    code, _, err = cli("deploy")
    assert code == 2 and "holds 2 deployments: 'nightly', 'small'. Say which with --name, or --all" in err
    code, _, err = cli("deploy", "--name", "nihgtly")
    assert code == 3 and "There are: 'nightly', 'small'" in err
    code, _, err = cli("deploy", "--all", "--cron", "@daily")
    assert code == 2 and "would be for one deployment, and 2 were chosen" in err
    code, out, err = cli("deploy", "--all", "--output", "json")
    assert code == 0, err
    nightly, small = json.loads(out)
    assert (nightly["version"], nightly["parameters"], len(nightly["schedules"])) == ("abc123", {"n": 5}, 2)
    limit = small["global_concurrency_limit"]
    assert (limit["limit"], limit["name"]) == (1, f"deployment:{small['id']}")
    yard.start_worker()
    run = yard.wait(yard.run(nightly["id"], n=6), seconds=90)
    assert run.state_type is StateType.COMPLETED, yard.output(run)
    assert "told abc123 you n 6" in [one.message for one in yard.logs(run)]
    # One more than the limit is cancelled, not kept waiting.
    first = yard.run(small["id"], seconds=60)
    yard.wait(first, StateType.RUNNING, seconds=90)
    second = yard.wait(yard.run(small["id"]), seconds=90)
    assert second.state_type is StateType.CANCELLED
    active = yard.client.read_deployment(small["id"]).global_concurrency_limit
    assert active is not None and active.active_slots == 1


def test_deploying_again_keeps_what_people_changed(yard: Yard, cli: Run) -> None:
    (yard.code / "millrace.yaml").write_text(FILE)

    def deploy(*options: str) -> dict[str, object]:
        code, out, err = cli("deploy", "-n", "etl/night*", "--output", "json", *options)
        assert code == 0, err
        return json.loads(out)[0]  # type: ignore[no-any-return]

    first = deploy()
    stored = yard.client.read_deployment(first["id"])  # type: ignore[arg-type]
    night, daily = stored.schedules
    yard.client.update_deployment_schedule(stored.id, night.id, DeploymentScheduleUpdate(active=False))
    yard.client.pause_deployment(stored.id)
    again = deploy()
    assert again["id"] == first["id"]
    kept = yard.client.read_deployment(stored.id)
    assert kept.paused and [one.id for one in kept.schedules] == [night.id, daily.id]
    assert [one.active for one in kept.schedules] == [False, True]
    words = FILE.replace("      - interval: 86400\n", "      - interval: 86400\n        active: true\n")
    yard.client.update_deployment_schedule(stored.id, daily.id, DeploymentScheduleUpdate(active=False))
    for text, active in ((FILE, False), (words, True), (FILE, True)):  # written into the file, it is a wish
        (yard.code / "millrace.yaml").write_text(text)
        deploy()
        assert [one.active for one in yard.client.read_deployment(stored.id).schedules] == [False, active]
    yard.client.resume_deployment(stored.id)
    wanted = FlowRunQuery(flow_runs=FlowRunFilter(deployment_id=IdCondition(any_=[stored.id])))
    yard.until(lambda: yard.client.read_flow_runs(wanted))
    runs = sorted((run.expected_start_time, run.id) for run in yard.client.read_flow_runs(wanted))
    deploy()
    assert sorted((run.expected_start_time, run.id) for run in yard.client.read_flow_runs(wanted)) == runs
    # A schedule that left the file goes, and comes back new; what is given on the command line comes beside the others.
    (yard.code / "millrace.yaml").write_text(FILE.replace("      - interval: 86400\n", ""))
    assert len(deploy()["schedules"]) == 1  # type: ignore[arg-type]
    more = deploy("--interval", "60", "--param", "n=9", "--job-variable", "env.MORE=1", "--tag", "x")
    assert len(more["schedules"]) == 2 and more["parameters"] == {"n": 9} and more["tags"] == ["x"]  # type: ignore[arg-type]
    assert set(more["job_variables"]["env"]) == {"TOLD", "MORE"}  # type: ignore[index]


def test_nothing_is_made_when_something_is_wrong(yard: Yard) -> None:
    before = len(yard.client.read_deployments())
    file = yard.code / "millrace.yaml"
    for bad, error, said in (
        (FILE.replace("{n: 5}", "{m: 5}"), SpecError, r"millrace.yaml:10: .*'m'"),
        (
            FILE.replace("small\n    entrypoint: flows", "small\n    entrypoint: gone"),
            SpecError,
            r"millrace.yaml:19: .*gone",
        ),
        (
            FILE.replace("echo abc123", "'false'"),
            PullFailed,
            r"millrace.yaml:3: build: .*'false'.* exited with 1, and wrote",
        ),
        (
            f"{FILE}    triggers:\n      - {{expect: [x]}}\n      - {{expect: [x], within: -4}}\n",
            SpecError,
            r"millrace.yaml:25: triggers\.1: .*within",
        ),
        (FILE.replace("echo abc123", "exit 3"), PullFailed, r"no program 'exit' here.*no shell"),
        (
            FILE.replace(f"{{name: {POOL}}}", f"{{name: {POOL}x}}"),
            SpecError,
            rf"millrace.yaml:22: work_pool.name: .*Did you mean '{POOL}'",
        ),
        (re.sub(r"{env: .*}", "{env: 5}", FILE), SpecError, r"millrace.yaml:17: work_pool.job_variables: .*'env'"),
    ):
        file.write_text(bad)
        with pytest.raises(error, match=said):
            specified.deploy_specified(specfile.read(file))
    assert len(yard.client.read_deployments()) == before


def test_what_will_not_do_later_is_said_when_it_is_deployed(yard: Yard, cli: Run) -> None:
    (yard.code / "far.py").write_text("import acme_installed_elsewhere\n" + FLOW)
    code, out, err = cli("deploy", "far.py:etl", "--pool", POOL, "--job-variable", "workng_dir=x")
    said = " ".join((out + err).split())
    assert code == 0, said
    assert "far.py:etl cannot be imported here: ModuleNotFoundError: No module named 'acme_installed_elsewhere'" in said
    assert "takes no job variable 'workng_dir' (did you mean 'working_dir'?)" in said


def test_code_that_is_pulled(yard: Yard, cli: Run, tmp_path: Path) -> None:
    commit(tmp_path / "served" / "flows.git", {"deep/flows.py": FLOW})
    with served(tmp_path / "served") as (url, _):
        step = f"[prefect.deployments.steps.git_clone: {{repository: '{url}/flows.git'}}]"
        (yard.code / "prefect.yaml").write_text(
            f"pull: {step}\ndeployments:\n  - name: git\n    entrypoint: deep/flows.py:etl\n"
            f"    work_pool: {{name: {POOL}}}\n"
        )
        code, out, err = cli("deploy", "--output", "json")
        assert code == 0, err
        (made,) = json.loads(out)
        assert made["pull_steps"][0]["prefect.deployments.steps.git_clone"]["repository"] == f"{url}/flows.git"
        yard.start_worker()
        run = yard.wait(yard.run(made["id"], n=3), seconds=120)
        assert run.state_type is StateType.COMPLETED, yard.output(run)
        there = RunnerDeployment.from_storage(f"{url}/flows.git", "deep/flows.py:etl", "git", work_pool_name=POOL)
        assert RunnerDeployment.from_yaml(there.to_yaml()) == there


def test_init_writes_a_file_that_can_be_deployed(yard: Yard, cli: Run) -> None:
    code, out, err = cli("init", "flows.py", "--pool", POOL)
    assert code == 0 and "Wrote millrace.yaml" in out, err
    code, _, err = cli("init", "flows.py")
    assert code == 1 and "there already" in err
    code, out, err = cli("deploy", "--output", "json")
    assert code == 0, err
    (made,) = json.loads(out)
    code, out, err = cli("init", "--from", "etl/etl", "--file", "again.yaml")
    assert code == 0 and "then: millrace deploy --all --file again.yaml\n" in out, err
    code, out, err = cli("deploy", "--file", "again.yaml", "--output", "json")
    assert code == 0, err
    (again,) = json.loads(out)
    changed = {key for key in made if made[key] != again[key]}
    assert changed <= {"updated", "version", "version_info"}, changed


def test_init_writes_the_triggers_of_a_deployment(yard: Yard, cli: Run) -> None:
    both = [{"expect": ["b"], "within": 60}, {"type": "event", "expect": ["c"]}]
    triggers = [
        {"expect": ["a"], "match": {"x": "{{"}, "parameters": {"n": 4}},
        {"name": "both", "type": "compound", "require": "all", "triggers": both, "enabled": False},
    ]
    made = RunnerDeployment.from_storage(yard.code, "flows.py:etl", "etl", triggers=triggers, work_pool_name=POOL)
    id = made.apply()

    def stored() -> list[dict[str, Any]]:
        return automations.declared(yard.client, UUID(str(id)), "etl")

    before = stored()
    code, _, err = cli("init", "--from", "etl/etl")
    assert code == 0 and len(before) == 2, err
    assert {"expect": ["a"], "match": {"x": "{{"}, "parameters": {"n": 4}} in before
    code, _, err = cli("deploy", "--all", "--output", "json")
    assert code == 0 and stored() == before, err


def test_init_writes_values_of_one_line(yard: Yard, cli: Run) -> None:
    (yard.code / "lists.py").write_text(
        "from millrace import flow\n\n@flow\ndef many(x: int = 1, *, y: list = ['a', 'b'], z: dict = {'k': [1]}): ...\n"
    )
    code, _, err = cli("init", "lists.py", "--pool", POOL)
    text = (yard.code / "millrace.yaml").read_text()
    assert code == 0 and "    #   y: [a, b]  # list\n    #   z: {k: [1]}  # dict\n" in text, (err, text)


def test_the_server_checks_parameters_where_it_is_told_to(yard: Yard) -> None:
    strict = RunnerDeployment.from_storage(yard.code, "flows.py:etl", "strict").apply(POOL)
    loose = RunnerDeployment.from_storage(yard.code, "flows.py:etl", "loose", enforce_parameter_schema=False).apply(
        POOL
    )
    with pytest.raises(ParameterError, match="'n'"):
        yard.client.create_flow_run_from_deployment(strict, DeploymentFlowRunCreate(parameters={"n": "many"}))
    assert yard.run(loose, n="many").parameters == {"n": "many"}
    assert in_directory(yard.code, "flows.py").code.entrypoint == "flows.py:etl"
