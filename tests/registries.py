"""A real registry of images on the loopback: Debian's `docker-registry`, open or with basic authentication."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER, PASSWORD = "ann", "a-registry-canary-5150"
# bcrypt of PASSWORD, which the registry asks for; Python has no bcrypt of its own.
HTPASSWD = "ann:$2b$04$QUOS4TNHxCWGK2NiTye0YeHQQC3yQoL6NF/eDPXQcJgylZxmR9F3K\n"


@contextmanager
def registry(place: Path, *, private: bool = False) -> Iterator[str]:
    """A registry with its data in a directory; gives `host:port`.

    Args:
        place: an empty directory.
        private: ask for USER and PASSWORD.
    """
    program = shutil.which("docker-registry")
    if program is None:
        reason = "no docker-registry: apt-get install docker-registry"
        if os.environ.get("MILLRACE_CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place.mkdir(parents=True)
    config = f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\n"
    config += f"http: {{addr: '127.0.0.1:{port}'}}\n"
    if private:
        (place / "htpasswd").write_text(HTPASSWD)
        config += f"auth: {{htpasswd: {{realm: tests, path: {place}/htpasswd}}}}\n"
    (place / "config.yml").write_text(config)
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(place / "config.yml")], stdout=log, stderr=log)
    try:
        for _ in range(300):
            assert process.poll() is None, (place / "log").read_text()
            if _answers(port):
                break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
    return True
