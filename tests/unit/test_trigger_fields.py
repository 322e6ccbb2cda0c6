"""Triggers that people write: a field that does not exist is said."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from millrace.deployments.triggers import automation
from millrace.errors import InvalidInput
from millrace.events import DeploymentCompoundTrigger, DeploymentEventTrigger


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"expct": ["order.arrived"]}, "'expct'. Did you mean 'expect'"),
        ({"x": 1}, "no field 'x'. It has .*expect"),
        ({"type": "compound", "requires": "all", "triggers": []}, "'requires'. Did you mean 'require'"),
        ({"triggers": [{"expect": ["a"]}, {"expect": ["b"], "witin": 5}]}, "'witin'. Did you mean 'within'"),
        ({"posture": "Metric", "metrc": {}}, "of type metric has no field 'metrc'. Did you mean 'metric'"),
    ],
)
def test_a_misspelt_field_is_no_trigger_for_any_event(trigger: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        automation(trigger, UUID(int=0), "mine")


@pytest.mark.parametrize(
    "trigger",
    [
        {"expect": ["a"], "name": "n", "description": None, "parameters": {"n": 1}, "job_variables": None},
        {"type": "event", "match": {"a": "b"}, "posture": "Proactive", "within": 30, "id": str(UUID(int=1))},
        {"type": "sequence", "triggers": [{"expect": ["a"]}, {"expect": ["b"], "match_related": [{"c": "d"}]}]},
        DeploymentEventTrigger(expect={"a"}, parameters={"n": 1}),
        DeploymentCompoundTrigger(triggers=[{"expect": ["a"]}], require="any", enabled=False),
    ],
)
def test_what_triggers_have_is_taken(trigger: Any) -> None:
    assert automation(trigger, UUID(int=0), "mine").trigger
