"""What holds for workers of both kinds, with real processes and real containers: one body, a server and worker each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

import needs
from millrace.deployments.run import run_deployment
from millrace.errors import MillraceError
from millrace.schema.pools import WorkPoolUpdate
from millrace.schema.runs import FlowRun
from millrace.schema.states import SetState, StateType, named

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))


from boxes import WAIT, Boxes, open_boxes
from yard import Yard, open_yard

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=["process", "docker"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A server, and a worker of this kind."""
    open_ = open_yard if request.param == "process" else open_boxes
    with pytest.MonkeyPatch.context() as patch:
        for yard in open_(tmp_path_factory.mktemp(request.param), patch, MILLRACE_CANCEL_GRACE_SECONDS="2"):
            yard.deployment("@flow\ndef job():\n    pass\n", name="first")  # makes the pool
            yard.start_worker(name="keeper")
            yield yard


def left(place: Yard, run: FlowRun) -> list[object]:
    """What of a run is left: processes or containers."""
    return [*place.labelled(run), *(place.containers(run) if isinstance(place, Boxes) else [])]


def ended(place: Yard, run: FlowRun) -> FlowRun:
    """The run at its end, when nothing of it is left."""
    over = place.wait(run, seconds=WAIT)
    place.until(lambda: not left(place, run))
    place.until(lambda: not (place.home / "runs" / str(run.id) / "job.json").exists())
    return over


def test_job_variables_of_pool_deployment_and_run_come_together(place: Yard) -> None:
    template = place.client.read_work_pool(place.pool).base_job_template
    template["variables"]["properties"]["env"]["default"] = {"A": "pool", "B": "pool", "C": "pool"}
    place.client.update_work_pool(place.pool, WorkPoolUpdate(base_job_template=template))
    text = "@flow\ndef job(n: int = 1):\n    note('env', n=n, found=[os.environ.get(name) for name in 'ABCD'])\n"
    place.deployment(text, name="merged", job_variables={"env": {"B": "deployment", "C": "deployment"}})
    done = run_deployment("job/merged", parameters={"n": 4}, job_variables={"env.C": "run", "env.D": "run"})
    assert done.state_type is StateType.COMPLETED, place.output(done)
    (entry,) = place.entries(ended(place, done))
    assert (entry["n"], entry["found"]) == (4, ["pool", "deployment", "run", "run"])
    assert done.infrastructure_pid and (done.attempt, done.run_count) == (1, 1)


ENDINGS = {
    "fails": ("raise ValueError('bad input')", StateType.FAILED, "Failed", "ValueError: bad input"),
    "late": ("time.sleep(60)", StateType.FAILED, "TimedOut", "took longer than its time limit of 1 s"),
    "leaves": ("os._exit(3)", StateType.CRASHED, "Crashed", "exited with code 3"),
    "dies": ("os.kill(os.getpid(), signal.SIGKILL)", StateType.CRASHED, "Crashed", "was killed by signal 9"),
}


def test_how_a_run_ends_is_its_state_and_its_reason(place: Yard) -> None:
    runs = {}
    for name, (line, *_) in ENDINGS.items():
        limit = "(timeout_seconds=1)" if name == "late" else ""
        runs[name] = place.run(place.deployment(f"@flow{limit}\ndef job():\n    {line}\n", name=name))
    for name, (_, kind, word, reason) in ENDINGS.items():
        over = ended(place, runs[name])
        assert over.state is not None
        assert (over.state_type, over.state_name) == (kind, word), (name, over.state)
        assert reason in str(over.state.message), (name, over.state)


def test_a_crashed_run_is_tried_again_as_its_retries_say(place: Yard) -> None:
    text = (
        "@flow(retries=1)\ndef job():\n    note('begin')\n"
        "    if open(LEDGER).read().count(os.environ['MILLRACE__FLOW_RUN_ID']) == 1:\n        os._exit(1)\n"
    )
    over = ended(place, place.run(place.deployment(text, name="again")))
    assert over.state_type is StateType.COMPLETED, over.state
    assert [entry["attempt"] for entry in place.entries(over)] == [1, 2]


STUBBORN = """
@flow
def job(heeds: bool):
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    note("begin")
    while True:
        try:
            time.sleep(300)
        except BaseException:
            if heeds:
                note("cleaned up")
                raise
"""


