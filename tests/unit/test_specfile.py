"""Specification files: read with lines, checked, filled; and deployments that become YAML and come back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from millrace import Cron, Interval, RRule, deployments, flow
from millrace.client import exchange
from millrace.deployments import specfile, specified, written
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import InvalidInput, MissingDeployment, MissingFile, SpecError, UnspecifiedDeployment
from millrace.exceptions import MissingDeploymentError, SpecValidationError, UnspecifiedDeploymentError
from millrace.schema.deployments import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, DeploymentCreate
from millrace.schema.fields import new_id

FLOWS = """
from millrace import flow
raise_if_run = __name__

@flow
def etl(n: int = 1, day: str = "monday"):
    "Loads."
    return n

@flow(name="hello-world")
def hello(name: str = "world"):
    return name
"""


@flow
def here(n: int = 1, day: str = "monday", more: Any = None) -> int:
    """Does little."""
    return n


def _variable(name: str) -> Any:
    if name == "region":
        return "north"
    if name == "numbers":
        return [1, 2]
    raise InvalidInput(f"There is no variable {name!r}.")


def _read(text: str, directory: Path, **environment: str) -> list[specfile.Specified]:
    return specfile.read_text(text, "millrace.yaml", directory, environment, _variable)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "flows.py").write_text(FLOWS)
    return tmp_path


WHOLE = """
name: team
prefect-version: 3.1.0
definitions:
  tags: &tags [nightly, "{{ $TEAM }}"]
  defaults: &defaults
    work_pool: &pool
      name: default
      work_queue_name: slow
      job_variables:
        env: {REGION: "{{ prefect.variables.region }}", TOKEN: "{{ prefect.blocks.secret.token }}"}
pull:
build:
deployments:
  - name: nightly
    <<: *defaults
    entrypoint: flows.py:etl
    description: All of it.
    version: 2
    tags: *tags
    parameters: {n: 5, day: "{{ prefect.blocks.secret.day }}"}
    schedules:
      - cron: "0 3 * * *"
        timezone: Europe/Oslo
        slug: night
        active: false
        day_or: false
      - interval: 600
        anchor_date: 2026-01-01T00:00:00
        parameters: {n: 7}
      - rrule: FREQ=DAILY;BYHOUR=6
    paused: true
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW, grace_period_seconds: 90}
    enforce_parameter_schema: false
    catch_up: all
  - name: plain
    entrypoint: flows.py:hello
    schedule: {}
    concurrency_limit: 3
    parameters:
    work_pool:
"""


def test_all_fields_arrive(place: Path) -> None:
    first, second = [specified.made(one) for one in _read(WHOLE, place, TEAM="blue")]
    assert (first.full_name, first.description, first.version) == ("etl/nightly", "All of it.", "2")
    assert first.tags == ["nightly", "blue"]
    assert first.parameters == {"n": 5, "day": "secret:day"}
    assert first.schedules == [
        Cron("0 3 * * *", timezone="Europe/Oslo", slug="night", active=False, day_or=False),
        Interval(600, anchor_date=datetime(2026, 1, 1, tzinfo=UTC), parameters={"n": 7}),
        RRule("FREQ=DAILY;BYHOUR=6"),
    ]
    assert first.paused is True and first.enforce_parameter_schema is False and first.catch_up == "all"
    assert first.concurrency_limit == 1 and first.concurrency_options is not None
    assert first.concurrency_options.grace_period_seconds == 90
    assert (first.work_pool_name, first.work_queue_name) == ("default", "slow")
    assert first.job_variables == {"env": {"REGION": "north", "TOKEN": "{{ prefect.blocks.secret.token }}"}}
    assert (second.full_name, second.schedules, second.concurrency_limit) == ("hello-world/plain", [], 3)
    assert second.description is None and first.path == place


def test_documents_of_the_old_form(place: Path) -> None:
    text = """\
name: first
flow_location: ./flows.py
flow_name: hello-world
tags: [foo, bar]
parameters:
  name: "Earth"
schedule:
  interval: 3600
