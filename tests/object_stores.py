"""Object stores that answer over HTTP on this machine: Google's by its emulator, Azure's by Azurite where that is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import pytest

# The account that Azurite comes with, as its documentation has it.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def _serving(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def google() -> Iterator[dict[str, Any]]:
    """What fsspec has to be told to reach a Google Cloud Storage of this machine; the environment says it too."""
    port = _port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _serving([*command, "--in-memory"], port), pytest.MonkeyPatch.context() as patch:
        url = f"http://127.0.0.1:{port}"
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("NO_GCE_CHECK", "true")  # this is no machine of Google's: nobody is asked for a minute
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks by gRPC, which the emulator does not speak
        yield {"endpoint_url": url}
        fsspec.get_filesystem_class("gs").clear_instance_cache()


@contextmanager
def azure() -> Iterator[dict[str, Any]]:
    """What fsspec has to be told to reach an Azure Blob Storage of this machine; the environment says it too."""
    found = os.environ.get("MILLRACE_TEST_AZURITE") or shutil.which("azurite-blob")
    if found is None:
        # a program of another language's packages, so the tests do not install it, in CI neither
        pytest.skip("no Azurite: npm install -g azurite, or name its azurite-blob in MILLRACE_TEST_AZURITE")
    port = _port()
    with tempfile.TemporaryDirectory() as place:
        command = [found, "--blobPort", str(port), "--location", place, "--silent", "--skipApiVersionCheck"]
        with _serving([*command, "--disableTelemetry"], port), pytest.MonkeyPatch.context() as patch:
            told = (
                f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_KEY};"
                f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
            )
            patch.setenv("AZURE_STORAGE_CONNECTION_STRING", told)
            yield {"connection_string": told}
            fsspec.get_filesystem_class("az").clear_instance_cache()


def forget(package: str, patch: pytest.MonkeyPatch) -> None:
    """As if a package of an object store were not installed.

    Args:
        package: its name.
        patch: undoes it.
    """
    patch.setitem(sys.modules, package, None)
    known = sys.modules["fsspec.registry"]._registry  # who was loaded once stays; the public view is read-only
    for scheme, files in list(known.items()):
        if files.__module__.partition(".")[0] == package:
            patch.delitem(known, scheme)
