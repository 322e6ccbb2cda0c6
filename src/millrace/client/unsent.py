"""What this process has still to say of its runs: whoever asks the server about them lets it speak first."""

from __future__ import annotations

from collections.abc import Callable

unsent: dict[str, Callable[[], object]] = {}
"""Sends it, by who does: the engine's recorder enters itself here, which whoever only looks does not load."""
