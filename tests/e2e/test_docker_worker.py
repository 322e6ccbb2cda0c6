"""A docker worker on a real engine: states, logs, limits, cancellation, and containers that outlive their worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boxes import POOL, WAIT, Boxes, open_boxes

from millrace.errors import InvalidInput
from millrace.schema.states import SetState, StateType, named
from promises import CANCELLED_WITHIN, Promise


@pytest.fixture
def boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boxes]:
    yield from open_boxes(tmp_path, monkeypatch)


def test_a_run_in_a_container(boxes: Boxes) -> None:
    made = boxes.deployment(
        "from pathlib import Path\n"
        "@flow(log_prints=True)\n"
        "def job(n: int = 1):\n"
        "    print('in a box', n, os.environ['COLOUR'], os.path.exists('/.dockerenv'))\n"
        "    os.write(1, b'a raw line\\n')\n"
        "    note('ran', memory=Path('/sys/fs/cgroup/memory/memory.limit_in_bytes').exists())\n",
        job_variables={"env": {"COLOUR": "green"}, "mem_limit": "512m", "cpus": 0.5, "labels": {"team": "data"}},
    )
    worker = boxes.start_worker(pool=POOL)
    run = boxes.wait(boxes.run(made, n=7), seconds=WAIT)
    assert run.state_type is StateType.COMPLETED, boxes.said("worker")
    boxes.until(lambda: not boxes.containers(run))
    lines = [line.message for line in boxes.logs(run)]
    assert "in a box 7 green True" in lines
    boxes.until(lambda: "a raw line" in [line.message for line in boxes.logs(run)])
    assert len(boxes.entries(run, "ran")) == 1
    assert run.infrastructure_pid
    assert worker.poll() is None


def test_what_is_asked_of_the_engine_is_what_the_container_has(boxes: Boxes) -> None:
    made = boxes.deployment(
        "@flow\ndef job():\n    note('began')\n    time.sleep(300)\n",
        job_variables={"mem_limit": "256m", "cpus": 1.5, "labels": {"team": "data"}, "auto_remove": False},
    )
    boxes.start_worker(pool=POOL)
    run = boxes.run(made)
    boxes.until(lambda: boxes.entries(run, "began"), seconds=WAIT)
    (container,) = boxes.containers(run)
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["Init"]) == (256 * 2**20, 1_500_000_000, True)
    assert container.labels["team"] == "data" and container.labels["io.prefect.flow-run-id"] == str(run.id)
    assert not any(bind.split(":")[0] == str(boxes.home) for bind in host["Binds"]), "the database is not mounted"
    promise = Promise(CANCELLED_WITHIN)
    boxes.client.set_flow_run_state(run.id, SetState(state=named("Cancelling")))
    ended = boxes.wait(run, seconds=10 * CANCELLED_WITHIN)
    promise.kept()
    assert ended.state_type is StateType.CANCELLED
    assert ended.state is not None and "container is gone" in str(ended.state.message)
    (container,) = boxes.containers(run)
    assert container.status == "exited", "auto_remove=False keeps it"


def test_too_much_memory_an_exit_and_a_missing_image_are_told_apart(boxes: Boxes) -> None:
    hungry = boxes.deployment(
        "@flow\ndef job():\n    b'x' * 400_000_000\n", name="hungry", job_variables={"mem_limit": "200m"}
    )
    leaves = boxes.deployment("@flow\ndef job():\n    os._exit(3)\n", name="leaves")
    nowhere = boxes.deployment(
        "@flow\ndef job():\n    pass\n", name="nowhere", job_variables={"image": "127.0.0.1:9/no/such:image"}
    )
    refused = boxes.deployment(
        "@flow\ndef job():\n    pass\n", name="refused", job_variables={"container_create_kwargs": {"nope": 1}}
    )
    with pytest.raises(InvalidInput, match="mem_limit"):
        boxes.deployment("@flow\ndef job():\n    pass\n", name="size", job_variables={"mem_limit": "lots"})
    boxes.start_worker(pool=POOL)
    runs = [boxes.run(one) for one in (hungry, leaves, nowhere, refused)]
    first, second, third, fourth = (boxes.wait(run, seconds=WAIT).state for run in runs)
    assert first is not None and second is not None and third is not None and fourth is not None
    assert (
        fourth.type is StateType.CRASHED
        and "could not be started: The settings of the container cannot be used" in str(fourth.message)
    )
    assert first.type is StateType.CRASHED and "limit of 200 MiB of memory (exit code 137)" in str(first.message)
    assert second.type is StateType.CRASHED and "exited with code 3" in str(second.message)
    assert third.type is StateType.CRASHED and "'127.0.0.1:9/no/such:image' could not be pulled" in str(third.message)
    boxes.until(lambda: not any(boxes.containers(run) for run in runs))


def test_settings_that_cannot_be_asked_for_crash_the_run(boxes: Boxes) -> None:
    odd: list[dict[str, Any]] = [{"container_create_kwargs": {"nope": 1}}, {"command": '"'}]
    made = [
        boxes.deployment("@flow\ndef job():\n    pass\n", name=f"odd-{number}", job_variables=one)
        for number, one in enumerate(odd)
    ]
    boxes.start_worker(pool=POOL)
    for run in [boxes.run(one) for one in made]:
        over = boxes.wait(run, seconds=WAIT)
        assert over.state_type is StateType.CRASHED and over.state is not None
        assert "could not be started: The settings of the container cannot be used" in str(over.state.message)


def test_hooks_of_a_container_that_was_killed_are_called_in_another(boxes: Boxes) -> None:
    made = boxes.deployment(
        "def noted(flow, run, state):\n    note('hook', state=state.name, place=os.uname().nodename)\n"
        "@flow(on_crashed=[noted], on_failure=[noted])\n"
        "def job():\n    note('began', place=os.uname().nodename)\n    time.sleep(300)\n",
        job_variables={"auto_remove": False},
    )
    boxes.start_worker(pool=POOL)
    run = boxes.run(made)
    boxes.until(lambda: boxes.entries(run, "began"), seconds=WAIT)
    (container,) = boxes.containers(run)
    container.kill()
    assert boxes.wait(run, seconds=WAIT).state_type is StateType.CRASHED
    boxes.until(lambda: boxes.entries(run, "hook"), seconds=WAIT)
    boxes.until(lambda: not (boxes.home / "runs" / str(run.id) / "job.json").exists(), seconds=WAIT)
    (entry,) = boxes.entries(run, "hook")
    assert entry["state"] == "Crashed"
    assert len(boxes.containers(run)) == 2
    assert {one.status for one in boxes.containers(run)} == {"exited"}


def test_a_container_outlives_its_worker_and_the_next_one_takes_it_over(boxes: Boxes) -> None:
    made = boxes.deployment(
        "@flow(log_prints=True)\n"
        "def job():\n"
        "    note('began')\n"
        "    while not os.path.exists(LEDGER + '.go'):\n"
        "        time.sleep(0.1)\n"
        "    os.write(1, b'the last line\\n')\n"
        "    note('ended')\n"
    )
    worker = boxes.start_worker(pool=POOL)
    run = boxes.run(made)
    boxes.until(lambda: boxes.entries(run, "began"), seconds=WAIT)
    boxes.kill(worker)
    boxes.start_worker(pool=POOL)
    time.sleep(2)
    Path(f"{boxes.ledger_file}.go").touch()
    ended = boxes.wait(run, seconds=WAIT)
    assert ended.state_type is StateType.COMPLETED, boxes.said("worker")
    boxes.until(lambda: not boxes.containers(run))
    assert [entry["what"] for entry in boxes.entries(run)] == ["began", "ended"]
    boxes.until(lambda: "the last line" in [line.message for line in boxes.logs(run)])


def test_a_worker_of_another_type_is_refused(boxes: Boxes) -> None:
    worker = boxes.start_worker(pool=POOL, kind="process")
    assert worker.wait(30) != 0
    assert "a process worker cannot serve it" in boxes.said("worker")
