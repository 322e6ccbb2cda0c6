"""Variables, artifacts and secrets by their public names: in a script, in a flow, in its tasks, in async code."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from millrace import RunHandle, Secret, Variable, flow, get_run_logger, task
from millrace.artifacts import (
    acreate_image_artifact,
    acreate_link_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from millrace.client.synchronous import Client
from millrace.errors import AlreadyExists, InvalidInput, MissingSecret
from millrace.runtime import flow_run, task_run

from .looking import last_run


def everywhere(work: Any) -> list[Any]:
    """What a function gives when it is called plainly, in a flow, in a submitted task and in a thread of async code."""
    name = work.__name__.strip("<>")
    plain = work()
    in_flow = flow(name=f"{name} in a flow")(lambda: work())()
    in_task = flow(name=f"{name} in a task")(lambda: task(work).submit().result())()

    async def awaiting() -> Any:
        return await asyncio.to_thread(work)

    return [plain, in_flow, in_task, asyncio.run(flow(name=f"{name} awaited")(awaiting)())]


def test_variables(client: Client) -> None:
    made = Variable.set("size", {"n": 5}, tags=["a"])
    assert (made.name, made.value, made.tags) == ("size", {"n": 5}, ["a"])
    assert everywhere(lambda: Variable.get("size")) == [{"n": 5}] * 4
    assert (Variable.get("nobody"), Variable.get("nobody", "default")) == (None, "default")
    with pytest.raises(AlreadyExists, match="overwrite=True"):
        Variable.set("size", 6)
    with pytest.raises(ValueError):
        Variable.set("size", 6)
    assert Variable.set("size", None, overwrite=True).value is None
    assert Variable.get("size", "default") is None, "null is a value"
    assert [Variable.unset("size"), Variable.unset("size")] == [True, False]

    @flow(name="awaits variables")
    async def work() -> Any:
        await Variable.aset("later", [1])
        await Variable.aset("later", [2], overwrite=True)
        found = await Variable.aget("later"), await Variable.aget("nobody", 0)
        return *found, await Variable.aunset("later")

    assert asyncio.run(work()) == ([2], 0, True)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("Bad Name", 1, "'Bad Name' may have only lowercase letters"),
        ("a/b", 1, "may have only"),
        ("", 1, "A variable needs a name"),
        ("size", object(), "must be JSON"),
        ("size", float("nan"), "must be JSON"),
        ("size", "a" * 6000, "6,002 bytes as JSON; a variable takes at most 5,000"),
    ],
    ids=["spaces", "slash", "no name", "no JSON", "no number", "too long"],
)
def test_variables_that_cannot_be(client: Client, name: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Variable.set(name, value)


def test_secrets(client: Client) -> None:
    canary = "canary-77aa-of-a-test"
    secret = Secret({"user": "me", "password": canary})
    assert secret.name is None
    id = secret.save("login")
    assert isinstance(id, UUID) and secret.name == "login"
    assert everywhere(lambda: Secret.load("login").get()) == [{"user": "me", "password": canary}] * 4
    loaded = Secret.load("login")
    for shown in (str(loaded), repr(loaded), f"{loaded}", f"{[loaded]}"):
        assert canary not in shown and "********" in shown
    assert loaded == secret and loaded.value.get_secret_value() == loaded.get()
    with pytest.raises(AlreadyExists, match="overwrite=True"):
        Secret("another-one").save("login")
    assert Secret("another-one").save("login", overwrite=True) == id
    assert Secret.load("login").get() == "another-one"
    for wrong in ("", None, "Bad/Name", "a>b"):
        with pytest.raises(InvalidInput, match="name"):
            Secret("x").save(wrong)
    with pytest.raises(InvalidInput, match="must be a JSON value"):
        Secret(object())
    Secret.delete("login")
    for missing in (lambda: Secret.load("login"), lambda: Secret.delete("login"), Secret.named("login").get):
        with pytest.raises(MissingSecret, match="No secret is named 'login'"):
            missing()

    @flow(name="awaits secrets")
    async def work() -> Any:
        await Secret(canary).asave("later")
        found = (await Secret.aload("later")).get()
        await Secret.adelete("later")
        return len(found)

    assert asyncio.run(work()) == len(canary)


def test_the_reference_of_a_secret_is_a_parameter_and_its_default(client: Client) -> None:
    Secret("canary-for-a-default").save("default")

    @task
    def inner(pw: Secret = "secret:default") -> int:  # type: ignore[assignment]
        return len(pw.get())

    @task
    async def ainner(pw: Secret = "secret:default") -> int:  # type: ignore[assignment]
        return len(pw.get())

    @task
    def items(pw: Secret = "secret:default") -> Any:  # type: ignore[assignment]
        yield len(pw.get())

    @flow(name="has a default")
    def job(pw: Secret = "secret:default", more: list[Secret] = []) -> Any:  # type: ignore[assignment]  # noqa: B006
        first = [inner(), inner.submit().result(), ainner.submit().result(), next(iter(items())), inner(pw)]
        return first, len(pw.get()), [len(one.get()) for one in more]

    length = len("canary-for-a-default")
    assert job() == ([length] * 5, length, [])
    assert last_run(client, "has a default").parameters == {"pw": "secret:default", "more": []}
    assert job("secret:default", ["secret:default", Secret.load("default")])[2] == [length, length]  # type: ignore[arg-type, list-item]
    assert last_run(client, "has a default").parameters["more"] == ["secret:default"] * 2


def test_artifacts(client: Client, tmp_path: Path) -> None:
    picture = tmp_path / "dot.svg"
    picture.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")

    def leave() -> dict[str, Any]:
        bar = create_progress_artifact(10.0, key="bar", description="how far")
        update_progress_artifact(bar, 100.0)
        return {
            "table": create_table_artifact([{"n": 1}], key="rows", description="all *rows*"),
            "markdown": create_markdown_artifact("# Report", key="report"),
            "link": create_link_artifact("https://example.org", "there", key="link"),
            "image": create_image_artifact("https://example.org/a.png", key="picture"),
            "progress": bar,
            "runs": (flow_run.id, task_run.id),
        }

    async def aleave() -> dict[str, Any]:
        bar = await acreate_progress_artifact(10.0, key="bar")
        await aupdate_progress_artifact(bar, 100.0)
        return {
            "table": await acreate_table_artifact({"n": [1]}, key="rows"),
            "markdown": await acreate_markdown_artifact("# Report", key="report"),
            "link": await acreate_link_artifact("https://example.org", "there", key="link"),
            "image": await acreate_image_artifact("https://example.org/a.png", key="picture"),
            "progress": bar,
            "runs": (flow_run.id, task_run.id),
        }

    left = everywhere(leave)
    left.append(asyncio.run(flow(name="awaits artifacts")(aleave)()))  # type: ignore[arg-type]
    left.append(flow(name="awaits in a task")(lambda: task(aleave).submit().result())())
    for number, one in enumerate(left):
        flow_id, task_id = one.pop("runs")
        assert (flow_id is None, task_id is None) == (number == 0, number not in (2, 5))
        for kind, id in one.items():
            stored = client.read_artifact(id)
            assert stored.type in (kind, "markdown" if kind == "link" else kind)
            found = [None if run is None else str(run) for run in (stored.flow_run_id, stored.task_run_id)]
            assert found == [flow_id, task_id]
        assert client.read_artifact(one["progress"]).data == 100.0
        assert client.read_artifact(one["link"]).data == "[there](https://example.org)"
    newest = client.read_latest_artifact("report")
    assert newest.id == left[-1]["markdown"] and newest.data == "# Report"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: create_table_artifact(5), "takes a list of dicts"),
        (lambda: create_markdown_artifact(5), "takes a text, not a int"),  # type: ignore[arg-type]
        (lambda: create_link_artifact(5), "needs a link"),  # type: ignore[arg-type]
        (lambda: create_image_artifact(5), "takes a URL"),
        (lambda: create_progress_artifact("x"), "a number from 0 to 100"),  # type: ignore[arg-type]
        (lambda: create_markdown_artifact("x", key="Bad Key"), "only lowercase letters"),
        (lambda: update_progress_artifact("x", 5), "is not the id of an artifact"),  # type: ignore[arg-type]
    ],
)
def test_artifacts_that_cannot_be(client: Client, make: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make()


def test_a_script_uses_all_of_them(client: Client, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import sys\nfrom millrace import Secret, Variable, create_table_artifact, flow\n"
        "Variable.set('rows', 3)\nSecret('canary-of-a-script').save('script')\n"
        "@flow(log_prints=True)\ndef job(pw: Secret = 'secret:script'):\n"
        "    print('value', pw.get())\n"
        "    create_table_artifact([{'rows': Variable.get('rows'), 'pw': pw.get()}], key='told')\n"
        "job()\nprint(Secret.load('script').get(), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert "value ********" in done.stdout and "canary" not in done.stdout + done.stderr
    assert client.read_latest_artifact("told").data == '[{"rows": 3, "pw": "********"}]'


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "as given"])
def test_what_pydantic_hides_is_masked_when_it_is_given_to_a_call(client: Client, checked: bool) -> None:
    value = f"given-here-{checked}"

    @flow(name=f"hidden {checked}", validate_parameters=checked)
    def job(password: SecretStr) -> None:
        get_run_logger().info("it is %s", password.get_secret_value())
        raise ValueError(password.get_secret_value())

    with pytest.raises(ValueError):
        job(SecretStr(value))
    run = last_run(client, f"hidden {checked}")
    assert run.state is not None and "ValueError: ********" in str(run.state.message)
    said = [line.message for line in RunHandle(run).logs()]
    assert "it is ********" in said and not any(value in text for text in said)
