"""The processes of a job on this machine: the first one is watched, all of them are ended."""

from __future__ import annotations

from dataclasses import dataclass

from millrace.workers import tree
from millrace.workers.jobs import Job
from millrace.workers.launch import Running, describe


@dataclass
class ProcessExecution:
    """A job in processes of this machine.

    Args:
        job: the job.
        running: its first process.
    """

    job: Job
    running: Running

    @property
    def place(self) -> str:
        """The number of its first process."""
        return str(self.running.pid)

    @property
    def code(self) -> int | None:
        """The exit code of its first process."""
        return self.running.code

    def wait(self, timeout: float) -> bool:
        """Whether its first process has ended, after at most that many seconds."""
        return self.running.wait(timeout)

    def end(self, grace: float) -> str:
        """End all of its processes."""
        members = tree.of_attempt(self.job.label, self.running.pid, descendants=True)
        if grace:
            tree.terminate(self.running.pid)
            self.running.wait(grace)
        gone = tree.kill(self.job.label, self.running.pid, members)
        self.running.wait(2.0)
        number = len(members)
        text = f"The run was cancelled; its {number} process{'es are' if number != 1 else ' is'} gone."
        return text if gone else "The run was cancelled, but some of its processes could not be killed."

    def clear(self) -> None:
        """Kill what its first process left behind."""
        tree.kill(self.job.label, self.job.session)

    def described(self) -> str:
        """How its first process ended."""
        return f"The process of the run {describe(self.code)}."
