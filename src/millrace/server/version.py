"""Which version this is: ours, and the one of the API that clients of Prefect look at."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

API_CLIENT_VERSION = "3.8.8"


@lru_cache(maxsize=1)
def millrace_version() -> str:
    """The version of the installed package."""
    try:
        return version("millrace")
    except PackageNotFoundError:
        return "0.0.0"


API_IMPLEMENTATION = f"{API_CLIENT_VERSION}+millrace{millrace_version()}"
