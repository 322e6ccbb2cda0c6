"""Job variables: merging, dotted names, placeholders, and what a process job makes of them."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator, ValidationError

from millrace.errors import InvalidInput
from millrace.schema.deployments import Deployment
from millrace.schema.fields import Model, new_id
from millrace.schema.runs import FlowRun
from millrace.server.process_template import PROCESS_TEMPLATE
from millrace.workers.execution import configured, template_of
from millrace.workers.jobs import Job
from millrace.workers.process import ProcessKind, ProcessVariables, environment
from millrace.workers.variables import configure, expand, merge, substitute


def test_dotted_names_become_nested() -> None:
    assert expand({"env.A": "1", "env": {"B": "2"}, "image": "x"}) == {"env": {"B": "2", "A": "1"}, "image": "x"}


def test_expanding_does_not_change_what_was_given() -> None:
    given = {"env": {"B": "2"}, "env.A": "1"}
    expand(given)
    assert given == {"env": {"B": "2"}, "env.A": "1"}


def test_a_dotted_name_through_a_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'working_dir' is no object"):
        expand({"working_dir": "/tmp", "working_dir.x": "1"})


def test_later_layers_win_and_env_is_merged_key_by_key() -> None:
    pool = {"env": {"A": "pool", "B": "pool"}, "working_dir": "/pool"}
    deployment = {"env": {"B": "deployment"}, "working_dir": "/deployment"}
    run = {"env.C": "run"}
    assert merge(pool, deployment, run) == {
        "env": {"A": "pool", "B": "deployment", "C": "run"},
        "working_dir": "/deployment",
    }


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{{ n }}", 3),
        ("{{n}}", 3),
        ("--n={{ n }} --m={{ missing }}", "--n=3 --m="),
        (["{{ n }}", "{{ missing }}"], [3]),
        ({"a": "{{ n }}", "b": "{{ missing }}"}, {"a": 3}),
        ("{{ n.__class__ }}", "{{ n.__class__ }}"),
        ("{{ n + 1 }}", "{{ n + 1 }}"),
        ("plain", "plain"),
        (7, 7),
    ],
)
def test_only_whole_names_are_put_in(template: object, filled: object) -> None:
    assert substitute(template, {"n": 3}) == filled


def test_the_defaults_of_the_pool_are_the_lowest_layer() -> None:
    template = {
        "job_configuration": {"cmd": "{{ command }}", "dir": "{{ working_dir }}"},
        "variables": {"properties": {"command": {"default": "a"}, "working_dir": {"default": "/pool"}}},
    }
    assert configure(template, {"command": "b"}, None) == {"cmd": "b", "dir": "/pool"}


def _deployment(**job_variables: object) -> Deployment:
    return Deployment(name="d", flow_id=new_id(), job_variables=job_variables)


def test_a_process_job_from_all_three_layers() -> None:
    template = template_of(ProcessKind)
    template["variables"]["properties"]["env"]["default"] = {"A": "pool", "GONE": "x"}
    run = FlowRun(flow_id=new_id(), job_variables={"env.C": 5, "env.GONE": None})
    config = configured(ProcessVariables, template, _deployment(working_dir="/data", env={"B": "deployment"}), run)
    assert str(config.working_dir) == "/data"
    assert config.env == {"A": "pool", "B": "deployment", "C": "5", "GONE": None}


def test_a_wrong_type_names_the_variable() -> None:
    with pytest.raises(InvalidInput, match="job variable 'stream_output' cannot be 'perhaps'"):
        configured(
            ProcessVariables, template_of(ProcessKind), _deployment(stream_output="perhaps"), FlowRun(flow_id=new_id())
        )


def test_the_environment_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("TAKEN_AWAY", "1")
    run = FlowRun(flow_id=new_id())
    config = configured(
        ProcessVariables, template_of(ProcessKind), _deployment(env={"TAKEN_AWAY": None, "NEW": "2"}), run
    )
    env = environment(config, Job(flow_run_id=run.id, attempt=3))
    assert env["KEPT"] == "1" and env["NEW"] == "2" and "TAKEN_AWAY" not in env
    assert env["MILLRACE__FLOW_RUN_ID"] == env["PREFECT__FLOW_RUN_ID"] == str(run.id)
    assert env["MILLRACE__ATTEMPT"] == f"{run.id}/3"
    assert "MILLRACE__LEASE" not in env


def test_the_template_takes_what_the_deployment_gives() -> None:
    template = template_of(ProcessKind)
    assert set(template["job_configuration"]) == set(template["variables"]["properties"])


class Mount(Model):
    source: str


class MountingKind(ProcessKind):
    class variables(Model):
        mounts: tuple[Mount, ...] = ()


def test_what_the_template_refers_to_is_in_it() -> None:
    variables = template_of(MountingKind)["variables"]
    assert variables["properties"]["mounts"]["items"] == {"$ref": "#/definitions/Mount"}
    Draft202012Validator(variables).validate({"mounts": [{"source": "a"}]})
    with pytest.raises(ValidationError, match="'source' is a required property"):
        Draft202012Validator(variables).validate({"mounts": [{}]})


def test_the_pool_of_the_embedded_server_takes_what_a_process_worker_understands() -> None:
    assert set(PROCESS_TEMPLATE["job_configuration"]) == set(template_of(ProcessKind)["job_configuration"])
    assert set(PROCESS_TEMPLATE["variables"]["properties"]) == set(ProcessVariables.model_fields)