@pytest.mark.parametrize("heeds", [True, False])
def test_a_cancelled_run_cleans_up_or_is_killed_and_nothing_of_it_is_left(place: Yard, heeds: bool) -> None:
    run = place.run(place.deployment(STUBBORN, name="stubborn"), heeds=heeds)
    place.until(lambda: place.entries(run, "begin"), WAIT)
    place.client.set_flow_run_state(run.id, SetState(state=named("Cancelling")))
    over = ended(place, run)
    assert over.state is not None and over.state_type is StateType.CANCELLED, over.state
    gone = "its container is gone" if isinstance(place, Boxes) else "processes are gone"
    assert f"The run was cancelled; its {gone.removeprefix('its ')}".split(";")[0] in str(over.state.message)
    assert gone in str(over.state.message)
    assert len(place.entries(run, "cleaned up")) == (1 if heeds else 0)


CGROUP = Path("/sys/fs/cgroup/memory")


def limited(name: str) -> str:
    """Lines by which a process gives itself 100 MiB of memory, as a machine without more would."""
    group = CGROUP / f"millrace-{name}-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(100 * 2**20))
        if (group / "memory.memsw.limit_in_bytes").exists():
            (group / "memory.memsw.limit_in_bytes").write_text(str(100 * 2**20))
    except OSError as error:
        needs.missing(f"no control group for memory can be made here: {error}")
    return f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"


def test_a_run_that_is_killed_for_its_memory_is_crashed_and_says_so(place: Yard) -> None:
    boxed = isinstance(place, Boxes)
    first = "pass" if boxed else limited("hungry")
    variables = {"mem_limit": "200m"} if boxed else {}
    text = f"@flow\ndef job():\n    {first}\n    note('begin')\n    b'x' * 500_000_000\n    note('end')\n"
    over = ended(place, place.run(place.deployment(text, name="hungry", job_variables=variables)))
    for group in CGROUP.glob(f"millrace-*-{os.getpid()}"):
        group.rmdir()
    assert [entry["what"] for entry in place.entries(over)] == ["begin"]
    assert over.state is not None and over.state_type is StateType.CRASHED, over.state
    wanted = (
        "limit of 200 MiB of memory (exit code 137)" if boxed else "signal 9 (SIGKILL); the machine may have run out"
    )
    assert wanted in str(over.state.message)


def test_a_command_whose_shell_says_137_is_known_to_be_killed(place: Yard) -> None:
    variables = {"command": "sh -c 'sh -c \"kill -9 \\$\\$\"; exit $?'"}
    if not isinstance(place, Boxes):
        variables["working_dir"] = str(place.code)
    made = place.deployment("@flow\ndef job():\n    pass\n", name="shell", job_variables=variables)
    over = ended(place, place.run(made))
    assert over.state is not None and over.state_type is StateType.CRASHED, over.state
    assert "137" in str(over.state.message) and "signal 9" in str(over.state.message), over.state


GATED = """
@flow(log_prints=True)
def job():
    note("begin")
    while not os.path.exists(LEDGER + ".go"):
        time.sleep(0.1)
    print("the last line")
    note("end")
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_outlives_its_worker_and_is_settled_by_the_next(place: Yard, when: str) -> None:
    """It may end before the next worker comes, or under its eyes."""
    gate = Path(f"{place.ledger_file}.go")
    run = place.run(place.deployment(GATED, name=f"gated{when}"))
    place.until(lambda: place.entries(run, "begin"), WAIT)
    place.kill(place.processes[-1])
    if when == "before":
        gate.touch()
        place.until(lambda: place.entries(run, "end"))
    place.start_worker(name="keeper")
    if when == "after":
        time.sleep(1)
        gate.touch()
    over = ended(place, run)
    gate.unlink()
    assert over.state_type is StateType.COMPLETED, (over.state, place.said("worker"))
    assert [entry["what"] for entry in place.entries(run)] == ["begin", "end"]
    place.until(lambda: "the last line" in [line.message for line in place.logs(run)])


def test_a_worker_tells_its_queues_and_what_it_has_under_way(place: Yard) -> None:
    gate = Path(f"{place.ledger_file}.go")
    run = place.run(place.deployment(GATED, name="watched"))
    try:
        place.until(lambda: place.entries(run, "begin"), WAIT)
        (worker,) = [one for one in place.client.read_busy_workers(place.pool) if one.name == "keeper"]
        assert worker.status.value == "ONLINE" and worker.queue_names is None
        assert [(one.id, one.name, one.state_type) for one in worker.flow_runs] == [
            (run.id, run.name, StateType.RUNNING)
        ]
    finally:
        gate.touch()
    ended(place, run)
    gate.unlink()
    (worker,) = [one for one in place.client.read_busy_workers(place.pool) if one.name == "keeper"]
    assert worker.flow_runs == []
    assert UUID(str(worker.id))
    with pytest.raises(MillraceError, match="no-such-pool"):
        place.client.read_busy_workers("no-such-pool")
