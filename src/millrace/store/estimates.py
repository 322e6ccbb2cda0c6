"""What is worked out of a run's times on reading."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from millrace.schema.states import TERMINAL


def estimates(row: Row[Any], now: datetime) -> dict[str, float]:
    """How long a run has been running, and how late it began or is, in seconds."""
    run_time = float(row.total_run_time)
    if row.state_type == "RUNNING" and row.state_timestamp is not None:
        run_time += max(0.0, (now - row.state_timestamp).total_seconds())
    return {"estimated_run_time": run_time, "estimated_start_time_delta": _delay(row, now)}


def _delay(row: Row[Any], now: datetime) -> float:
    if row.expected_start_time is None:
        return 0.0
    if row.start_time is not None:
        return max(0.0, float((row.start_time - row.expected_start_time).total_seconds()))
    if row.state_type in TERMINAL:
        return 0.0
    return max(0.0, float((now - row.expected_start_time).total_seconds()))
