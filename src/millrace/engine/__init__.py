"""Running flows and tasks: a conversation of effects (`protocol`), two drivers, and the sessions that perform them."""

from __future__ import annotations

from millrace.engine.running import arun_flow, run_claimed, run_flow

__all__ = ["arun_flow", "run_claimed", "run_flow"]
