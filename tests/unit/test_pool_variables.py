"""Job variables beside what their pool takes."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.deployments import pool_variables
from millrace.schema.pools import WorkPool
from millrace.workers.execution import template_of
from millrace.workers.process import ProcessKind

PROCESS = WorkPool(name="floor", type="process", base_job_template=template_of(ProcessKind))


@pytest.mark.parametrize("variables", [{}, {"env.GREETING": "x"}, {"env": {"A": "1"}}, {"working_dir": "/srv"}])
def test_what_the_pool_takes_is_not_told_of(variables: dict[str, Any]) -> None:
    assert pool_variables.unknown(variables, PROCESS) is None
    assert pool_variables.wrong(variables, PROCESS) == {}


def test_a_variable_that_the_pool_does_not_take_is_told_with_the_one_that_may_be_meant() -> None:
    said = pool_variables.unknown({"workng_dir": "x", "nonsense.KEY": 1}, PROCESS)
    assert said is not None
    assert "'workng_dir' (did you mean 'working_dir'?)" in said and "'nonsense'" in said and "'floor'" in said
    assert "env" in said


def test_a_value_of_the_wrong_type_is_told_and_one_with_a_placeholder_is_not() -> None:
    assert list(pool_variables.wrong({"env": 3, "working_dir": "{{ build.image }}"}, PROCESS)) == ["env"]
    assert "3 is not" in pool_variables.wrong({"env": 3}, PROCESS)["env"]


def test_of_a_pool_without_a_schema_nothing_is_said() -> None:
    pool = WorkPool(name="own", type="process", base_job_template={})
    assert pool_variables.unknown({"a": 1}, pool) is None and pool_variables.wrong({"a": 1}, pool) == {}
