"""What a run may say of itself, without kernels."""

from __future__ import annotations

import datetime
import itertools

import pytest

from millrace.notebooks import truth
from millrace.notebooks.cell_events import CellError
from millrace.notebooks.truth import CellFacts, Ending, EndingKind, Progress

ENDINGS: list[EndingKind] = ["completed", "exited", "failed", "timed_out", "crashed", "cancelled"]
PROGRESS: list[Progress] = ["waiting", "running", "ran", "raised", "skipped"]
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(("progress", "ending"), itertools.product(PROGRESS, [None, *ENDINGS]))
def test_only_an_answer_of_the_kernel_makes_a_cell_completed(progress: Progress, ending: EndingKind | None) -> None:
    status = truth.status_of(CellFacts(0, "a", progress), ending)
    assert (status == "completed") == (progress == "ran")
    assert (status == "not_run") == (progress in ("waiting", "skipped"))
    assert (status == "running") == (progress == "running" and ending is None)


def test_a_stopped_cell_takes_its_status_from_the_ending() -> None:
    running = CellFacts(0, "a", "running")
    assert [truth.status_of(running, ending) for ending in ENDINGS] == [
        "failed", "failed", "failed", "timed_out", "failed", "cancelled",
    ]  # fmt: skip


def test_records_use_the_five_words_only() -> None:
    cells = [CellFacts(i, str(i), progress) for i, progress in enumerate(PROGRESS)]
    for ending in ENDINGS:
        assert {record.status for record in truth.records(cells, ending)} <= {
            "completed", "failed", "timed_out", "cancelled", "not_run",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "state", "code"),
    [
        (Ending("completed"), ("COMPLETED", "Completed"), 0),
        (Ending("exited"), ("COMPLETED", "Completed"), 0),
        (Ending("failed"), ("FAILED", "Failed"), 1),
        (Ending("failed", code=3), ("FAILED", "Failed"), 3),
        (Ending("failed", code=256), ("FAILED", "Failed"), 1),
        (Ending("failed", code=-1), ("FAILED", "Failed"), 1),
        (Ending("timed_out"), ("FAILED", "TimedOut"), 124),
        (Ending("crashed"), ("CRASHED", "Crashed"), 70),
        (Ending("crashed", signal=9), ("CRASHED", "Crashed"), 137),
        (Ending("cancelled"), ("CANCELLED", "Cancelled"), 130),
    ],
)
def test_states_and_exit_codes(ending: Ending, state: tuple[str, str], code: int) -> None:
    assert ((ending.state_type, ending.state_name), ending.exit_code) == (state, code)


@pytest.mark.parametrize(
    ("evalue", "verdict"),
    [
        ("", ("exited", 0)),
        ("0", ("exited", 0)),
        ("3", ("failed", 3)),
        ("no data", ("failed", 1)),
        ("-1", ("failed", -1)),
    ],
)
def test_system_exit(evalue: str, verdict: tuple[str, int]) -> None:
    assert truth.system_exit(evalue) == verdict


@pytest.mark.parametrize(
    ("status", "word", "exception"),
    [
        ("completed", "completed", False),
        ("failed", "failed", True),
        ("timed_out", "failed", True),
        ("cancelled", "failed", True),
        ("running", "running", False),
        ("not_run", "pending", None),
    ],
)
def test_papermill_never_says_completed_of_a_cell_that_did_not(status: str, word: str, exception: bool | None) -> None:
    facts = CellFacts(0, "a", "ran", NOW, NOW + datetime.timedelta(seconds=2))
    metadata = truth.papermill_cell(facts, status)
    assert (metadata["status"], metadata["exception"], metadata["duration"]) == (word, exception, 2.0)


def test_the_notebook_says_what_the_run_says() -> None:
    crashed = Ending("crashed", CellError("The kernel died.", cell=3, ename="DeadKernelError"), signal=9)
    assert truth.millrace_notebook(crashed) == {
        "state_type": "CRASHED",
        "state_name": "Crashed",
        "exit_code": 137,
        "error": {"message": "The kernel died.", "cell": 3, "ename": "DeadKernelError"},
    }
    assert truth.papermill_notebook(NOW, NOW, crashed)["exception"] is True
    assert truth.papermill_notebook(NOW, NOW, Ending("exited"))["exception"] is None
    assert truth.papermill_notebook(NOW, None, None)["end_time"] is None
