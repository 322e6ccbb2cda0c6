"""Runs that are cancelled and whose code does not stop: it blocks on a thread, swallows the interrupt, or cleans up."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from millrace import flow, runtime, task
from millrace.client.handle import RunHandle
from millrace.client.synchronous import Client
from millrace.engine import leases
from millrace.errors import RunCancelled
from millrace.schema.states import StateType

from .looking import last_run, log_lines, task_runs

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A keeper that asks more often than people are willing to wait for tests."""
    monkeypatch.setattr(leases, "MAX_PAUSE", 0.3)
    monkeypatch.setattr(leases, "STOP_SECONDS", 0.5)
    leases.keeper.cache_clear()
    yield
    leases.keeper.cache_clear()


class Cancels:
    """Cancels a run, from another thread, as soon as its code has begun."""

    def __init__(self) -> None:
        self.begun: list[UUID] = []
        self.thread = threading.Thread(target=self._cancel)
        self.thread.start()

    def begins(self) -> None:
        self.begun.append(UUID(str(runtime.flow_run.id)))

    def _cancel(self) -> None:
        while not self.begun:
            time.sleep(0.05)
        time.sleep(0.3)
        RunHandle(self.begun[0]).cancel()


def on_a_thread(call: Callable[[], Any]) -> BaseException | None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(100)
    assert not thread.is_alive()
    return raised[0] if raised else None


def test_code_that_waits_on_a_thread_goes_on_when_what_it_waits_for_is_ended(client: Client) -> None:
    cancels = Cancels()

    @task
    def loops() -> None:
        while True:
            time.sleep(0.05)

    @flow(name="waits on a thread")
    def waits() -> None:
        loops.submit()
        cancels.begins()
        subprocess.run([sys.executable, "-c", "import time; time.sleep(300)"], check=False)

    began = time.monotonic()
    assert isinstance(on_a_thread(waits), RunCancelled)
    assert time.monotonic() - began < 60
    run = last_run(client, "waits on a thread")
    assert run.state_type is StateType.CANCELLED
    assert any(line.startswith("Told to stop") for line in log_lines(client, run))
    assert not any("Stopped:" in line for line in log_lines(client, run))
    assert [one.state_type for one in task_runs(client, run).values()] == [StateType.CANCELLED]


def test_a_swallowed_interrupt_comes_again_and_stands_in_the_log(client: Client) -> None:
    cancels, swallowed = Cancels(), []
    started: list[subprocess.Popen[bytes]] = []

    @flow(name="swallows")
    def swallows() -> str:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]))
        cancels.begins()
        while len(swallowed) < 3:
            try:
                time.sleep(100)
            except:  # noqa: E722
                swallowed.append(time.monotonic())
        return "to its end"

    assert swallows() == "to its end"
    started[0].wait(30)
    lines = log_lines(client, last_run(client, "swallows"))
    assert any("swallowed the interrupt" in line for line in lines)
    assert "Told to stop (Cancelled by request.), its code went on to its end all the same." in lines


def test_code_that_cleans_up_is_not_interrupted_again(client: Client) -> None:
    cancels, cleaned = Cancels(), []

    class Cleans:
        def __enter__(self) -> None:
            return None

        def __exit__(self, *error: object) -> None:
            time.sleep(1.5)
            cleaned.append("with")

    @flow(name="cleans")
    def cleans() -> None:
        try:
            with Cleans():
                cancels.begins()
                time.sleep(100)
        finally:
            try:
                raise KeyError
            except KeyError:
                time.sleep(1.5)
                cleaned.append("except")
            time.sleep(1.5)
            cleaned.append("finally")

    with pytest.raises(RunCancelled):
        cleans()
    assert cleaned == ["with", "except", "finally"]
    assert last_run(client, "cleans").state_type is StateType.CANCELLED


def test_a_fault_in_the_keeper_of_leases_ends_no_lease(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    extend = leases.Keeper._extend
    faults = iter([RuntimeError("a fault")])

    def faulty(self: leases.Keeper, *args: Any) -> None:
        for fault in faults:
            raise fault
        extend(self, *args)

    monkeypatch.setattr(leases.Keeper, "_extend", faulty)
    cancels = Cancels()

    @flow(name="cancelled all the same")
    def main() -> None:
        cancels.begins()
        time.sleep(60)

    with caplog.at_level("ERROR"), pytest.raises(RunCancelled):
        main()
    assert "Leases could not be extended" in caplog.text
