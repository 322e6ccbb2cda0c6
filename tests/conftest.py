"""What holds for all tests."""

# Imported before pytest rewrites the assertions of test modules: CPython 3.11 loses count of its recursion when
# hypothesis is first parsed within a parse ("AST constructor recursion depth mismatch").
import hypothesis  # noqa: F401
