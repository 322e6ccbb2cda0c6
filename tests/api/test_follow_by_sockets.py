"""Following a run where the server has the streams of the Prefect API and not ours, and where it has neither."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from millrace.client import ears, stream
from millrace.client.asynchronous import AsyncClient
from millrace.client.endpoint import Endpoint
from millrace.client.follow import Message, afollow, follow
from millrace.client.synchronous import Client
from millrace.jupyter.view import RunView
from millrace.schema.states import named

from .conftest import TOKEN, Running
from .test_follow import EXPECTED, begin, live, meanwhile, names, say, texts

NOWHERE = "/millrace/nothing-here"


@pytest.fixture
def client(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    # a real server, asked at a path where it has nothing, is one without our stream
    monkeypatch.setattr(stream, "PATH", NOWHERE)
    with Client(Endpoint(running.url, None, TOKEN)) as found:
        yield found


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "EVENTS", NOWHERE)
    monkeypatch.setattr(ears, "LOGS", NOWHERE)


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "millrace-ear"]


def count_questions(client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the run itself was asked for."""
    times: list[float] = []
    ask = client.read_flow_run

    def read(*args: object) -> object:
        times.append(time.monotonic())
        return ask(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "read_flow_run", read)
    return lambda: len(times)


def check(found: list[Message]) -> None:
    """All of the run, each thing once and the lines in their order."""
    assert texts(found) == EXPECTED
    assert names(found).count("prefect.flow-run.Completed") == 1
    assert names(found).count("prefect.task-run.Completed") == 1
    assert "prefect.flow-run.Running" in names(found)


def test_the_sockets_tell_the_run(client: Client) -> None:
    run = begin(client)
    with meanwhile(live(client, run)):
        check(list(follow(client, run.id, poll=0.2)))


def test_a_view_is_the_same_by_either_way(client: Client) -> None:
    run = begin(client)
    view = RunView(str(run.id))
    with meanwhile(live(client, run)):
        for message in follow(client, run.id, poll=0.2):
            view.apply(message)
    assert (view.state, view.done, view.counts()) == ("Completed", True, {"Completed": 1})
    assert sorted(line.text for line in view.lines) == sorted(EXPECTED)


def test_what_speaks_is_asked_less(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(client)
    asked = count_questions(client, monkeypatch)
    coming: list[Message] = []
    thread = threading.Thread(target=lambda: coming.extend(follow(client, run.id, poll=0.1)), daemon=True)
    thread.start()

    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    # the stream of events tells of the run's beginning; once it has spoken, nobody asks for five seconds
    until(lambda: asked() >= 2)
    time.sleep(1.0)
    before = asked()
    time.sleep(1.5)
    assert asked() - before <= 1
    live(client, run)()
    thread.join(20)
    assert not thread.is_alive()
    assert asked() > before


def test_where_the_sockets_are_refused_everything_is_asked_for(client: Client, refused: None) -> None:
    run = begin(client)
    with meanwhile(live(client, run)):
        check(list(follow(client, run.id, poll=0.1)))


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_lines_of_before_the_stream_was_open_come_before_its_own(
    running: Running, client: Client, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    run = begin(client)
    asked, said = threading.Event(), threading.Event()
    introduce, heard = ears.Ear._introduce, stream.Asking.heard
    spoke: list[ears.Ear] = []
    expected = ["before"]

    def late(self: ears.Ear, socket: object) -> None:
        assert said.wait(20)
        introduce(self, socket)
        if self.path == ears.LOGS:
            spoke.append(self)

    def notice(self: stream.Asking, found: Iterable[ears.Heard]) -> list[Message]:
        asked.set()
        return heard(self, found)

    def act() -> None:
        assert asked.wait(20)
        say(client, run, "before")
        said.set()
        deadline = time.monotonic() + 20
        while not (spoke and spoke[0].speaks):
            assert time.monotonic() < deadline
            expected.append(f"after {len(expected)}")
            say(client, run, expected[-1])
            time.sleep(0.05)
        client.set_flow_run_state(run.id, named("Completed"))

    async def watch() -> list[Message]:
        async with AsyncClient(Endpoint(running.url, None, TOKEN)) as other:
            return [message async for message in afollow(other, run.id, poll=2)]

    monkeypatch.setattr(ears.Ear, "_introduce", late)
    monkeypatch.setattr(stream.Asking, "heard", notice)
    with meanwhile(act):
        found = list(follow(client, run.id, poll=2)) if colour == "sync" else asyncio.run(watch())
    assert texts(found) == expected


def test_nobody_listens_afterwards(client: Client) -> None:
    run = begin(client)
    messages = follow(client, run.id, poll=0.1)
    next(messages)
    assert listeners()
    messages.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while listeners():
        assert time.monotonic() < deadline, listeners()
        time.sleep(0.1)


def test_async(running: Running, client: Client) -> None:
    run = begin(client)

    async def watch() -> list[Message]:
        async with AsyncClient(Endpoint(running.url, None, TOKEN)) as other:
            return [message async for message in afollow(other, run.id, poll=0.2)]

    with meanwhile(live(client, run)):
        check(asyncio.run(watch()))


def test_a_wrong_token_is_a_refusal(running: Running, client: Client) -> None:
    run = begin(client)
    heard = ears.Ears(Endpoint(running.url, None, "somebody:else"), run.id)
    try:
        deadline = time.monotonic() + 20
        while not (heard.events.refused and heard.logs.refused):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        heard.close()
    say(client, run, "unheard")
    assert heard.heard() == []
