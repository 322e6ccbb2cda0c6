"""Variables, artifacts and secrets by the real client; what ours has saved is read, and the other way round."""

import asyncio
import json

from prefect import flow, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.blocks.system import Secret
from prefect.variables import Variable


@task
def leave():
    create_table_artifact([{"a": 1, "b": float("nan")}], key="interop-table", description="of a task")
    create_markdown_artifact("# hello", key="interop-markdown")
    create_link_artifact("https://example.org", "there", key="interop-link")
    return str(update_progress_artifact(create_progress_artifact(10, key="interop-progress"), 60))


@flow
def leaving():
    return leave()


async def later():
    await Secret(value={"user": "me", "password": "of-the-peer-1"}).save("interop-async", overwrite=True)
    return (await Secret.load("interop-async")).get()


Variable.set("interop_variable", {"n": [1, None]}, tags=["a"])
try:
    Variable.set("interop_variable", 2)
    refused = False
except ValueError:
    refused = True
Variable.set("interop_variable", {"n": 2}, overwrite=True)
Secret(value="of-the-peer-0").save("interop-secret")
try:
    Secret(value="other").save("interop-secret")
    twice = True
except ValueError:
    twice = False
Secret(value="of-the-peer-2").save("interop-secret", overwrite=True)
answer = {
    "run": str(leaving(return_state=True).state_details.flow_run_id),
    "variable": Variable.get("interop_variable"),
    "missing": Variable.get("nobody", "default"),
    "refused": refused,
    "twice": twice,
    "secret": Secret.load("interop-secret").get(),
    "later": asyncio.run(later()),
}
print("RESULT " + json.dumps(answer))
