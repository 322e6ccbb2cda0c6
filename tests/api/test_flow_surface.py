"""What `@flow` and `Flow` promise, through the public names, against the embedded server."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from millrace import FlowRunContext, flow, get_run_logger, tags, task
from millrace.client.synchronous import Client
from millrace.errors import InvalidInput, ParameterError, RunCancelled, RunFailed, RunTimedOut, UpstreamFailed
from millrace.schema.runs import FlowRun, FlowRunCreate
from millrace.schema.states import StateType, named

from .looking import last_run, log_lines, names, runs_of, task_runs


def claimed(client: Client, name: str, **fields: Any) -> FlowRun:
    made = client.create_flow(name=name)
    return client.read_flow_run(
        client.create_flow_run(FlowRunCreate(flow_id=made.id, state=named("Pending"), **fields)).id
    )


# -- parameters


@pytest.mark.parametrize("levels", [130, 200, 201, 260, 600])
def test_a_deep_parameter_reaches_the_function(client: Client, levels: int) -> None:
    @flow(name="deep", validate_parameters=False)
    def deep(value: Any) -> Any:
        return value

    value: Any = 1
    for _ in range(levels):
        value = [value]
    assert deep(value) is value
    assert last_run(client, "deep").parameters == {"value": value if levels <= 200 else "<list>"}


# -- names


def test_a_name_that_asks_about_the_run(client: Client) -> None:
    seen: list[str] = []

    def name(parameters: dict[str, Any]) -> str:
        context = FlowRunContext.get()
        assert context is not None
        seen.append(str(context.flow_run.id))
        return f"{context.flow.name} number {parameters['n']}"

    @flow(name="asking", flow_run_name=name)
    def asking(n: int) -> str:
        context = FlowRunContext.get()
        assert context is not None
        return context.flow_run.name

    assert asking("4") == "asking number 4"
    run = last_run(client, "asking")
    assert (run.name, seen) == ("asking number 4", [str(run.id)])
    run = claimed(client, "asking", parameters={"n": "5"})
    assert asking.run_claimed(run, None, client).type is StateType.COMPLETED
    assert client.read_flow_run(run.id).name == "asking number 5"


def test_a_name_with_formats_of_checked_values(client: Client) -> None:
    @flow(name="daily", flow_run_name="on {day:%A} with {share:.0%} of {what}")
    def daily(day: Any, share: float, what: str = "it") -> None: ...

    import datetime  # noqa: PLC0415 - not to become an annotation above

    daily(datetime.date(2026, 11, 21), "0.5")
    assert last_run(client, "daily").name == "on Saturday with 50% of it"


def test_a_name_that_cannot_be_made_fails_the_run(client: Client) -> None:
    def name() -> str:
        raise KeyError("no name")

    @flow(name="nameless", flow_run_name=name)
    def nameless() -> None: ...

    with pytest.raises(KeyError, match="no name"):
        nameless()
    assert last_run(client, "nameless").state_type is StateType.FAILED


# -- hooks


@pytest.mark.parametrize("colour", ["def", "async def"])
def test_hooks_read_the_result_and_the_exception(client: Client, colour: str) -> None:
    told: list[Any] = []
    wrong = ValueError("the original")

    def note(flow_: Any, run: FlowRun, state: Any) -> None:
        told.append(state.result(raise_on_failure=False))

    def body(fail: bool) -> int:
        if fail:
            raise wrong
        return 8

    async def abody(fail: bool) -> int:
        return body(fail)

    made: Any = flow(name=f"told {colour}", on_completion=[note], on_failure=[note], cache_result_in_memory=False)(
        body if colour == "def" else abody  # type: ignore[arg-type]
    )
    call = made if colour == "def" else lambda fail: asyncio.run(made(fail))
    assert call(False) == 8
    with pytest.raises(ValueError, match="the original"):
        call(True)
    assert told == [8, wrong]


@pytest.mark.parametrize("colour", ["def", "async def"])
@pytest.mark.parametrize("ending", ["on_completion", "on_failure", "on_cancellation", "on_crashed"])
def test_hooks_on_every_way_out(client: Client, colour: str, ending: str) -> None:
    seen: list[tuple[Any, ...]] = []
    name = f"{colour} {ending}"

    def note(flow_: Any, run: FlowRun, state: Any) -> None:
        get_run_logger().info("hook of %s", run.name)
        seen.append((flow_.name, run.id, state.type, run.state_type))

    async def anote(flow_: Any, run: FlowRun, state: Any) -> None:
        await asyncio.sleep(0)
        note(flow_, run, state)

    def bad(flow_: Any, run: FlowRun, state: Any) -> None:
        raise ValueError("in a hook")

    async def abad(flow_: Any, run: FlowRun, state: Any) -> None:
        raise ValueError("in an async hook")

    def leaves(flow_: Any, run: FlowRun, state: Any) -> None:
        sys.exit(4)

    async def aleaves(flow_: Any, run: FlowRun, state: Any) -> None:
        sys.exit(5)

    raised = {"on_failure": KeyError("k"), "on_cancellation": RunCancelled("stop"), "on_crashed": SystemExit(3)}

    def body() -> int:
        if ending in raised:
            raise raised[ending]
        return 1

    async def abody() -> int:
        return body()

    made = flow(name=name, on_running=[bad, leaves, note])(body if colour == "def" else abody)  # type: ignore[arg-type]
    for hook in (bad, leaves, note, abad, aleaves, anote):
        assert getattr(made, ending)(hook) is hook
    try:
        answer: Any = made()
        found = asyncio.run(answer) if colour == "async def" else answer
        assert (ending, found) == ("on_completion", 1)
    except BaseException as error:
        assert error is raised.get(ending), error
    run = last_run(client, name)
    final = {"on_completion": "COMPLETED", "on_failure": "FAILED", "on_cancellation": "CANCELLED"}.get(
        ending, "CRASHED"
    )
    running = (name, run.id, StateType.RUNNING, StateType.RUNNING)
    ended = (name, run.id, StateType(final), StateType(final))
    assert seen == [running, ended, ended]
    assert run.state_type == final
    said = "\n".join(log_lines(client, run))
    assert said.count(f"hook of {run.name}") == 3
    assert "ValueError: in a hook" in said and "ValueError: in an async hook" in said
    assert said.count("SystemExit: 4") == 2 and "SystemExit: 5" in said


@pytest.mark.parametrize("colour", ["def", "async def"])
def test_hooks_of_a_run_that_is_cancelled_from_elsewhere(client: Client, colour: str) -> None:
    seen: list[Any] = []
    begun = threading.Event()
    name = f"{colour} cancelled elsewhere"

    def body() -> None:
        begun.set()
        time.sleep(60)

    async def abody() -> None:
        begun.set()
        await asyncio.sleep(60)

    made = flow(name=name, on_cancellation=[lambda f, r, s: seen.append((r.state_type, s.type))])(
        body if colour == "def" else abody  # type: ignore[arg-type]
    )

    def cancel() -> None:
        begun.wait(60)
        client.set_flow_run_state(last_run(client, name).id, state={"type": "CANCELLING"})

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(RunCancelled):
        answer: Any = made()
        if colour == "async def":
            asyncio.run(answer)
    thread.join()
    assert seen == [(StateType.CANCELLED, StateType.CANCELLED)]


def test_hooks_of_each_try(client: Client) -> None:
    seen: list[str] = []

    @flow(name="tries", retries=2)
    def tries() -> None:
        raise ValueError

    tries.on_running(lambda f, r, s: seen.append(f"{s.name} {r.run_count}"))
    tries.on_failure(lambda f, r, s: seen.append(s.name))
    with pytest.raises(ValueError):
        tries()
    assert seen == ["Running 1", "Retrying 2", "Retrying 3", "Failed"]


# -- methods


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @flow(name="method")
    def sell(self, what: str) -> str:
        return f"{self.name} sells {what}"

    @flow(name="async method")
    async def asell(self, what: str) -> str:
        return f"{self.name} sells {what}"

    @flow(name="class above")
    @classmethod
    def above(cls, n: int) -> tuple[str, int]:
        return cls.__name__, n

    @classmethod
    @flow(name="class below")
    def below(cls, n: int) -> tuple[str, int]:
        return cls.__name__, n

    @flow(name="static above")
    @staticmethod
    def static_above(n: int) -> int:
        return n

    @staticmethod
    @flow(name="static below")
    def static_below(n: int) -> int:
        return n

    @task
    def pick(self, what: str) -> str:
        return f"{self.name} picks {what}"

    @flow(name="method items")
    def items(self, n: int) -> Any:
        for number in range(n):
            yield self.name, number


class Corner(Shop):
    @flow(name="method")
    def sell(self, what: str) -> str:
        return "corner: " + super().sell(what)


def test_methods(client: Client) -> None:
    a, b = Shop("a"), Shop("b")
    first, second = a.sell, b.sell
    assert (first("tea"), second("tea"), first("rum")) == ("a sells tea", "b sells tea", "a sells rum")
    assert last_run(client, "method").parameters == {"what": "rum"}
    assert first.ismethod and not Shop.sell.ismethod
    assert list(first.parameters["properties"]) == ["what"]
    assert first.with_options(retries=1)("x") == "a sells x"
    assert first.serialize_parameters({"what": a}) == {"what": "<Shop>"}
    assert asyncio.run(b.asell("tea")) == "b sells tea"
    assert Corner("c").sell("tea") == "corner: c sells tea"
    picks = a.pick, b.pick
    assert [pick("x") for pick in picks] == ["a picks x", "b picks x"]
    assert list(b.items("2")) == [("b", 0), ("b", 1)]
    threads = [threading.Thread(target=lambda shop: results.append(shop.sell("x")), args=(one,)) for one in (a, b) * 3]
    results: list[str] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["a sells x"] * 3 + ["b sells x"] * 3


def test_class_methods_and_static_methods(client: Client) -> None:
    anything: Any = Corner
    assert anything.above("3") == anything.below("3") == anything("x").above(3) == ("Corner", 3)
    assert Shop.above.with_options(name="other above")(1) == ("Shop", 1)  # type: ignore[call-arg, arg-type]
    for name in ("class above", "class below", "other above"):
        assert set(last_run(client, name).parameters) == {"n"}
    assert anything.static_above("3") == anything("x").static_below("3") == 3
    assert Shop.above.isclassmethod and Shop.static_above.isstaticmethod
    with pytest.raises(ParameterError, match="n: missing"):
        anything.above()


# -- calls, states and flows in flows


def test_a_call_whose_arguments_do_not_fit_has_a_state_if_it_is_asked_for(client: Client) -> None:
    heard: list[Any] = []

    @flow(name="unfit", retries=2, on_failure=[lambda flow, run, state: heard.append(state.name)])
    def unfit(n: int) -> None: ...

    @flow(name="unfit async")
    async def aunfit(n: int) -> None: ...

    @flow(name="calls unfit")
    def outer() -> tuple[str, str]:
        return unfit("x", return_state=True).name, "goes on"

    with pytest.raises(ParameterError, match="n: "):
        unfit("x")  # type: ignore[arg-type]
    assert not runs_of(client, "unfit")
    for state in (unfit("x", return_state=True), asyncio.run(aunfit("x", return_state=True))):
        assert state.is_failed() and "got 'x'" in state.message
        assert isinstance(state.result(raise_on_failure=False), ParameterError)
        with pytest.raises(ParameterError, match="got 'x'"):
            state.result()
    (run,) = runs_of(client, "unfit")
    assert (run.state_type, run.parameters, run.run_count, heard) == (StateType.FAILED, {"n": "x"}, 0, ["Failed"])
    assert last_run(client, "unfit async").state_type is StateType.FAILED
    assert outer() == ("Failed", "goes on")
    with pytest.raises(ParameterError, match="missing"):
        unfit(return_state=True)


def test_what_a_call_gives(client: Client) -> None:
    @flow(name="plain")
    def plain(n: int, fail: bool = False) -> int:
        if fail:
            raise ValueError("no")
        return n + 1

    assert plain.fn(1) == 2 and not runs_of(client, "plain"), "the function itself makes no run"
    state = plain(1, return_state=True)
    assert (state.type, state.result()) == (StateType.COMPLETED, 2)
    state = plain(1, fail=True, return_state=True)
    assert isinstance(state.result(raise_on_failure=False), ValueError)
    with pytest.raises(ValueError, match="no"):
        state.result()

    async def awaits() -> Any:
        return await plain(1)  # type: ignore[misc]

    with pytest.raises(TypeError, match="await"):
        asyncio.run(awaits())


def test_a_def_flow_cannot_give_a_coroutine(client: Client) -> None:
    @flow(name="inner async")
    async def inner() -> int:
        return 1

    @flow(name="forgot await")
    def forgot() -> Any:
        return inner()

    with pytest.raises(InvalidInput, match="'forgot await' is a `def` and returned a coroutine"):
        forgot()
    assert not runs_of(client, "inner async")
    assert last_run(client, "forgot await").state_type is StateType.FAILED


def test_flows_in_flows(client: Client) -> None:
    @task
    def one() -> int:
        return 1

    @task
    def broken() -> int:
        raise ValueError("upstream")

    @flow(name="child flow")
    def child(n: int) -> int:
        return n * 10

    @flow(name="async child")
    async def achild(n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    @flow(name="parent flow")
    async def parent() -> Any:
        with tags("a", "b"):
            first = one.submit()
            with tags("c"):
                value = child(first, wait_for=[[first]])
        gathered = await asyncio.gather(*(achild(n) for n in range(3)))
        failed = broken.submit()
        with pytest.raises(RunFailed, match="did not complete"):
            child(1, wait_for=[failed])
        return value, gathered, child(2, return_state=True).result()

    assert asyncio.run(parent()) == (10, [0, 1, 2], 20)
    run, inner = last_run(client, "parent flow"), runs_of(client, "child flow")[-1]
    assert (inner.tags, run.tags) == (["a", "b", "c"], [])
    standing = task_runs(client, run)
    assert {name for name in standing if "child" in name} == {
        "child flow-0", "child flow-1", "async child-0", "async child-1", "async child-2"
    }  # fmt: skip
    stand_in = standing["child flow-0"]
    assert stand_in.id == inner.parent_task_run_id
    assert {one.id for one in stand_in.task_inputs["n"]} == {standing["one-0"].id}
    assert {one.id for one in stand_in.task_inputs["wait_for"]} == {standing["one-0"].id}


@pytest.mark.parametrize("colour", ["def", "async def"])
def test_a_flow_whose_upstream_failed_is_not_run(client: Client, colour: str) -> None:
    wrong = ValueError("no rows")

    @task
    def fails() -> None:
        raise wrong

    def body(rows: Any = None) -> None:
        pytest.fail("it ran")

    async def abody(rows: Any = None) -> None:
        body()

    inner: Any = flow(name=f"left out {colour}")(body if colour == "def" else abody)  # type: ignore[arg-type]

    @flow(name="around what is left out")
    async def around() -> None:
        async def call(*args: Any, **options: Any) -> Any:
            answer = inner(*args, **options)
            return await answer if colour == "async def" else answer

        failed = fails.submit()
        with pytest.raises(UpstreamFailed, match="upstream 'fails-0' did not complete: Failed"):
            await call(wait_for=[failed])
        for state in (await call(failed, return_state=True), await call(wait_for=failed, return_state=True)):
            assert (state.type, state.name) == (StateType.PENDING, "NotReady")
            with pytest.raises(UpstreamFailed, match="'fails-0' did not complete: Failed") as caught:
                state.result()
            assert caught.value.__cause__ is wrong
        after = await call(wait_for=[state], return_state=True)
        assert after.message == f"a state that was passed was not run: {caught.value}"

    asyncio.run(around())
    assert client.read_flow_runs(flows={"name": {"any_": [f"left out {colour}"]}}) == []


def test_a_time_limit_and_code_that_does_not_yield(client: Client) -> None:
    @flow(name="busy", timeout_seconds=0.3)
    def busy() -> None:
        while True:
            math.sqrt(2)

    @flow(name="within a thread", timeout_seconds=0.3)
    def within() -> None:
        while True:
            time.sleep(0.01)

    begun = time.monotonic()
    with pytest.raises(RunTimedOut):
        busy()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(within(return_state=True)))
    thread.start()
    thread.join(60)
    assert found[0].name == "TimedOut" and time.monotonic() - begun < 40
    assert names(client, last_run(client, "busy"))[-1] == "TimedOut"


# -- parameters


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63, 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=6), st.lists(JSON, max_size=3))
@given_settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_value_reaches_the_function(client: Client, value: dict[str, Any], more: list[Any]) -> None:
    seen: list[Any] = []

    @flow(name="any json")
    def takes(value: dict[str, Any], /, *more: Any, **rest: Any) -> None:
        seen.append((value, more, rest))

    parameters = takes.serialize_parameters({"value": value, "more": tuple(more), "rest": value})
    state = takes.run_claimed(claimed(client, "any json", parameters=parameters), None, client)
    assert state.type is StateType.COMPLETED
    takes(value, *more, **value)
    assert seen == [(value, tuple(more), value)] * 2
    assert last_run(client, "any json").parameters == {"value": value, "more": more, "rest": value}


def test_parameters_may_have_any_name(client: Client) -> None:
    @flow(name="any name")
    def takes(self: int, cls: int, args: int = 0, /, flow: int = 0, **kwargs: int) -> Any:
        return self, cls, args, flow, kwargs

    assert takes(1, 2, flow=3, **{"self": 4, "parameters": 5}) == (1, 2, 0, 3, {"self": 4, "parameters": 5})
    assert last_run(client, "any name").parameters["kwargs"] == {"self": 4, "parameters": 5}


def test_values_without_a_form_in_json_are_named(client: Client) -> None:
    @flow(name="odd values", validate_parameters=False)
    def odd(a: Any, b: Any, c: Any) -> Any:
        return list(b), c(2)

    assert odd(object(), (n for n in [1, 2]), lambda n: n) == ([1, 2], 2)
    assert last_run(client, "odd values").parameters == {"a": "<object>", "b": "<generator>", "c": "<function>"}
