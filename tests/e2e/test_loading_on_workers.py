"""What a worker makes of an entrypoint: the same as the functions that load one."""

from __future__ import annotations

import pytest
from yard import Yard

from millrace.errors import EntrypointError, ParameterError
from millrace.flows import load_flow_from_flow_run
from millrace.schema.deployments import DeploymentUpdate
from millrace.schema.states import StateType

STAFF = {"MILLRACE_LEASE_SECONDS": "30"}


@pytest.fixture
def yard(staffed: Yard) -> Yard:
    return staffed


TEXT = """
def plain(n: int, by: float = 2.0):
    "No flow at all."
    print("plain", n * by)
    note("called", n=n)

class Kind:
    def __call__(self): ...

made = Kind()

@flow
def job(n: int): ...
"""


def test_a_plain_function_is_run_as_a_flow(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = yard.deployment(TEXT)
    # as somebody who has no decorator deploys it: by the API
    yard.client.update_deployment(deployed, DeploymentUpdate(entrypoint="d_flow.py:plain"))
    run = yard.run(deployed, n=3)
    monkeypatch.chdir(yard.code)
    found = load_flow_from_flow_run(yard.client.read_flow_run(run.id))
    assert (found.name, found.log_prints, sorted(found.parameters["properties"])) == ("plain", True, ["by", "n"])
    run = yard.wait(run, seconds=90)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    assert [entry["n"] for entry in yard.entries(run, "called")] == [3]
    yard.until(lambda: "plain 6.0" in [log.message.strip() for log in yard.logs(run)])
    assert [log.message.strip() for log in yard.logs(run)].count("plain 6.0") == 1


@pytest.mark.parametrize("name", ["made", "Kind", "gone"])
def test_what_is_no_function_is_said(yard: Yard, name: str) -> None:
    deployed = yard.deployment(TEXT)
    yard.client.update_deployment(deployed, DeploymentUpdate(entrypoint=f"d_flow.py:{name}"))
    run = yard.wait(yard.run(deployed, n=3), seconds=90)
    assert run.state_type is StateType.CRASHED
    assert run.state is not None
    assert f"{name!r} in" in str(run.state.message)


ELSEWHERE = """
import acme_only_there
from acme_only_there import settings

@flow(name="far away", retries=1, description="Needs acme.")
def job(n: int, where: str = "there"):
    note("ran", n=n, where=where, acme=acme_only_there.settings)
"""


def test_a_flow_whose_modules_are_missing_here_is_deployed_by_its_source(yard: Yard) -> None:
    with pytest.raises(EntrypointError, match="NameError"):  # a mistake is one, wherever it is found
        yard.deployment("undefined_name\n" + ELSEWHERE)
    with pytest.raises(EntrypointError, match="acme_only_there"):
        yard.deployment("import acme_only_there", function="gone")
    with pytest.raises(ParameterError, match="'n'"):
        yard.deployment(ELSEWHERE, parameters={"n": "many"})
    deployed = yard.deployment(ELSEWHERE, parameters={"n": 3})
    found = yard.client.read_deployment(deployed)
    assert (found.entrypoint, found.description) == ("d_flow.py:job", "Needs acme.")
    assert found.parameter_openapi_schema is not None
    assert found.parameter_openapi_schema["required"] == ["n"]
    assert yard.client.read_flow(found.flow_id).name == "far away"
    run = yard.wait(yard.run(deployed), seconds=90)
    assert run.state_type is StateType.CRASHED
    assert run.state is not None
    assert "d_flow.py" in str(run.state.message)
    assert "No module named 'acme_only_there'" in str(run.state.message)
    (yard.code / "acme_only_there.py").write_text("settings = 5")
    run = yard.wait(yard.run(deployed), seconds=90)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    (entry,) = yard.entries(run, "ran")
    assert (entry["n"], entry["where"], entry["acme"]) == (3, "there", 5)
