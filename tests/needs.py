"""What a test needs and a machine may not have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skips the test on a user's machine; in CI, where everything is installed, it is an error.

    Args:
        reason: what is missing, and how one gets it.
    """
    if os.environ.get("MILLRACE_CI"):
        pytest.fail(reason)
    pytest.skip(reason)
