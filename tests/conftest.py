"""What holds for all tests."""

import os
import tempfile
from pathlib import Path

# Imported before pytest rewrites the assertions of test modules: CPython 3.11 loses count of its recursion when
# hypothesis is first parsed within a parse ("AST constructor recursion depth mismatch").
import hypothesis
import pytest

# Before a test module imports nbformat, and with it a grammar that takes more than a second to build.
from millrace import stand_ins as stand_ins

# On a busy machine making examples is slow, which says nothing about the software. The same examples every time:
# others, and more of them, are tried by `make nightly`.
NIGHT = "MILLRACE_TEST_EVERYWHERE" in os.environ
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=not NIGHT,
    max_examples=500 if NIGHT else 100,
)
hypothesis.settings.load_profile("patient")

# A test that names no data directory of its own must not write into that of the person who runs it, nor start a server.
if "MILLRACE_HOME" not in os.environ:
    os.environ["MILLRACE_HOME"] = tempfile.mkdtemp(prefix="millrace-tests-")

# What takes longest, as measured. Modules are handed out to the processes of `make test` as wholes, these first: so
# no process is left with a long one when the others have nothing to do any more.
LONG = [
    "docs/test_guide",
    "interop/test_real_workers",
    "interop/test_our_client",
    "e2e/test_images",
    "e2e/test_worker",
    "chaos/test_kill",
    "contract/test_task_runners",
    "browser/test_monitor",
    "interop/test_following",
    "e2e/test_deployments",
    "e2e/test_image_steps",
    "e2e/test_pools",
    "interop/test_many_workers",
    "browser/test_guide_in_lab",
    "e2e/test_slots_of_the_killed",
    "interop/test_the_contract",
    "contract/test_workers",
    "e2e/test_suspending",
    "api/test_concurrency",
    "browser/test_form",
    "interop/test_real_client",
    "notebooks/test_endings",
    "e2e/test_cli",
    "docs/test_examples",
    "contract/test_task_graphs",
    "browser/test_artifacts",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules first; all others, and all tests of a module, in the order in which they were found."""
    here = Path(__file__).parent
    places = {here / f"{name}.py": place for place, name in enumerate(LONG)}
    if gone := [str(path) for path in places if not path.exists()]:
        raise pytest.UsageError(f"LONG in {__file__} names modules that are not there: {', '.join(gone)}")
    items.sort(key=lambda item: places.get(item.path, len(places)))
