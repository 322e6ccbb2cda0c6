"""A module that is slow to import is loaded when somebody uses it, and then it is the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from millrace.stand_ins import Slow, install

NAME = "a_slow_module_of_this_test"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    (tmp_path / f"{NAME}.py").write_text("def twice(n, *, more=0):\n    return 2 * n + more\n\nother = 'other'\n")
    monkeypatch.syspath_prepend(tmp_path)
    # both are put back when the test has ended
    monkeypatch.setitem(sys.modules, NAME, sys)
    monkeypatch.delitem(sys.modules, NAME)
    return Slow(NAME, "who_imports_it", (NAME,), ("twice",))


def test_the_first_call_loads_the_real_module(slow: Slow) -> None:
    install([slow])
    from a_slow_module_of_this_test import twice  # type: ignore[import-not-found] # noqa: PLC0415

    stand_in = sys.modules[NAME]
    assert not hasattr(stand_in, "__file__"), "it has been loaded already"
    assert twice(3, more=1) == 7
    assert sys.modules[NAME] is not stand_in and sys.modules[NAME].__file__
    assert stand_in.twice(4) == 8


def test_whatever_else_is_asked_of_it_comes_from_the_real_module(slow: Slow) -> None:
    install([slow])
    assert sys.modules[NAME].other == "other"
    assert sys.modules[NAME].__file__
    with pytest.raises(AttributeError, match="nothing"):
        sys.modules[NAME].nothing  # noqa: B018


def test_none_where_it_would_be_too_late_or_cannot_be_imported(slow: Slow) -> None:
    install([slow._replace(importer="sys"), slow._replace(needs=("no_such_package_anywhere",))])
    assert NAME not in sys.modules
