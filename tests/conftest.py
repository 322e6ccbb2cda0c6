"""What holds for all tests."""

import os
import tempfile

# Imported before pytest rewrites the assertions of test modules: CPython 3.11 loses count of its recursion when
# hypothesis is first parsed within a parse ("AST constructor recursion depth mismatch").
import hypothesis

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
