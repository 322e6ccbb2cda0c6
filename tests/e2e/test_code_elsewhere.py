"""Deployments of code that lies in a git repository: a worker fetches it for every run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from yard import POOL, Yard, open_plot

from millrace import flow
from millrace.deployments.batch import deploy
from millrace.deployments.deployment import RunnerDeployment
from millrace.schema.states import StateType
from repositories import commit, served

BEFORE = """
from pathlib import Path
from millrace import flow
import helper

@flow(log_prints=True)
def where(n: int = 1):
    print("code", helper.NAME, n, Path("data.txt").read_text())
    Path("output.txt").write_text("an output of this run")
"""


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    for yard in open_plot(ground, tmp_path):
        yard.deployment("@flow\ndef job():\n    pass\n", name="first")  # makes the pool
        yield yard


def test_each_run_finds_the_newest_commit(yard: Yard, tmp_path: Path) -> None:
    repository = tmp_path / "served" / "flows.git"
    files = {"etl/where.py": BEFORE, "etl/helper.py": "NAME = 'first'\n", "data.txt": "some data"}
    commit(repository, files)
    with served(tmp_path / "served") as (url, _):
        found = flow.from_source(f"{url}/flows.git", entrypoint="etl/where.py:where")
        assert found.name == "where"
        made = deploy(
            found.to_deployment("from-git", parameters={"n": 2}),
            RunnerDeployment.from_storage(f"{url}/flows.git", "etl/where.py", "by-storage"),
            work_pool_name=POOL,
        )
        yard.start_worker()
        run = yard.wait(yard.run(made[0]), seconds=120)
        assert run.state_type is StateType.COMPLETED, yard.output(run)
        assert "code first 2 some data" in [one.message for one in yard.logs(run)]
        commit(repository, {"etl/helper.py": "NAME = 'second'\n"})
        run = yard.wait(yard.run(made[1]), seconds=120)
        assert run.state_type is StateType.COMPLETED, yard.output(run)
        assert "code second 1 some data" in [one.message for one in yard.logs(run)]
    assert not (repository / "output.txt").exists()


def test_a_repository_that_is_gone_fails_the_run_with_its_reason(yard: Yard, tmp_path: Path) -> None:
    repository = tmp_path / "served" / "flows.git"
    commit(repository, {"a.py": "from millrace import flow\n\n@flow\ndef a():\n    pass\n"})
    with served(tmp_path / "served") as (url, _):
        (made,) = deploy(RunnerDeployment.from_storage(f"{url}/flows.git", "a.py:a", "d"), work_pool_name=POOL)
    yard.start_worker()
    run = yard.wait(yard.run(made), seconds=120)
    assert run.state_type is StateType.CRASHED
    assert run.state is not None
    assert "git ls-remote of" in str(run.state.message)
    assert "Does this machine reach that host?" in str(run.state.message)


@pytest.mark.parametrize("below", [None, "jobs"])
def test_code_that_a_run_does_not_find_is_named_by_its_repository(
    yard: Yard, tmp_path: Path, below: str | None
) -> None:
    repository, code = tmp_path / "served" / "flows.git", "from millrace import flow\n\n@flow\ndef a():\n    pass\n"
    place = f"{below}/" if below else ""
    commit(repository, {f"{place}a.py": code, f"{place}b.py": code, f"{place}c.py": code})
    with served(tmp_path / "served") as (url, _):
        address = f"{url}/flows.git"
        steps = [{"prefect.deployments.steps.git_clone": {"repository": address}}]
        steps += [{"prefect.deployments.steps.set_working_directory": {"directory": below}}] if below else []
        flow = yard.client.create_flow(name="a").id
        ids = [
            yard.client.create_deployment(
                name=file, flow_id=flow, entrypoint=f"{file}.py:a", pull_steps=steps, work_pool_name=POOL
            ).id
            for file in ("a", "b", "c", "d")
        ]
        commit(repository, {f"{place}a.py": "def other():\n    pass\n", f"{place}b.py": "raise KeyError(5)\n"})
        yard.start_worker()
        runs = [yard.wait(run, seconds=120) for run in [yard.run(id) for id in ids]]
    said = [str(run.state.message) for run in runs if run.state is not None]
    whole = f"{address}/{place}"
    assert [run.state_type for run in runs][2] is StateType.COMPLETED
    assert f"{whole}a.py" in said[0] and f"{whole}b.py:1" in said[1] and f"{whole}d.py" in said[3]
    assert not any(str(yard.home) in one for one in said)
