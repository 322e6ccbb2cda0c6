"""A bucket on a real S3 server of this machine, found as users' programs find theirs: by the environment."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest

from repositories import s3


@contextmanager
def bucket(name: str = "results") -> Iterator[str]:
    """The URL of an empty bucket, while the block lasts.

    Args:
        name: of the bucket.
    """
    with s3() as endpoint, pytest.MonkeyPatch.context() as patch:
        for variable, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "a canary secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(variable, value)
        made = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
        assert os.environ["AWS_ENDPOINT_URL"] == endpoint
        with urllib.request.urlopen(made, timeout=20) as answer:
            assert answer.status == 200
        # fsspec keeps its connections by URL, and knows nothing of the variables.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        try:
            yield f"s3://{name}"
        finally:
            fsspec.get_filesystem_class("s3").clear_instance_cache()