---
---
flow_location: flows.py
flow_name: etl
"""
    first, second = [specified.made(one) for one in _read(text, place)]
    assert (first.full_name, first.tags, first.parameters) == ("hello-world/first", ["foo", "bar"], {"name": "Earth"})
    assert first.schedules == [Interval(3600)]
    assert second.full_name == "etl/etl"
    (place / "old.yaml").write_text(text)
    specs = deployments.deployment_specs_from_yaml(place / "old.yaml")
    assert [(spec.name, spec.flow_name, at["line"]) for spec, at in specs.items()] == [
        ("first", "hello-world", 1),
        (None, "etl", 11),
    ]
    assert [one.full_name for one in deployments.load_deployments_from_yaml(place / "old.yaml")] == [
        "hello-world/first",
        "etl/etl",
    ]


_D = "deployments:\n  - name: a\n    entrypoint: flows.py:etl\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no deployments.*millrace init"),
        ("- a\n- b\n", 1, "a mapping of fields"),
        ("deployments: 5\n", 1, "deployments is a list"),
        ("deployments:\n  - 5\n", 2, "A deployment is a mapping"),
        ("deploymnets:\n  - name: a\n", 1, "no field 'deploymnets'. Did you mean 'deployments'"),
        (_D.replace("entrypoint", "entrypiont"), 3, "no field 'entrypiont'. Did you mean 'entrypoint'"),
        (_D + "    work_pool: {nam: x}\n", 4, "no field 'nam'. Did you mean 'name'"),
        (_D + "    concurrency_limit: {limit: 1, strategy: x}\n", 4, "concurrency_limit"),
        (_D + "    paused: perhaps\n", 4, "paused cannot be 'perhaps'"),
        (_D + "    parameters: [1]\n", 4, r"parameters cannot be \[1\]"),
        (_D + "    version: 1.10\n", 4, "version: YAML reads it as the number 1.1, .* in quotes"),
        (_D + "    work_pool: big\n", 4, "work_pool: it is a mapping; write work_pool: {name: big}"),
        (_D + "    schedules: {cron: '@daily'}\n", 4, "schedules: it is a list: begin it with a dash"),
        (
            _D + "    schedules:\n      - {cron: '@daily', timezone: Europe/Osl}\n",
            5,
            r"mean 'Europe/Oslo'\? Give",
        ),
        (_D + "    triggers:\n      - expect: [a]\n      - expct: [a]\n", 6, "'expct'. Did you mean 'expect'"),
        (_D + "    triggers:\n      - {triggers: [{expect: [a], witin: 5}]}\n", 5, "'witin'. Did you mean 'within'"),
        (_D + "    pull:\n      - git_clone: {repository: x}\n", 5, "mean 'prefect.deployments.steps.git_clone'"),
        (_D + "    tags: [a, b]\n    tags: [c]\n", 5, "'tags' stands here and in line 4"),
        (_D + "    schedule: {cron: 61 * * * *}\n", 4, "schedule: .*61"),
        (_D + "    schedules:\n      - cron: '@daily'\n      - every: 5\n", 6, "schedules.1: .*no schedule"),
        (_D + "    schedules:\n      - cron: '@daily'\n        often: 5\n", 5, "schedules.0"),
        (_D + "    schedule: {interval: 5, anchor_date: soon}\n", 4, "anchor_date 'soon' is no moment"),
        (_D + "    schedule: {interval: 5}\n    schedules: []\n", 4, "both given"),
        (_D + "    flow_location: x.py\n", 4, "both say where"),
        ("deployments:\n  - name: a\n", 2, "no entrypoint"),
        (_D + "    work_pool: {work_queue_name: q}\n", 4, "queue 'q' is of no pool"),
        (_D + "  - name: a\n    entrypoint: flows.py:etl\n", 4, "stands here and in line 2"),
        (_D + "    flow_runner: {type: docker}\n", 4, "older version. .*work_pool"),
        (_D + "    build:\n      - a: {}\n        b: {}\n", 5, "the name of a function with its inputs"),
        (_D + "    pull: [git]\n", 4, "the name of a function"),
        (_D + "    pull:\n      - prefect.deployments.steps.git_clon: {}\n", 5, "Did you mean 'git_clone'"),
        (
            _D
            + "    pull:\n      - prefect.deployments.steps.git_clone:\n          branch: a\n          repositry: x\n",
            7,
            "git_clone takes no 'repositry'. Did you mean 'repository'",
        ),
        (_D + "    pull:\n      - prefect.deployments.steps.git_clone: {branch: main}\n", 5, "needs 'repository'"),
        (
            _D + "    build:\n      - millrace.deployments.steps.run_shell_script: {scrpit: ls}\n",
            5,
            "takes no 'scrpit'",
        ),
        (_D + "    build:\n      - prefect_docker.deployments.steps.push_docker_image: {imge: x}\n", 5, "'imge'"),
        (_D + "    description: '{{ $ABSENT }}'\n", 4, "description: the environment variable ABSENT is not set"),
        (_D + "    description: '{{ prefect.variables.absent }}'\n", 4, "variable 'absent' cannot be had"),
        (_D + "    description: '{{ image }}'\n", 4, "stands for nothing.*no output"),
        (_D + "    description: '{{ prefect.blocks.secret.x }}'\n", 4, "for all to read"),
        ("a: [1\n", 2, "This is no YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "python/object"),
        ("a: &a [*a]\n", 1, "holds itself"),
        ("\tdeployments:\n", 1, "no YAML"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_field(place: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(SpecError, match=rf"(?s)^millrace\.yaml:{line}: .*{said}"):
        _read(text, place)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (_D.replace("flows.py:etl", "flows.py:elt"), 3, "entrypoint: .*'elt'"),
        (_D.replace("flows.py:etl", "absent.py:etl"), 3, "entrypoint: .*absent.py"),
        (_D + "    parameters:\n      n: 5\n      m: 5\n", 6, "'m'"),
        (_D + "    parameters:\n      day: x\n      n: many\n", 6, "'n' cannot be 'many'"),
        (_D + "    work_pool:\n      name: p\n      work_queue_name: a/b\n", 6, "The work queue 'a/b' is no name"),
        (_D + "    work_pool: {name: a%b}\n", 4, "The work pool 'a%b' is no name"),
        (_D + "    flow_name: other\n", 4, "flow_name is 'other'"),
        ("flow_location: flows.py\n", 1, "2 flows: 'etl', 'hello-world'. Say which"),
        ("flow_location: flows.py\nflow_name: nope\n", 2, "no flow 'nope'. Its flows: 'etl', 'hello-world'"),
        ("name: a\nflow_location: gone.py\n", 2, "flow_location: .*gone.py"),
        ("name: a\nflow_location: s3://x/a.py\n", 2, "is a URL"),
    ],
)
def test_what_does_not_fit_its_flow_is_said_with_its_line(place: Path, text: str, line: int, said: str) -> None:
    (one,) = _read(text, place)
    with pytest.raises(SpecError, match=rf"(?s)^millrace\.yaml:{line}: .*{said}"):
        specified.made(one)


def test_a_file_that_is_not_there_or_is_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"There is no specification file .*/gone.yaml. Write one with"):
        specfile.read(tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    for file, why in ((tmp_path, "Is a directory"), (tmp_path / "bytes.yaml", r"no UTF-8 \(.* at byte 3\)")):
        with pytest.raises(SpecError, match=f"{file}: It cannot be read: .*{why}"):
            specfile.read(file)


def test_several_problems_are_told_at_once(place: Path) -> None:
    with pytest.raises(SpecError, match=r"(?s)^millrace.yaml:4: .*'perhaps'.*\nmillrace.yaml:5: .*mean 'version'"):
        _read(_D + "    paused: perhaps\n    vesrion: 1\n", place)


def test_that_a_schedule_is_active_is_written_where_it_was_said_and_nowhere_else(place: Path) -> None:
    times = "    schedules:\n      - {cron: '@daily', active: true}\n      - cron: '@hourly'\n"
    (one,) = _read(_D + times, place)
    text = specified.made(one).to_yaml(place)
    assert text.count("active: true") == 1
    for made in (specified.made(one), RunnerDeployment.from_yaml(text, directory=place)):
        assert ["active" in schedule.model_fields_set for schedule in made.schedules] == [True, False]
    wanted = DeploymentCreate(name="a", flow_id=new_id(), schedules=specified.made(one).schedules)
    sent = json.loads(exchange.request("create_deployment", [], wanted, {}, {}).content or "")
    assert [schedule.get("active") for schedule in sent["schedules"]] == [True, None] and "paused" not in sent


def test_aliases_that_unfold_without_end_are_refused(place: Path) -> None:
    bomb = "x-a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for one, before in zip("bcdefg", "abcdef", strict=True):
        bomb += f"x-{one}: &{one} [{', '.join([f'*{before}'] * 10)}]\n"
    with pytest.raises(SpecError, match="unfold to more than"):
        _read(bomb + _D, place)


def test_moments_stay_text_and_braces_can_be_meant(place: Path) -> None:
    text = (
        _D
        + "    parameters: {day: 2026-01-01}\n"
        + "    description: '{{ \"{{\" }} $HOME }}, {{ prefect.variables.region }}'\n"
    )
    (one,) = _read(text, place)
    made = specified.made(one)
    assert made.parameters == {"day": "2026-01-01"}
    assert made.description == "{{ $HOME }}, north"
    (whole,) = _read(_D.replace("etl", "hello") + "    parameters: {name: '{{ prefect.variables.numbers }}'}\n", place)
    assert whole.entry.parameters == {"name": [1, 2]}


def test_what_a_trigger_gives_to_its_runs_is_filled_when_the_event_comes(place: Path) -> None:
    text = """
