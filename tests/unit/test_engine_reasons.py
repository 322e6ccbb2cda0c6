"""What is said where there is no Docker Engine, and of layers whose size nobody knows."""

from __future__ import annotations

import pytest

from millrace.deployments import progress
from millrace.deployments.images import engine
from millrace.errors import NoEngine


def test_a_missing_engine_is_told_in_the_words_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(NoEngine) as told, engine():
        pass
    assert str(told.value) == "No Docker Engine answers at unix:///nowhere/docker.sock: no such file or directory."
    assert told.value.__suppress_context__


def test_a_bar_without_a_size_shows_no_bytes() -> None:
    bars = progress.Bars("Building")
    bars.layer("abc", "Pushing", 1024, 4096)
    step, layer = bars._progress.tasks
    assert step.description == "Building" and str(progress.Sizes().render(step)) == ""
    assert str(progress.Sizes().render(layer)) == "1.0/4.1 kB"
