"""Results of flows, through the public names: kept, inherited, read back here, by the server and in another process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from buckets import bucket
from millrace import Client, CompressedSerializer, FlowRunContext, RunHandle, flow, settings, task
from millrace.engine.recorder import recorder
from millrace.errors import (
    InvalidInput,
    MissingResult,
    PluginMissing,
    RunFailed,
    SerializationError,
    StorageUnavailable,
    UnreadableResult,
)
from millrace.schema.runs import FlowRun, FlowRunCreate
from millrace.schema.states import State, StateType, named


@dataclass
class Order:
    id: int
    when: datetime


def last_run(client: Client, name: str) -> FlowRun:
    return client.read_flow_runs(flows={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_DESC", limit=1)[0]


def last_state(client: Client, name: str) -> State:
    state = last_run(client, name).state
    assert state is not None
    return state


def elsewhere(run: FlowRun, call: str = "result()", **variables: str) -> subprocess.CompletedProcess[str]:
    """Reads a run's result in another process, through the server."""
    program = f"import sys, json, millrace\nprint(repr(millrace.RunHandle(sys.argv[1]).{call}))"
    return subprocess.run(
        [sys.executable, "-c", program, str(run.id)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=100,
    )


# -- kept or not


def test_a_called_flow_keeps_nothing_unless_it_says_so(client: Client) -> None:
    @flow(name="says nothing")
    def silent() -> int:
        return 3

    state = silent(return_state=True)
    assert state.result() == 3 and state.data is None
    with pytest.raises(MissingResult, match=r"kept no result.*persist_result=True"):
        last_state(client, "says nothing").result()


def test_a_kept_result_is_read_from_the_servers_state_and_in_another_process(client: Client) -> None:
    @flow(name="keeps a table", persist_result=True)
    def keeps() -> Any:
        return {"table": pandas.DataFrame({"a": [1.5, 2]}), "share": numpy.float32(0.5), "day": datetime(2026, 1, 1)}

    keeps()
    found = last_state(client, "keeps a table").result()
    assert found["table"]["a"].tolist() == [1.5, 2]
    assert type(found["share"]) is numpy.float32 and found["day"] == datetime(2026, 1, 1)
    run = last_run(client, "keeps a table")
    assert RunHandle(run.id).result()["day"] == datetime(2026, 1, 1)
    done = elsewhere(run)
    assert "datetime.datetime(2026, 1, 1, 0, 0)" in done.stdout, done.stderr


def test_async_flows_keep_their_results_too(client: Client, tmp_path: Path) -> None:
    @flow(name="keeps async", result_storage=tmp_path)
    async def keeps() -> list[int]:
        await asyncio.sleep(0)
        return [1]

    assert asyncio.run(keeps()) == [1]
    assert last_state(client, "keeps async").result() == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_the_setting_keeps_what_does_not_say(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @flow(name="by setting")
    def plain() -> int:
        return 4

    @flow(name="against the setting", persist_result=False)
    def never() -> int:
        return 5

    for name, value in {"PERSIST": "true", "STORAGE": f"file://{tmp_path}", "SERIALIZER": "compressed/json"}.items():
        monkeypatch.setenv(f"MILLRACE_RESULTS_{name}", value)
    settings.current.cache_clear()
    try:
        plain()
        never()
    finally:
        monkeypatch.undo()
        settings.current.cache_clear()
    state = last_state(client, "by setting")
    assert state.data["storage_key"].startswith(str(tmp_path))
    assert state.data["serializer"]["type"] == "compressed/json"
    assert state.result() == 4
    assert last_state(client, "against the setting").data is None


def test_the_reference_is_what_the_wire_has(client: Client) -> None:
    @flow(name="refers", persist_result=True)
    def refers() -> int:
        return 1

    refers()
    data = last_state(client, "refers").data
    assert set(data) == {"storage_key", "expiration", "serializer", "prefect_version", "storage_block_id"}
    assert json.loads(Path(data["storage_key"]).read_text())["metadata"] == data


# -- inherited


def test_storage_and_serializer_pass_to_flows_within(client: Client, tmp_path: Path) -> None:
    @flow(name="inner inherits", persist_result=True)
    def inherits() -> int:
        return 1

    @flow(name="inner differs", result_storage=tmp_path / "own")
    def differs() -> int:
        return 2

    @flow(name="outer", result_storage=tmp_path / "outer", result_serializer="compressed/json")
    def outer() -> int:
        context = FlowRunContext.get()
        assert context is not None and context.results is not None
        assert context.results.storage.place == str(tmp_path / "outer")
        return int(inherits()) + int(differs())

    assert outer() == 3
    within = last_state(client, "inner inherits").data
    assert within["storage_key"].startswith(f"{tmp_path / 'outer'}/")
    assert within["serializer"]["type"] == "compressed/json"
    own = last_state(client, "inner differs").data
    assert own["storage_key"].startswith(f"{tmp_path / 'own'}/")
    assert own["serializer"]["type"] == "compressed/json"


def test_tasks_keep_theirs_where_the_flow_does_or_as_they_say(client: Client, tmp_path: Path) -> None:
    @task(persist_result=True)
    def inherits() -> Order:
        return Order(1, datetime(2026, 1, 1))

    @task(result_storage=tmp_path / "own", result_storage_key="day/{parameters[day]}", cache_result_in_memory=False)
    def named_key(day: str) -> list[str]:
        return [day]

    @task(persist_result=False)
    def forgets() -> int:
        return 1

    @flow(name="tasks keep", result_storage=tmp_path / "flow", result_serializer="compressed/json")
    def work() -> Any:
        state = named_key("monday", return_state=True)
        assert state.result() == ["monday"]
        return inherits(), named_key.submit("tuesday").result(), forgets()

    assert work() == (Order(1, datetime(2026, 1, 1)), ["tuesday"], 1)
    assert sorted(path.name for path in (tmp_path / "own" / "day").iterdir()) == ["monday", "tuesday"]
    recorder().flush()
    run = last_run(client, "tasks keep")
    found = client.read_task_runs(task_runs={"flow_run_id": {"any_": [run.id]}}, limit=20)
    states = {one.name: one.state for one in found}
    kept = next(state for name, state in states.items() if name.startswith("inherits"))
    assert kept is not None and kept.data["storage_key"].startswith(str(tmp_path / "flow"))
    assert kept.data["serializer"]["type"] == "compressed/json"
    assert kept.result() == Order(1, datetime(2026, 1, 1))
    lost = next(state for name, state in states.items() if name.startswith("forgets"))
    assert lost is not None and lost.data is None


# -- elsewhere


def test_results_in_a_bucket_are_read_by_another_process(client: Client) -> None:
    with bucket() as place:

        @flow(name="in a bucket", result_storage=f"{place}/runs")
        def work() -> Any:
            return {"order": [1, 2], "when": datetime(2026, 1, 1)}

        state = work.with_options(cache_result_in_memory=False)(return_state=True)
        assert state.data["storage_key"].startswith("s3://results/runs/")
        assert state.result()["order"] == [1, 2]
        run = last_run(client, "in a bucket")
        done = elsewhere(run)
        assert done.stdout == f"{work()!r}\n", done.stderr
        assert "canary" not in json.dumps(state.data) + repr(state) + repr(work)


# -- not in memory


def test_a_value_that_is_not_kept_in_memory_is_read_back(client: Client, tmp_path: Path) -> None:
    @flow(name="lean", cache_result_in_memory=False, result_storage=tmp_path)
    def lean() -> Order:
        made.append(Order(1, datetime(2026, 1, 1)))
        return made[0]

    made: list[Order] = []
    state = lean(return_state=True)
    assert state.result() == made[0] and state.result() is not made[0]
    assert lean() == made[0]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(MissingResult, match="is gone, or lies on another machine"):
        state.result()


def test_what_would_be_kept_nowhere_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidInput, match="would keep the result nowhere"):

        @flow(cache_result_in_memory=False, persist_result=False)
        def nowhere() -> None: ...


# -- pickles


def test_a_pickle_is_read_only_where_that_was_asked_for(client: Client) -> None:
    @flow(name="pickles", result_serializer="pickle")
    def pickles() -> Any:
        return lambda x: x + 1

    state = pickles.with_options(cache_result_in_memory=False)(return_state=True)
    assert state.result()(1) == 2, "the flow itself asked for pickles"
    stored = last_state(client, "pickles")
    with pytest.raises(UnreadableResult, match=r"is a pickle.*allow_pickle=True"):
        stored.result()
    assert stored.result(allow_pickle=True)(1) == 2
    run = last_run(client, "pickles")
    assert "allow_pickle=True" in elsewhere(run).stderr
    assert "function" in elsewhere(run, "result(allow_pickle=True)").stdout
    assert "function" in elsewhere(run, MILLRACE_RESULTS_SERIALIZER="pickle").stdout


def test_a_reference_that_says_pickle_executes_nothing(client: Client, tmp_path: Path) -> None:
    @flow(name="booby trap", result_serializer=CompressedSerializer("pickle"), result_storage=tmp_path)
    def trap() -> Any:
        return Bomb(str(tmp_path / "exploded"))

    trap()
    state = last_state(client, "booby trap")
    with pytest.raises(UnreadableResult, match="is a pickle"):
        state.result()
    # nor if the state lies about it: the record says what it is
    lying = state.model_copy(update={"data": {**state.data, "serializer": {"type": "json"}}})
    with pytest.raises(UnreadableResult, match="is a pickle"):
        lying.result()
    assert not (tmp_path / "exploded").exists()
    state.result(allow_pickle=True)
    assert (tmp_path / "exploded").exists()


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


# -- what goes wrong


def test_a_result_that_cannot_be_stored_fails_the_run_and_is_not_lost(client: Client) -> None:
    value = {"stream": iter(())}

    @flow(name="cannot keep", persist_result=True)
    def cannot() -> Any:
        return value

    with pytest.raises(SerializationError, match=r"the flow 'cannot keep', of type dict.*'stream'") as caught:
        cannot()
    assert caught.value.value is value
    state = last_state(client, "cannot keep")
    assert state.type is StateType.FAILED and "cannot be stored" in str(state.message)
    with pytest.raises(RunFailed, match="cannot be stored"):
        state.result()


def test_a_storage_that_cannot_be_written_fails_the_run_truthfully(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    @flow(name="no room", result_storage=tmp_path / "file")
    def work() -> int:
        return 42

    with pytest.raises(StorageUnavailable, match=r"/file cannot be used") as caught:
        work()
    assert caught.value.value == 42
    assert last_state(client, "no room").type is StateType.FAILED


def test_a_worker_that_was_not_asked_goes_on_without(client: Client, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").touch()

    @flow(name="goes on")
    def work() -> int:
        return 42

    monkeypatch.setenv("MILLRACE_RESULTS_STORAGE", str(tmp_path / "file"))
    settings.current.cache_clear()
    try:
        made = client.create_flow(name="goes on")
        run = client.create_flow_run(FlowRunCreate(flow_id=made.id, state=named("Pending")))
        assert work.run_claimed(run, None, client).is_completed()
    finally:
        monkeypatch.undo()
        settings.current.cache_clear()
    recorder().flush(logs=True)
    lines = [line.message for line in client.read_logs(logs={"flow_run_id": {"any_": [run.id]}}, limit=50)]
    assert any("was not kept: the directory of results" in line for line in lines), lines


def test_a_package_that_is_missing_is_said_before_anything_runs(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    @flow(name="far away", result_storage="gs://bucket/results")
    def far() -> None:
        ran.append(1)

    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(PluginMissing, match="pip install gcsfs"):
        far()
    assert not ran


def test_mistakes_show_where_they_are_written() -> None:
    for options, message in [
        ({"result_storage": "s3-bucket/prod"}, "neither a URL"),
        ({"result_storage": "s3://me:canary@bucket"}, "holds more than a place"),
        ({"result_storage": "foo://bucket/x"}, "fsspec knows no foo://"),
        ({"result_storage": "http://host/x"}, "can only be read"),
        ({"result_serializer": "yaml"}, "there is no serializer 'yaml'"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            flow(lambda: 1, **options)  # type: ignore[call-overload]


def state_of(**data: Any) -> State:
    return named("Completed", data={"serializer": {"type": "json"}, "expiration": None, **data})


def test_a_missing_expired_foreign_or_damaged_result_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingResult, match=r"/gone is gone.*another machine.*Run the flow again"):
        state_of(storage_key=str(tmp_path / "gone")).result()
    record = {"metadata": {"serializer": {"type": "json"}, "expiration": "2020-01-01T00:00:00Z"}, "result": "1"}
    (tmp_path / "old").write_text(json.dumps(record))
    with pytest.raises(MissingResult, match="old expired at 2020"):
        state_of(storage_key=str(tmp_path / "old")).result()
    (tmp_path / "torn").write_text("{")
    with pytest.raises(UnreadableResult, match=r"torn cannot be read as json: JSONDecodeError.*It is damaged"):
        state_of(storage_key=str(tmp_path / "torn")).result()
    with pytest.raises(UnreadableResult) as caught:
        state_of(storage_key="/etc/passwd").result()
    assert "root" not in str(caught.value)
    with pytest.raises(UnreadableResult, match="storage block of Prefect"):
        state_of(storage_key="x", storage_block_id="6f1d0d54-0000-0000-0000-000000000000").result()
    with pytest.raises(UnreadableResult, match=r"https://\*\*\*@evil.example/x, where this process does not keep"):
        state_of(storage_key="https://me:canary@evil.example/x").result()
    record["metadata"] = {"serializer": {"type": "mine"}}
    (tmp_path / "own").write_text(json.dumps(record))
    with pytest.raises(UnreadableResult, match="there is no serializer 'mine' here"):
        state_of(storage_key=str(tmp_path / "own")).result()
    with pytest.raises(InvalidInput, match="no key of a result"):
        state_of(storage_key="../../etc/passwd").result()


def test_a_class_that_is_not_imported_is_named(tmp_path: Path) -> None:
    text = json.dumps({"__class__": "shop.models.Order", "data": {"id": 1}})
    (tmp_path / "r").write_text(json.dumps({"metadata": {"serializer": {"type": "json"}}, "result": text}))
    with pytest.raises(UnreadableResult, match=r"holds a shop.models.Order.*import its module first"):
        state_of(storage_key=str(tmp_path / "r")).result()


def test_memory_is_of_one_process(client: Client) -> None:
    @flow(name="in memory", result_storage="memory://results")
    def work() -> int:
        return 6

    work()
    assert last_state(client, "in memory").result() == 6
    done = elsewhere(last_run(client, "in memory"))
    assert "known only to the process that wrote it" in done.stderr


def test_results_stay_until_somebody_deletes_them(client: Client) -> None:
    @flow(name="stays", persist_result=True)
    def stays() -> int:
        return 7

    stays()
    run = last_run(client, "stays")
    state = last_state(client, "stays")
    client.delete_flow_run(run.id)
    assert state.result() == 7
    assert datetime.now(UTC) - run.created < timedelta(minutes=5)
