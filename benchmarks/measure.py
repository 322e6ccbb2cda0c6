"""Timing, and a row of results."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One measured thing, in milliseconds (medians).

    Args:
        what: what is measured.
        ours: Millrace.
        peer: Prefect or papermill; None where it was not measured.
        limit: what the work itself needs.
        target: what `docs/performance` asks for, as text.
        note: how it was measured.
    """

    what: str
    ours: float
    peer: float | None
    limit: float | None
    target: str
    note: str = ""

    def cells(self) -> list[str]:
        """The row of the table."""

        def number(value: float | None) -> str:
            return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"

        def ratio(value: float | None) -> str:
            return (
                "–"
                if not value
                else f"{value / self.ours:,.1f} ×"
                if value >= self.ours
                else f"{value / self.ours:.2f} ×"
            )

        return [
            self.what,
            number(self.ours),
            number(self.peer),
            ratio(self.peer),
            number(self.limit),
            self.target,
            self.note,
        ]


def median_ms(run: Callable[[], object], times: int) -> float:
    """The median duration of a call, in milliseconds."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return 1000 * statistics.median(spent)


def program(python: str | Path, text: str, env: dict[str, str] | None = None, timeout: float = 600) -> str:
    """What a program prints, run in a process of its own."""
    done = subprocess.run(
        [str(python), "-c", text], env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{text[:200]}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return done.stdout
