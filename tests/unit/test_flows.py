"""Declaring flows: nothing is run here."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from millrace import Flow, InlineTaskRunner, ThreadPoolTaskRunner, flow
from millrace.errors import MissingContext, ParameterError
from millrace.flows import Flow as SameFlow


def test_names() -> None:
    @flow
    def my_flow() -> None:
        """Says nothing.

        At length.
        """

    assert isinstance(my_flow, Flow) and Flow is SameFlow
    assert my_flow.name == "my-flow"
    assert my_flow.__name__ == "my_flow"
    assert my_flow.description == "Says nothing.\n\nAt length."
    assert Flow(lambda: 1).name == "unknown-lambda"
    assert repr(my_flow) == "<Flow 'my-flow': my_flow()>"


@pytest.mark.parametrize("name", ["a/b", "a%b", "a&b", "a<b", "a>b"])
def test_banned_characters(name: str) -> None:
    with pytest.raises(ValueError, match="none of"):
        Flow(lambda: 1, name=name)


def test_a_name_that_was_not_called() -> None:
    with pytest.raises(TypeError, match="Did you mean to call it"):
        Flow(lambda: 1, name=print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a text; got int"):
        Flow(lambda: 1, name=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("hook", ["on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running"])
def test_hooks_are_lists_of_functions(hook: str) -> None:
    with pytest.raises(TypeError, match=f"{hook} must be a list"):
        Flow(lambda: 1, **{hook: print})
    with pytest.raises(TypeError, match=f"{hook} must hold functions"):
        Flow(lambda: 1, **{hook: [1]})
    made = Flow(lambda: 1, **{hook: [print]})
    assert getattr(made, f"{hook}_hooks") == [print]
    assert getattr(made, hook)(len) is len
    assert getattr(made, f"{hook}_hooks") == [print, len]


def test_what_cannot_be_a_flow() -> None:
    with pytest.raises(TypeError, match="decorates a function"):
        Flow(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="has no option retrys"):
        flow(retrys=3)
    with pytest.raises(ValueError, match="return_state"):
        Flow(lambda return_state: 1)
    with pytest.raises(TypeError, match="flow_run_name must be"):
        Flow(lambda: 1, flow_run_name=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="task_runner must be"):
        Flow(lambda: 1, task_runner=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        Flow(lambda: 1, retries=-1)


def test_options_stay_unless_given() -> None:
    first = Flow(
        lambda x: x, name="one", retries=3, log_prints=True, persist_result=True, timeout_seconds=5, version="v"
    )
    second = first.with_options(name="two", task_runner=InlineTaskRunner, log_prints=None)
    assert (second.name, second.retries, second.timeout_seconds, second.version) == ("two", 3, 5.0, "v")
    assert second.log_prints is None and second.persist_result is True
    assert isinstance(second.task_runner, InlineTaskRunner)
    assert first.task_runner == ThreadPoolTaskRunner()
    assert first.with_options(retries=0).retries == 0
    with pytest.raises(TypeError, match="colour"):
        first.with_options(colour=1)  # type: ignore[call-arg]


def test_the_version_is_a_hash_of_the_source() -> None:
    @flow
    def one() -> None: ...

    assert one.version is not None and len(one.version) == 32
    namespace: dict[str, Any] = {"flow": flow}
    exec("@flow\ndef two(): ...", namespace)
    assert namespace["two"].version is None


def test_a_method_is_bound() -> None:
    class Shop:
        @flow
        def sell(self, what: str) -> str: ...

    bound = Shop().sell
    assert bound.ismethod
    assert list(bound.parameters["properties"]) == ["what"]
    assert bound.name == "sell"


def test_run_names() -> None:
    assert Flow(lambda day: 1, flow_run_name="of {day}").run_name({"day": "Monday"}) == "of Monday"
    assert Flow(lambda day: 1, flow_run_name=lambda: "made").run_name({}) == "made"
    assert Flow(lambda day: 1, flow_run_name=lambda parameters: parameters["day"]).run_name({"day": "d"}) == "d"
    with pytest.raises(TypeError, match="must give a text"):
        Flow(lambda: 1, flow_run_name=lambda: 3).run_name({})  # type: ignore[arg-type, return-value]


def test_a_bad_call_makes_no_run() -> None:
    @flow
    def rows(n: int) -> int: ...

    with pytest.raises(ParameterError, match="missing"):
        rows()
    with pytest.raises(ParameterError, match="got 'x'"):
        rows("x")


def test_an_async_flow_is_awaited() -> None:
    @flow
    async def later(n: int) -> int: ...

    coroutine = later(1)
    assert asyncio.iscoroutine(coroutine)
    coroutine.close()


def test_serialize_parameters() -> None:
    made = Flow(lambda a, b: 1)
    assert made.serialize_parameters({"a": object(), "b": {1: [2]}}) == {"a": "<object>", "b": {"1": [2]}}


def test_the_run_logger_needs_a_run() -> None:
    from millrace import get_run_logger  # noqa: PLC0415

    with pytest.raises(MissingContext, match="outside of a flow or task"):
        get_run_logger()


HEAVY = [
    "sqlalchemy",
    "fastapi",
    "ipywidgets",
    "papermill",
    "docker",
    "IPython",
    "nbformat",
    "nbclient",
    "jupyter_client",
    "anywidget",
    "typer",
]


def test_the_import_budget() -> None:
    code = f"import sys, millrace; from millrace import flow, task; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert found.stdout.strip() == "[]"


def test_deploy_is_a_function_whatever_was_imported_before() -> None:
    code = "import millrace.deployments.run; from millrace import deploy; print(callable(deploy))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_every_public_name_is_there() -> None:
    import millrace  # noqa: PLC0415

    for name in millrace.__all__:
        assert getattr(millrace, name) is not None
    assert set(millrace.__all__) <= set(dir(millrace))
    with pytest.raises(AttributeError, match="no attribute 'flwo'"):
        _ = millrace.flwo
    assert millrace.__version__
