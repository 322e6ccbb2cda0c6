"""One notebook, cell after cell, in one kernel: what was seen are facts, what may be said of it comes from `truth`."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from millrace.notebooks import truth
from millrace.notebooks.cell_events import CellError, CellEvent, CellRecord, OnEvent, OnOutput
from millrace.notebooks.conversation import Answer, Conversation, Patience
from millrace.notebooks.injection import kernel_name_of
from millrace.notebooks.kernel import Kernel, KernelDied, KernelSource
from millrace.engine.redaction import Redactor
from millrace.notebooks.save import NotebookFile
from millrace.notebooks.secret import Secret, environment_name
from millrace.notebooks.stop_request import StopRequest
from millrace.notebooks.truth import CellFacts, Ending

MAX_OUTPUT_BYTES = 10_000_000


def ignore_event(event: CellEvent) -> None:
    """Nobody listens."""


def ignore_output(text: str, name: str, index: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class NotebookRun:
    """How a notebook is to be run.

    Args:
        output: the file that the executed notebook is saved to; None saves nothing.
        working_directory: where the kernel runs.
        kernel_name: the kernel; the notebook's own when None.
        environment: variables for the kernel beside those of this process.
        secrets: the secrets, resolved.
        timeout: seconds for the whole run, the start of the kernel included; None for any time.
        cell_timeout: seconds for each cell; None for any time.
        start_timeout: seconds for the kernel to answer.
        grace: seconds an interrupted cell has to clean up before the kernel is killed.
        max_output_bytes: the most output that one cell keeps.
        on_event: told when a cell starts and ends, in this thread.
        on_output: told each piece of text, its stream's name (`stdout`, `stderr`) and the cell's index, in this thread.
        kernels: where a started kernel may wait.
    """

    output: Path | None
    working_directory: Path
    kernel_name: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[Secret] = ()
    timeout: float | None = None
    cell_timeout: float | None = None
    start_timeout: float = 60.0
    grace: float = 10.0
    max_output_bytes: int = MAX_OUTPUT_BYTES
    on_event: OnEvent = ignore_event
    on_output: OnOutput = ignore_output
    kernels: KernelSource | None = None


def start_kernel(run: NotebookRun, name: str) -> Kernel:
    """Take a waiting kernel or start one; returns before it answers.

    The variables that secrets refer to are not in its environment.

    Args:
        run: how the notebook is to be run.
        name: the kernel spec.

    Raises:
        InvalidInput: there is no such kernel or no such working directory.
    """
    everything = {**os.environ, **run.environment}
    named = {environment_name(secret.reference) for secret in run.secrets}
    values = {secret.value for secret in run.secrets}
    hidden = frozenset(key for key, value in everything.items() if key in named or value in values)
    environment = {key: value for key, value in everything.items() if key not in hidden}
    if run.kernels is not None:
        kernel = run.kernels.take(name, run.working_directory, environment, hidden)
        if kernel is not None:
            return kernel
    return Kernel(name, run.working_directory, environment)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Execution:
    """Runs a prepared notebook.

    Args:
        nb: the notebook, parameters injected; it is changed.
        run: how to run it.
        stop: who may ask to stop.
        kernel: a kernel that was started already.
        secret_code: code that assigns the secrets, sent silently.
        secret_after: the index of the cell behind which it is sent; before all cells when None.
    """

    def __init__(
        self,
        nb: NotebookNode,
        run: NotebookRun,
        stop: StopRequest,
        kernel: Kernel | None = None,
        secret_code: str | None = None,
        secret_after: int | None = None,
    ) -> None:
        self.nb = nb
        self.run = run
        self.kernel = kernel
        self.redactor = Redactor(secret.value for secret in run.secrets)
        self.file = NotebookFile(run.output, self.redactor)
        self.started_at = _now()
        self.ending: Ending | None = None
        self._stop = stop
        self._secret_code = secret_code
        self._secret_after = secret_after
        self._begun = time.monotonic()
        self._facts = [
            CellFacts(index, str(cell.get("id") or index))
            for index, cell in enumerate(nb["cells"])
            if cell["cell_type"] == "code"
        ]
        self._patience = Patience(
            stop.asked,
            None if run.timeout is None else self._begun + run.timeout,
            run.cell_timeout,
            run.grace,
            stop.at_once,
        )
        self._conversation: Conversation | None = None

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.monotonic() - self._begun

    @property
    def records(self) -> list[CellRecord]:
        """The code cells of the run, which has ended."""
        return truth.records(self._facts, "crashed" if self.ending is None else self.ending.kind)

    def perform(self) -> Ending:
        """Run the notebook and save it; the kernel and all it started are gone when this returns.

        Raises:
            InvalidInput: there is no such kernel or working directory.
            OSError: the notebook cannot be saved.
        """
        self._clear()
        self._state_facts()
        self.file.save(self.nb, final=True)  # where nothing can be saved nothing is run
        ending = Ending("crashed", CellError("the run was broken off by an error in Millrace or its caller"))
        try:
            ending = self._run()
        except KernelDied as death:
            ending = self._crashed(death, None)
        except KeyboardInterrupt:
            ending = Ending("cancelled", CellError("The run was interrupted."))
        finally:
            self._end(ending)
        return ending

    def _run(self) -> Ending:
        if self.kernel is None:
            self.kernel = start_kernel(self.run, kernel_name_of(self.nb, self.run.kernel_name))
        if not self.kernel.wait_until_ready(self.run.start_timeout, lambda: self._patience.verdict() is not None):
            return self._stopped(Answer("stopped", stop=self._patience.verdict() or "cancelled"), None)
        if self.kernel.language_info:
            self.nb["metadata"]["language_info"] = self.kernel.language_info
        self._conversation = Conversation(
            self.nb, self.kernel, self.redactor, self.run.max_output_bytes, self.run.on_output, self._between
        )
        if self._secret_after is None and (ending := self._tell_secrets(None)):
            return ending
        for number, facts in enumerate(self._facts, start=1):
            if verdict := self._patience.verdict():
                return self._stopped(Answer("stopped", stop=verdict), None)
            if ending := self._run_cell(facts, number):
                return ending
            if facts.index == self._secret_after and (ending := self._tell_secrets(facts)):
                return ending
        return Ending("completed")

    def _tell_secrets(self, facts: CellFacts | None) -> Ending | None:
        if self._secret_code is None or self._conversation is None:
            return None
        answer = self._conversation.run_silently(self._secret_code, self._patience)
        if answer.kind == "error":
            # The text of the error could show what was assigned.
            return Ending(
                "failed", CellError(f"The secrets could not be assigned: {answer.ename}.", ename=answer.ename)
            )
        return self._not_ok(answer, None)

    def _run_cell(self, facts: CellFacts, number: int) -> Ending | None:
        """Run one cell; how the run ended with it, or None if it goes on."""
        cell = self.nb["cells"][facts.index]
        tags = cell["metadata"].get("tags", [])
        if "skip-execution" in tags:
            facts.progress = "skipped"
            return None
        facts.started_at = _now()
        if not cell["source"].strip():
            facts.progress, facts.ended_at = "ran", facts.started_at
            return None
        facts.progress = "running"
        self.file.touch()
        self.run.on_event(self._event("started", facts, number))
        assert self._conversation is not None
        answer = self._conversation.run_cell(cell, facts.index, self._patience)
        facts.ended_at = _now()
        self.file.touch()
        ending = self._judge(answer, facts, "raises-exception" in tags)
        self.run.on_event(self._event("finished", facts, number, answer, ending))
        return ending

    def _judge(self, answer: Answer, facts: CellFacts, may_raise: bool) -> Ending | None:
        if answer.kind == "error" and not may_raise:
            if answer.ename == "SystemExit":
                return self._exited(answer, facts)
            facts.progress = "raised"
            return Ending("failed", self._error(answer, facts))
        if answer.kind in ("ok", "error"):
            facts.progress = "ran"
            return Ending("exited") if answer.exits else None
        return self._not_ok(answer, facts)

    def _not_ok(self, answer: Answer, facts: CellFacts | None) -> Ending | None:
        if answer.kind == "dead":
            assert answer.death is not None
            return self._crashed(answer.death, facts)
        return self._stopped(answer, facts) if answer.kind == "stopped" else None

    def _exited(self, answer: Answer, facts: CellFacts) -> Ending:
        kind, code = truth.system_exit(answer.evalue)
        if kind == "failed":
            facts.progress = "raised"
            return Ending("failed", self._error(answer, facts), code=code)
        facts.progress = "ran"
        # The kernel reports a wanted end as an error and explains how to leave IPython.
        cell = self.nb["cells"][facts.index]
        cell["outputs"] = [output for output in cell["outputs"] if output.get("ename") != "SystemExit"]
        return Ending("exited")

    def _error(self, answer: Answer, facts: CellFacts) -> CellError:
        message = f"{self._place(facts)} failed with {answer.ename}: {answer.evalue}"
        return CellError(message, facts.index + 1, facts.cell_id, answer.ename, answer.evalue, answer.traceback)

    def _place(self, facts: CellFacts) -> str:
        count = self.nb["cells"][facts.index].get("execution_count")
        return f"Cell {facts.index + 1}" + (f" (In [{count}])" if count else "")

    def _crashed(self, death: KernelDied, facts: CellFacts | None) -> Ending:
        where = f" while {self._place(facts)[0].lower()}{self._place(facts)[1:]} was running" if facts else ""
        message = f"{death}{where}."
        words = self.redactor.text(self.kernel.last_words()).strip() if self.kernel else ""
        error = CellError(
            message[:1].upper() + message[1:],
            facts.index + 1 if facts else None,
            facts.cell_id if facts else None,
            "DeadKernelError",
            str(death),
            words.splitlines()[-20:],
        )
        return Ending("crashed", error, signal=death.signal)

    def _stopped(self, answer: Answer, facts: CellFacts | None) -> Ending:
        where = f" in {self._place(facts)[0].lower()}{self._place(facts)[1:]}" if facts else ""
        if answer.stop == "timed_out":
            over_all = self.run.timeout is not None and self.seconds >= self.run.timeout
            limit = self.run.timeout if over_all else self.run.cell_timeout
            what = "The run" if over_all else "A cell"
            message = f"{what} took longer than its time-out of {limit:g} s: it was stopped{where}."
        else:
            message = f"The run did not end by itself: {self._stop.reason}{where}."
        cell = facts.index + 1 if facts else None
        error = CellError(
            message, cell, facts.cell_id if facts else None, answer.ename or None, answer.evalue, answer.traceback
        )
        return Ending("timed_out" if answer.stop == "timed_out" else "cancelled", error)

    def _event(
        self,
        kind: Any,
        facts: CellFacts,
        number: int,
        answer: Answer | None = None,
        ending: Ending | None = None,
    ) -> CellEvent:
        assert facts.started_at is not None
        failed = answer is not None and ending is not None and ending.error is not None
        return CellEvent(
            kind,
            facts.index,
            facts.cell_id,
            truth.status_of(facts, ending.kind if ending else None),
            facts.started_at,
            number,
            len(self._facts),
            ended_at=facts.ended_at,
            execution_count=self.nb["cells"][facts.index].get("execution_count"),
            ename=ending.error.ename if failed and ending and ending.error else None,
            evalue=ending.error.evalue if failed and ending and ending.error else None,
            tail=self._conversation.tail(facts.index) if answer is not None and self._conversation else "",
        )

    # The notebook.

    def _clear(self) -> None:
        """An earlier run's outputs, counts and words are not this one's."""
        self.nb["metadata"].pop("widgets", None)
        for cell in self.nb["cells"]:
            for key in ("millrace", "papermill", "execution"):
                cell["metadata"].pop(key, None)
            if cell["cell_type"] == "code":
                cell["outputs"] = []
                cell["execution_count"] = None

    def _between(self, quiet: bool) -> None:
        if self.file.due(quiet):
            self._save()

    def _save(self, final: bool = False) -> None:
        if self._conversation is not None:
            self._conversation.join()
        self._state_facts()
        self.file.save(self.nb, final)

    def _state_facts(self) -> None:
        """Write into the notebook what may be said now."""
        kind = self.ending.kind if self.ending else None
        reached = -1
        for facts in self._facts:
            metadata = self.nb["cells"][facts.index]["metadata"]
            status = truth.status_of(facts, kind)
            metadata["millrace"] = {"status": status}
            metadata["papermill"] = truth.papermill_cell(facts, status)
            reached = facts.index if facts.progress in ("ran", "raised", "running") else reached
        last = self.ending.kind if self.ending else None
        for index, cell in enumerate(self.nb["cells"]):
            if cell["cell_type"] != "code":
                passed = index < reached or last == "completed"
                cell["metadata"]["papermill"] = {
                    "status": "completed" if passed else "pending",
                    "exception": False if passed else None,
                    "start_time": None,
                    "end_time": None,
                    "duration": None,
                }
        ended_at = None if self.ending is None else _now()
        about = truth.papermill_notebook(self.started_at, ended_at, self.ending)
        self.nb["metadata"].setdefault("papermill", {}).update(about)
        self.nb["metadata"]["millrace"] = self.redactor.value(truth.millrace_notebook(self.ending))

    def _end(self, ending: Ending) -> None:
        """Whatever happened: no process is left, and the notebook says how it ended."""
        self.ending = ending
        try:
            if self.kernel is not None:
                stopped = 0.0 if ending.kind == "crashed" or self._stop.at_once() else 1.5
                self.kernel.stop(5.0 if ending.kind in ("completed", "exited", "failed") else stopped)
        finally:
            for facts in self._facts:
                if facts.progress == "running" and facts.ended_at is None:
                    facts.ended_at = _now()
            if self._conversation is not None:
                self._conversation.set_widgets_metadata()
            self._save(final=True)
