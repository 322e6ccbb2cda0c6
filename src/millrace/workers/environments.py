"""The Python that a process job runs with: the worker's own, a virtual environment, or one made from requirements.

An environment from requirements is made once a machine and shared. What is not in it is looked for in the worker's own
packages, so that Millrace is always there and nothing is installed twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millrace import settings
from millrace.errors import InvalidInput

_READY = "millrace-ready"


def of_virtualenv(directory: Path) -> Path:
    """The interpreter of a virtual environment.

    Args:
        directory: the environment; Millrace has to be installed in it.

    Raises:
        InvalidInput: it is none, or has no Millrace.
    """
    place = directory.expanduser()
    python = place / "bin" / "python"
    if not python.is_file():
        raise InvalidInput(f"The job variable virtualenv says {place}, which is no virtual environment here.")
    done = subprocess.run(
        [python, "-c", "import millrace"], capture_output=True, text=True, env=_clean(), check=False, cwd=place
    )
    if done.returncode:
        raise InvalidInput(
            f"The virtual environment {place} cannot import Millrace ({done.stderr.strip().splitlines()[-1]}). "
            f"Install it there: {python} -m pip install millrace"
        )
    return python


def of_requirements(requirements: list[str]) -> Path:
    """The interpreter of an environment with these packages, made if it is not there.

    Args:
        requirements: as pip takes them.

    Raises:
        InvalidInput: pip could not install them; the message shows its last lines.
    """
    own = sorted({path for name in ("purelib", "platlib") if (path := sysconfig.get_path(name))})
    key = json.dumps([sorted(requirements), sys.version, own])
    place = settings.current().cache_directory / "environments" / hashlib.sha256(key.encode()).hexdigest()[:32]
    python = place / "bin" / "python"
    if (place / _READY).is_file():
        return python
    place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.with_suffix(".lock")):
        if (place / _READY).is_file():
            return python
        shutil.rmtree(place, ignore_errors=True)
        try:
            _make(place, own, requirements)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    return python


def _make(place: Path, own: list[str], requirements: list[str]) -> None:
    venv.create(place, with_pip=True)
    packages = next((place / "lib").glob("python*/site-packages"))
    # a line that is code, so that what the worker's own packages add to the path is added too
    lines = [f"import site; site.addsitedir({path!r})" for path in own]
    (packages / "millrace_worker.pth").write_text("\n".join(lines) + "\n")
    listed = place / "requirements.txt"
    listed.write_text("\n".join(requirements) + "\n")
    done = subprocess.run(
        [place / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", listed],
        capture_output=True,
        text=True,
        env=_clean(),
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise InvalidInput(f"The requirements of the job could not be installed:\n{said}")
    (place / _READY).touch()


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Of several jobs that want the same environment one makes it, the others wait."""
    with file.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
