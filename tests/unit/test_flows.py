"""Declaring flows: nothing is run here."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from millrace import INPUTS, NO_CACHE, Flow, InlineTaskRunner, Task, ThreadPoolTaskRunner, flow, settings, tags, task
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retries": "3"}, r"retries must be a number; got '3' \(str\)"),
        ({"retries": 1.5}, "retries must be a whole number; got 1.5"),
        ({"retries": True}, "retries must be a number"),
        ({"retry_delay_seconds": [1]}, "retry_delay_seconds must be a number"),
        ({"retry_delay_seconds": -0.1}, "retry_delay_seconds must not be negative; got -0.1"),
        ({"timeout_seconds": "soon"}, "timeout_seconds must be a number; got 'soon'"),
        ({"timeout_seconds": -1}, "timeout_seconds must not be negative"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds must not be NaN"),
        ({"log_prints": "yes"}, "log_prints must be True or False; got 'yes'"),
        ({"validate_parameters": "no"}, "validate_parameters must be True or False"),
        ({"persist_result": "yes"}, "persist_result must be True or False"),
        ({"cache_result_in_memory": 0}, "cache_result_in_memory must be True or False; got 0"),
        ({"description": 5}, "the description of a flow must be a text; got 5"),
        ({"version": 5}, "the version of a flow must be a text; got 5"),
        ({"on_failure": "abc"}, "on_failure must be a list of functions; got str"),
    ],
)
def test_options_are_checked_where_they_are_written(options: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        flow(**options)(lambda: 1)
    good = flow(lambda: 1)
    with pytest.raises((TypeError, ValueError), match=says):
        good.with_options(**options)


def _one() -> str:
    return "one"


def _hook(*_: Any) -> None: ...


FLOW_OPTIONS: dict[str, tuple[Any, Any]] = {
    "name": ("one", "two"),
    "version": ("1", "2"),
    "flow_run_name": ("{x}", _one),
    "retries": (1, 0),
    "retry_delay_seconds": (1, 0.5),
    "task_runner": (InlineTaskRunner(), ThreadPoolTaskRunner(max_workers=2)),
    "description": ("first", "second"),
    "timeout_seconds": (1.0, 2.0),
    "validate_parameters": (False, True),
    "persist_result": (True, None),
    "result_storage": ("/tmp/one", None),
    "result_serializer": ("compressed/json", None),
    "cache_result_in_memory": (False, True),
    "log_prints": (True, None),
    **{f"on_{when}": ([_hook], []) for when in ("completion", "failure", "cancellation", "crashed", "running")},
}
TASK_OPTIONS: dict[str, tuple[Any, Any]] = {
    "name": ("one", "two"),
    "description": ("first", "second"),
    "tags": (frozenset({"a"}), frozenset()),
    "version": ("1", None),
    "cache_policy": (INPUTS, NO_CACHE),
    "cache_expiration": (timedelta(1), None),
    "task_run_name": ("{x}", _one),
    "retries": (1, 0),
    "retry_delay_seconds": ([1.0, 2.0], 3.0),
    "retry_jitter_factor": (0.5, None),
    "persist_result": (True, False),
    "result_storage": ("/tmp/one", None),
    "result_serializer": ("compressed/json", None),
    "result_storage_key": ("{parameters[x]}", None),
    "cache_result_in_memory": (False, True),
    "timeout_seconds": (1.0, None),
    "log_prints": (True, None),
    "refresh_cache": (True, None),
    **{f"on_{when}": ([_hook], []) for when in ("completion", "failure", "running")},
    "retry_condition_fn": (_hook, None),
    "viz_return_value": ([1], None),
}


def _held(made: Any, option: str) -> Any:
    at = {"validate_parameters": "should_validate_parameters"}.get(option, option)
    return getattr(made, f"{option}_hooks" if option.startswith("on_") else at)


@pytest.mark.parametrize("option", FLOW_OPTIONS)
def test_every_option_of_a_flow_is_held_stays_and_changes(option: str) -> None:
    first, second = FLOW_OPTIONS[option]
    made: Any = Flow(lambda x: x, **{option: first})
    assert _held(made, option) == first
    other = "retries" if option != "retries" else "log_prints"
    assert _held(made.with_options(**{other: 7 if other == "retries" else True}), option) == first
    assert _held(made.with_options(**{option: second}), option) == second
    assert _held(made, option) == first


@pytest.mark.parametrize("option", TASK_OPTIONS)
def test_every_option_of_a_task_is_held_stays_and_changes(option: str) -> None:
    first, second = TASK_OPTIONS[option]
    made: Any = Task(lambda x: x, **{option: first})
    assert _held(made, option) == first
    other = {"version": "9"} if option != "version" else {"retries": 7}
    assert _held(made.with_options(**other), option) == first
    assert _held(made.with_options(**{option: second}), option) == second
    assert _held(made, option) == first


def test_the_options_are_all_there_are() -> None:
    for made, options, more in ((Flow, FLOW_OPTIONS, set()), (Task, TASK_OPTIONS, {"cache_key_fn"})):
        assert set(inspect.signature(made).parameters) - {"fn"} - more == set(options)
    assert Task(lambda x: x, cache_key_fn=lambda context, given: "k").with_options(retries=1).cache_key_fn is not None


def test_settings_stand_for_retries_that_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("FLOW", "TASK"):
        monkeypatch.setenv(f"MILLRACE_{kind}_DEFAULT_RETRIES", "3")
        monkeypatch.setenv(f"MILLRACE_{kind}_DEFAULT_RETRY_DELAY_SECONDS", "0.5")
    settings.current.cache_clear()
    try:
        made: Any
        for made in (flow(lambda: 1), task(lambda: 1)):
            assert (made.retries, made.retry_delay_seconds) == (3, 0.5)
        for made in (
            flow(retries=0, retry_delay_seconds=0)(lambda: 1),
            task(retries=0, retry_delay_seconds=0)(lambda: 1),
        ):
            assert (made.retries, made.retry_delay_seconds) == (0, 0)
    finally:
        monkeypatch.undo()
        settings.current.cache_clear()


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
    # None is what it is to the constructor, as with tasks
    bare = first.with_options(
        name=None, retries=None, timeout_seconds=None, version=None, persist_result=None, validate_parameters=None
    )
    assert (bare.name, bare.retries, bare.timeout_seconds, bare.persist_result) == ("unknown-lambda", 0, None, None)
    assert bare.version != "v" and bare.should_validate_parameters is True
    assert task(retries=2)(lambda: 1).with_options(retries=None, cache_result_in_memory=None).retries == 0
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


@pytest.mark.parametrize("given", [None, 5, ["a"]])
def test_tags_are_texts(given: Any) -> None:
    with pytest.raises(TypeError, match="tags are texts; got"), tags("a", given):
        pass


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
