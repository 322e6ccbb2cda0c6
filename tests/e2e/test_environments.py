"""Jobs with a Python of their own: a virtual environment, or packages that are installed for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from yard import Yard, open_plot

from millrace.schema.states import StateType

WAIT = 180.0
JOB = "@flow(log_prints=True)\ndef job():\n    import tinypkg\n    print('version', tinypkg.VERSION, sys.prefix)\n"


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    for yard in open_plot(ground, tmp_path):
        yard.deployment("@flow\ndef job():\n    pass\n", name="first")  # makes the pool
        yield yard


def package(place: Path, version: str) -> Path:
    """A package that needs nothing to be installed; pip builds it with what is in the environment."""
    place.mkdir(parents=True)
    (place / "tinypkg.py").write_text(f"VERSION = {version!r}\n")
    (place / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "tinypkg"\nversion = "{version}"\n'
    )
    (place / "backend.py").write_text(BACKEND.replace("VERSION", version))
    return place


BACKEND = """
import zipfile
from pathlib import Path

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "tinypkg-VERSION-py3-none-any.whl"
    with zipfile.ZipFile(Path(directory) / name, "w") as wheel:
        wheel.writestr("tinypkg.py", Path("tinypkg.py").read_text())
        info = "tinypkg-VERSION.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tinypkg\\nVersion: VERSION\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def test_requirements_are_installed_once_beside_the_packages_of_the_worker(yard: Yard, tmp_path: Path) -> None:
    wanted = [str(package(tmp_path / "tiny", "1.5"))]
    made = yard.deployment(JOB, job_variables={"requirements": wanted})
    without = yard.deployment(JOB, name="without")
    yard.start_worker()
    runs = [yard.run(one) for one in (made, made, without)]
    first, second, third = (yard.wait(run, seconds=WAIT) for run in runs)
    assert first.state_type is StateType.COMPLETED, yard.output(first)
    assert second.state_type is StateType.COMPLETED, yard.output(second)
    assert third.state_type is StateType.FAILED, "only the job that asked has it"
    places = {next(line.message for line in yard.logs(run) if "version" in line.message) for run in (first, second)}
    assert len(places) == 1 and places.pop().startswith(f"version 1.5 {yard.home / 'cache/environments'}")


def test_a_virtual_environment_by_its_path(yard: Yard, tmp_path: Path) -> None:
    place = tmp_path / "own"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    packages = next((place / "lib").glob("python*/site-packages"))
    found = [path for path in sys.path if path.endswith("site-packages")] + [str(Path(__file__).parents[2] / "src")]
    (packages / "all.pth").write_text("\n".join(found))
    (packages / "tinypkg.py").write_text("VERSION = 'mine'\n")
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", empty], check=True)
    made = yard.deployment(JOB, job_variables={"virtualenv": str(place)})
    bare = yard.deployment(JOB, name="bare", job_variables={"virtualenv": str(empty)})
    gone = yard.deployment(JOB, name="gone", job_variables={"virtualenv": str(tmp_path / "gone")})
    yard.start_worker()
    runs = [yard.run(one) for one in (made, bare, gone)]
    first, second, third = (yard.wait(run, seconds=WAIT) for run in runs)
    assert first.state_type is StateType.COMPLETED, yard.output(first)
    assert f"version mine {place}" in [line.message for line in yard.logs(first)]
    assert second.state_type is StateType.CRASHED and "cannot import Millrace" in str(
        second.state and second.state.message
    )
    assert third.state_type is StateType.CRASHED and "no virtual environment" in str(
        third.state and third.state.message
    )


def test_requirements_that_cannot_be_installed_crash_the_run_with_what_pip_said(yard: Yard) -> None:
    made = yard.deployment(JOB, job_variables={"requirements": ["./no/such/package"]})
    yard.start_worker()
    run = yard.wait(yard.run(made), seconds=WAIT)
    assert run.state_type is StateType.CRASHED
    assert "could not be installed" in str(run.state and run.state.message)
    assert "no/such/package" in str(run.state and run.state.message)
