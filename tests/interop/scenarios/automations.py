"""Automations by the real client, and a deployment with triggers."""

import json
import sys
from datetime import timedelta
from pathlib import Path

from prefect import flow
from prefect.automations import Automation, CompoundTrigger, DoNothing, EventTrigger, RunDeployment
from prefect.events import DeploymentEventTrigger, emit_event
from prefect.events.worker import EventsWorker

HERE = Path(__file__).parent
(pool,) = sys.argv[1:2]

deployed = []
for _ in range(2):  # the second time replaces the triggers of the first
    id = flow.from_source(str(HERE), "yard_flows.py:yard").deploy(
        "triggered",
        work_pool_name=pool,
        build=False,
        push=False,
        print_next_steps=False,
        triggers=[
            DeploymentEventTrigger(
                name="interop-trigger",
                expect={"interop.arrived"},
                match={"prefect.resource.id": "interop.*"},
                parameters={"x": "{{ event.payload.x }}"},
            )
        ],
    )
    deployed.append(str(id))

made = Automation(
    name="interop-automation",
    description="made by the real client",
    tags=["interop"],
    trigger=CompoundTrigger(
        require="all",
        within=timedelta(minutes=5),
        triggers=[
            EventTrigger(expect={"interop.a"}, posture="Reactive", threshold=1, within=timedelta(0)),
            EventTrigger(after={"interop.b"}, expect={"interop.c"}, posture="Proactive", within=timedelta(seconds=30)),
        ],
    ),
    actions=[DoNothing(), RunDeployment(source="selected", deployment_id=id, parameters={"x": 7})],
).create()
read = Automation.read(name="interop-automation")
same = (read.trigger.require, read.trigger.within.total_seconds(), [one.type for one in read.actions])
read.description = "changed"
read.update()
changed = Automation.read(id=read.id).description
read.disable()
disabled = Automation.read(id=read.id).enabled
read.enable()
emit_event("interop.arrived", {"prefect.resource.id": "interop.1"}, payload={"x": 3})
EventsWorker.instance().drain()
print("RESULT " + json.dumps({"deployed": deployed, "same": same, "changed": changed, "disabled": disabled}))