deployments:
  - entrypoint: flows.py:etl
    triggers:
      - expect: ["{{ $DAY }}.came"]
        parameters: {day: "{{ event.payload.day }}", n: '{{ event.resource["prefect.resource.id"] }}'}
        job_variables: {env: {DAY: "{{ event.payload.day }}", NOW: "{{ $DAY }}"}}
"""
    (one,) = _read(text, place, DAY="monday")
    (trigger,) = one.entry.triggers
    assert trigger["expect"] == ["monday.came"]
    assert trigger["parameters"] == {
        "day": "{{ event.payload.day }}",
        "n": '{{ event.resource["prefect.resource.id"] }}',
    }
    assert trigger["job_variables"] == {"env": {"DAY": "{{ event.payload.day }}", "NOW": "monday"}}


def test_pull_steps_take_the_environment_of_who_deploys_but_no_secrets(place: Path) -> None:
    text = """
pull:
  - prefect.deployments.steps.git_clone:
      repository: "https://{{ $HOST }}/flows.git"
      branch: "{{ $LATER }}"
      access_token: "{{ $TOKEN }}"
      credentials: {access_token: "{{ $TOKEN }}"}
deployments:
  - entrypoint: flows.py:etl
"""
    (one,) = _read(text, place, HOST="example.org", TOKEN="canary")
    assert one.entry.pull is not None
    assert one.entry.pull[0]["prefect.deployments.steps.git_clone"] == {
        "repository": "https://example.org/flows.git",
        "branch": "{{ $LATER }}",
        "access_token": "{{ $TOKEN }}",
        "credentials": {"access_token": "{{ $TOKEN }}"},
    }


def test_choosing(place: Path) -> None:
    text = "deployments:\n" + "".join(
        f"  - {{name: {name}, entrypoint: 'flows.py:{function}'}}\n"
        for name, function in (("day", "etl"), ("night", "etl"), ("day", "hello"))
    )
    found = _read(text, place)

    def names(*patterns: str, everything: bool = False) -> list[str]:
        chosen = specified.chosen(found, patterns, everything)
        return [f"{specified.entrypoint_of(one).partition(':')[2]}/{one.entry.name}" for one in chosen]

    assert names("night") == ["etl/night"]
    assert names("day") == ["etl/day", "hello/day"]
    assert names("hello-world/*") == names("hello/day") == ["hello/day"]
    assert names("etl/*", "*/day") == names(everything=True) == ["etl/day", "etl/night", "hello/day"]
    with pytest.raises(UnspecifiedDeployment, match=r"holds 3 deployments: 'day', 'night', 'day'. Say which"):
        specified.chosen(found, None)
    with pytest.raises(MissingDeployment, match=r"no deployment 'nght'\. Did you mean 'night'\? There are: 'day'"):
        specified.chosen(found, ["nght"])


def test_select_deployment(place: Path) -> None:
    text = "deployments:\n" + "".join(
        f"  - {{name: {name}, entrypoint: 'flows.py:{function}'}}\n"
        for name, function in (("day", "etl"), ("night", "etl"), ("day", "hello"))
    )
    made = [specified.made(one) for one in _read(text, place)]
    select = deployments.select_deployment
    assert select(made, "night") is made[1]
    assert select(made, flow_name="hello-world") is made[2]
    assert select(made, "day", "etl") is made[0]
    assert select(made[:1]) is made[0]
    with pytest.raises(MissingDeploymentError, match="No deployments found in 'x'"):
        select([], from_message="in 'x'")
    with pytest.raises(MissingDeploymentError, match=r"'noon' not found.*'day', 'night', 'day'"):
        select(made, "noon")
    with pytest.raises(MissingDeploymentError, match=r"flow 'x' not found.*'etl', 'etl', 'hello-world'"):
        select(made, flow_name="x")
    with pytest.raises(MissingDeploymentError, match=r"'night' for flow 'hello-world' not found.*for: 'etl'"):
        select(made, "night", "hello-world")
    with pytest.raises(
        UnspecifiedDeploymentError, match="Found 3 deployments: 'etl/day', 'etl/night', 'hello-world/day'"
    ):
        select(made)
    with pytest.raises(UnspecifiedDeploymentError, match="Found 2"):
        select(made, "day")


def test_specifications_in_scripts(place: Path) -> None:
    script = place / "specs.py"
    script.write_text(
        FLOWS + "from millrace.deployments import DeploymentSpec\n"
        "DeploymentSpec(flow=hello, name='one', parameters={'name': 'Earth'})\n"
        f"DeploymentSpec(flow_location={str(place / 'flows.py')!r}, flow_name='etl')\n"
    )
    specs, flows = deployments.deployment_specs_and_flows_from_script(script)
    assert {one.name for one in flows} == {"etl", "hello-world"}
    first, second = specs
    lines = script.read_text().splitlines()
    assert [lines[at["line"] - 1][:20] for at in specs.values()] == ["DeploymentSpec(flow=", "DeploymentSpec(flow_"]
    made = first.to_deployment()
    assert (made.full_name, made.entrypoint, made.parameters) == (
        "hello-world/one",
        "specs.py:hello",
        {"name": "Earth"},
    )
    assert second.to_deployment().full_name == "etl/etl"
    spec = deployments.DeploymentSpec
    for bad, said in (
        (spec(name="x"), "Either flow_location or flow"),
        (spec(flow_location=place / "flows.py"), "2 flows. Its flows: 'etl', 'hello-world'"),
        (spec(flow_location=place / "flows.py", flow_name="x"), "no flow 'x'"),
        (spec(flow=here, flow_location=place / "flows.py"), "is not the file of the flow 'here'"),
        (spec(flow=here, flow_name="there"), "must be the same: 'there', 'here'"),
        (spec(flow_location=place / "gone.py"), "gone.py"),
    ):
        with pytest.raises(SpecValidationError, match=said):
            bad.validate()
    with pytest.raises(SpecValidationError, match="flow_runner is of an older version"):
        spec(flow=here, flow_runner=object())


# -- there and back

_NAMES = st.text(
    st.characters(exclude_characters="/%&><", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12
).filter(lambda text: bool(text.strip()) and not text.endswith((".py", ".ipynb")))
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "yes",
        "~",
        "1e3",
        "0x1F",
        "12:30",
        "2026-01-01",
        "{{ $HOME }}",
        '{{ "{{" }}',
        "{{",
        "a: b",
        "- x",
        "#",
        "'",
        "\\",
        "é",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_ZONES = st.sampled_from([None, "UTC", "Europe/Oslo", "America/Chicago"])
_NAMED = st.sampled_from(["n", "day", "more"])
_SLUGS = st.none() | st.text("abc", min_size=1, max_size=4)
_SCHEDULES = st.one_of(
    st.builds(
        Interval,
        st.integers(1, 10**7) | st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
        anchor_date=st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
        timezone=_ZONES,
        active=st.booleans(),
        parameters=st.just({}) | st.fixed_dictionaries({"day": _TEXT}),
        slug=_SLUGS,
    ),
    st.builds(Cron, st.sampled_from(["@daily", "0 3 * * 1-5", "*/5 * 1 * 2"]), _ZONES, st.booleans(), slug=_SLUGS),
    st.builds(
        RRule, st.sampled_from(["FREQ=DAILY;BYHOUR=6", "FREQ=WEEKLY;BYDAY=MO"]), st.sampled_from(["UTC", "Asia/Tokyo"])
    ),
)
_LIMITS = (
    st.none()
    | st.integers(0, 9)
    | st.builds(
        ConcurrencyLimitConfig,
        limit=st.integers(0, 9),
        collision_strategy=st.sampled_from(ConcurrencyLimitStrategy),
        grace_period_seconds=st.none() | st.integers(60, 86400),
    )
)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shelf")
    (directory / "flows_of_the_shelf.py").write_text(FLOWS.replace('"monday"', '"monday", more: object = None'))
    return directory


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(name="d\ufeffe", options={"description": "a\x85b\u2028c\u2029d\ufeffe"}, elsewhere=False)
@example(name="d", options={"description": "\x85"}, elsewhere=False)
@given(
    name=_NAMES,
    options=st.fixed_dictionaries(
        {},
        optional={
            "description": _TEXT.filter(bool),
            "version": _TEXT.filter(bool),
            "tags": st.lists(_TEXT, max_size=3),
            "parameters": st.fixed_dictionaries({}, optional={"n": st.integers(), "day": _TEXT, "more": _VALUES}),
            "schedules": st.lists(_SCHEDULES, max_size=3, unique_by=lambda one: one.slug or object()),
            "paused": st.booleans(),
            "concurrency_limit": _LIMITS,
            "enforce_parameter_schema": st.booleans(),
            "work_pool_name": st.sampled_from(["default", "p: q"]),
            "job_variables": st.dictionaries(_TEXT, _VALUES, max_size=3),
            "catch_up": st.sampled_from(["skip", "latest", "all"]),
            "labels": st.dictionaries(_TEXT, st.booleans() | st.integers() | _TEXT, max_size=2),
            "triggers": st.lists(
                st.fixed_dictionaries(
                    {"expect": st.lists(_TEXT, min_size=1, max_size=2)},
                    optional={
                        "parameters": st.dictionaries(_NAMED, _VALUES, max_size=2),
                        "match": st.just({"x": "{{"}),
                    },
                ),
                max_size=2,
            ),
        },
    ),
    elsewhere=st.booleans(),
)
@example(name="d", options={"version": "\x85"}, elsewhere=False)
@example(name="d", options={"tags": ["a\u2028b"]}, elsewhere=False)
def test_a_deployment_becomes_yaml_and_comes_back(
    shelf: Path, name: str, options: dict[str, Any], elsewhere: bool
) -> None:
    made = RunnerDeployment.from_storage(shelf, "flows_of_the_shelf.py:etl", name, **options)
    directory = Path("/") if elsewhere else shelf
    text = made.to_yaml(directory)
    again = RunnerDeployment.from_yaml(text, directory=directory)
    assert again == made, text
    assert again.to_yaml(directory) == text


def test_all_that_is_written_for_flows_can_be_deployed(place: Path) -> None:

    cells = [
        nbformat.v4.new_code_cell("rows: int = 2", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("from millrace import flow\n@flow\ndef pay(hours: int = 1):\n    return hours"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), place / "book.ipynb")
    text = written.first_draft([place / "flows.py", place / "book.ipynb"], place, "default")
    assert "#   n: 1  # int" in text and "#   rows: 2" in text and "#   hours: 1  # int" in text
    found = _read(text, place)
    assert [(one.entry.name, one.entry.entrypoint) for one in found] == [
        ("etl", "flows.py:etl"),
        ("hello-world", "flows.py:hello"),
        ("book", "book.ipynb"),
        ("pay", "book.ipynb:pay"),
    ]
    assert {one.entry.work_pool.name for one in found} == {"default"}
    with pytest.raises(InvalidInput, match="no flow in"):
        written.first_draft([], place, "default")
    (full,) = _read(written.first_draft([place / "book.ipynb"], place, "p").replace("    # ", "    "), place)[:1]
    assert full.entry.parameters == {"rows": 2} and len(full.times) == 1 and full.entry.concurrency_limit == 1


def test_a_notebook_that_holds_flows_and_has_no_parameters_is_no_flow_itself(place: Path) -> None:
    cell = nbformat.v4.new_code_cell("from millrace import flow\n@flow\ndef pay(hours: int = 1):\n    return hours")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), place / "cells.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), place / "whole.ipynb")
    found = _read(written.first_draft([place / "cells.ipynb", place / "whole.ipynb"], place, "default"), place)
    assert [one.entry.entrypoint for one in found] == ["cells.ipynb:pay", "whole.ipynb"]
