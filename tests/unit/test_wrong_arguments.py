"""What people give by mistake is refused where they give it: the value, the place and what to write instead."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from millrace import (
    AsyncClient,
    Client,
    RunHandle,
    ThreadPoolTaskRunner,
    as_completed,
    concurrency,
    flow,
    resume_flow_run,
    task,
    wait,
)
from millrace.client.resuming import checked_interval, checked_timeout
from millrace.engine.process_runner import ProcessPoolTaskRunner
from millrace.engine.run_inputs import run_input_subclass_from_type
from millrace.errors import EntrypointError, InvalidInput
from millrace.loading import (
    is_entrypoint_async,
    load_flow_arguments_from_entrypoint,
    load_flow_from_flow_run,
    safe_load_flow_from_entrypoint,
)

anything: Any = None


def plain() -> None: ...


async def aplain() -> None: ...


def one(x: int) -> None: ...


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: RunHandle("nope"), InvalidInput, "'nope' is not the id of a run: it has 32 hex"),
        (lambda: resume_flow_run("x"), InvalidInput, "'x' is not the id of a flow run"),
        (lambda: list(as_completed([5])), TypeError, r"as_completed\(\) takes futures"),
        (lambda: wait([5]), TypeError, r"wait\(\) takes futures"),
        (lambda: concurrency(5), InvalidInput, "Names of concurrency limits are texts, not 5"),
        (lambda: concurrency("a", timeout_seconds=-1), InvalidInput, "timeout_seconds=-1: give a number of seconds"),
        (lambda: concurrency("a", timeout_seconds=math.nan), InvalidInput, "timeout_seconds=nan"),
        (lambda: ThreadPoolTaskRunner(max_workers="2"), TypeError, r"whole number or None; got '2' \(str\)"),
        (lambda: ProcessPoolTaskRunner(max_workers=1.5), TypeError, "whole number or None; got 1.5"),
        (lambda: load_flow_arguments_from_entrypoint(5), EntrypointError, "a text such as"),
        (lambda: is_entrypoint_async(5), EntrypointError, "a text such as"),
        (lambda: load_flow_from_flow_run(UUID(int=1)), InvalidInput, "is no flow run: give what"),
        (lambda: flow(timeout_seconds=math.inf)(plain), ValueError, "timeout_seconds must be at most 1,000,000,000"),
        (lambda: flow(retry_delay_seconds=math.inf)(plain), ValueError, "retry_delay_seconds must be at most"),
        (lambda: flow(timeout_seconds=math.nan)(plain), ValueError, "timeout_seconds must not be NaN"),
        (lambda: flow(timeout_seconds=-1)(plain), ValueError, "must not be negative; got -1"),
        (lambda: task(timeout_seconds=math.inf)(plain), ValueError, "timeout_seconds must be at most"),
        (lambda: task(retry_delay_seconds=[1, math.nan])(plain), ValueError, "must not be NaN"),
        (lambda: flow(plain).on_completion(5), TypeError, "on_completion must hold functions; got int"),
        (lambda: task(plain).on_failure("x"), TypeError, "on_failure must hold functions; got str"),
        (lambda: flow(name="x" * 1025)(plain), ValueError, "has 1,025 characters; a name has at most 1,024"),
        (lambda: flow(name="  ")(plain), ValueError, "is empty"),
        (lambda: flow(name="a\nb")(plain), ValueError, "a name is one line of text"),
        (lambda: flow(name="a\0b")(plain), ValueError, "a name is one line of text"),
        (lambda: flow(plain)(return_state="x"), TypeError, "return_state must be True or False; got 'x'"),
        (lambda: flow(aplain)(return_state=1), TypeError, "return_state must be True or False; got 1"),
        (lambda: task(plain)(return_state="x"), TypeError, "return_state must be True or False; got 'x'"),
        (lambda: task(plain).submit(return_state="x"), TypeError, "return_state must be True or False; got 'x'"),
        (lambda: task(plain).map(return_state="x"), TypeError, "return_state must be True or False; got 'x'"),
        (lambda: flow(plain)(wait_for=5), TypeError, r"wait_for takes futures and states.*; got 5 \(int\)"),
        (lambda: asyncio.run(flow(aplain)(wait_for=0)), TypeError, r"wait_for takes futures.*; got 0 \(int\)"),
        (lambda: task(plain)(wait_for="abc"), TypeError, r"wait_for takes futures.*; got 'abc' \(str\)"),
        (lambda: asyncio.run(task(aplain)(wait_for=plain)), TypeError, r"wait_for takes futures.* \(function\)"),
        (lambda: task(plain).submit(wait_for=5), TypeError, r"wait_for takes futures.*; got 5 \(int\)"),
        (lambda: task(one).map([1], wait_for=True), TypeError, r"wait_for takes futures.*; got True \(bool\)"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[], Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        call()


@pytest.mark.parametrize("value", ["x", -1, math.inf, math.nan, True])
def test_the_time_of_a_pause(value: Any) -> None:
    with pytest.raises(InvalidInput, match="a number of seconds from 0 to"):
        checked_timeout(value)
    assert checked_timeout(None) is None and checked_timeout(0.5) == 0.5


@pytest.mark.parametrize("value", ["x", -1, math.nan, True, None])
def test_the_interval_of_looks(value: Any) -> None:
    with pytest.raises(InvalidInput, match="poll_interval cannot be"):
        checked_interval(value)
    assert checked_interval(10) == 10 and checked_interval(0) > 0  # a server has others to answer


def test_what_is_no_entrypoint_loads_nothing() -> None:
    assert safe_load_flow_from_entrypoint(anything) is None


def test_names_and_limits_that_are_right() -> None:
    assert flow(name="x" * 1024)(plain).name == "x" * 1024
    assert flow(name="täglich 📈")(plain).name == "täglich 📈"
    assert flow(timeout_seconds=10**9)(plain).timeout_seconds == 1e9


def test_what_cannot_be_asked_for_is_told_in_a_line() -> None:
    with pytest.raises(InvalidInput, match=r"wait_for_input=5 is no type that can be asked for\. Take a") as caught:
        run_input_subclass_from_type(5)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("given", [(), (None,), ("http://127.0.0.1:4200/api",)])
def test_a_client_without_an_endpoint_says_what_gives_one(kind: Any, given: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"Endpoint.*millrace\.connect\(\).*await millrace\.aconnect\(\)"):
        kind(*given)
