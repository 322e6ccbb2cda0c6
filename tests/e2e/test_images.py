"""Images of flows on a real engine: built, run by a docker worker, pushed to a real registry and pulled from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import nbformat
import pytest
from nbclient import NotebookClient
from yard import Yard, open_yard

import containers
import registries
from millrace import DockerImage, Secret, settings
from millrace.deployments.batch import deploy
from millrace.deployments.deployment import RunnerDeployment
from millrace.deployments.notebook import deploy_notebook
from millrace.errors import BuildFailed, InvalidInput, NoEngine, PushFailed
from millrace.schema.pools import WorkPoolCreate, WorkPoolUpdate
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType
from millrace.workers.docker import RUN_LABEL, DockerKind
from millrace.workers.execution import template_of
from millrace.workers.process import ProcessKind

pytestmark = pytest.mark.timeout(600)  # images are copied and packed
POOL = "boxes"
WAIT = 150.0
CANARY = "canary-in-a-coal-mine-90210"
NOWHERE = "unix:///nowhere/docker.sock"


class Harbour(Yard):
    """A yard with a pool of containers and a worker for it."""

    images: list[str]

    def project(self, name: str, files: dict[str, str]) -> Path:
        """A directory with files."""
        directory = self.code / name
        for file, text in files.items():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_text(text)
        return directory

    def name(self, name: str) -> str:
        """A reference for an image, which goes with the yard."""
        self.images.append(f"millrace-test-flows/{name}:{os.getpid()}")
        return self.images[-1]

    def completes(self, deployment: UUID, saying: str, **parameters: Any) -> None:
        """A run of a deployment completes, and a line of its log holds a text."""
        self.ends(self.run(deployment, **parameters), saying)

    def ends(self, run: FlowRun, saying: str) -> None:
        """A run completes, and a line of its log holds a text."""
        ended = self.wait(run, seconds=WAIT)
        assert ended.state_type is StateType.COMPLETED, (ended.state, self.logs(ended), self.said("worker"))
        # Raw output comes after the state: the worker sends it.
        self.until(lambda: any(saying in line.message for line in self.logs(ended)), seconds=WAIT)


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    base = containers.dependencies()
    with pytest.MonkeyPatch.context() as patch:
        given = {"MILLRACE_DOCKER_BASE_IMAGE": base, "PRIVATE_TOKEN": CANARY}
        for yard in open_yard(tmp_path_factory.mktemp("harbour"), patch, **given):
            harbour = Harbour(yard.home, yard.code)
            harbour.processes, harbour.images = yard.processes, []
            containers.share_wheels(harbour.home, tmp_path_factory)
            for name, kind in ((POOL, DockerKind), ("plain", ProcessKind)):
                harbour.client.create_work_pool(
                    WorkPoolCreate(name=name, type=kind.type, base_job_template=template_of(kind))
                )
            harbour.start_worker(pool=POOL)
            yield harbour
            client = containers.engine()
            for container in client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True):
                if str(harbour.home) in str(container.attrs.get("HostConfig", {}).get("Binds")):
                    container.remove(force=True)
            for reference in harbour.images:
                if client.images.list(reference):
                    client.images.remove(reference, force=True)


SCRIPT = """
import os
from millrace import flow
from beside import DOUBLE

@flow(log_prints=True)
def first(n: int = 2):
    print("first", n * DOUBLE, os.getcwd(), open("data.txt").read().strip(), os.path.exists(".env"))

@flow(log_prints=True)
def second():
    print("second", os.environ["MILLRACE__FLOW_RUN_ID"] != "")
"""


def _book(path: Path, *cells: str, parameters: str = "") -> Path:
    made = [nbformat.v4.new_code_cell(text) for text in cells]
    if parameters:
        made.insert(0, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}), path)
    return path


def _inspected(reference: str) -> dict[str, Any]:
    found: dict[str, Any] = containers.engine().images.get(reference).attrs
    return found


def _layers_hold(reference: str, *needles: bytes) -> set[bytes]:
    """Which of some texts stand anywhere in the saved layers of an image, or in its history."""
    client, found, before = containers.engine(), set(), b""
    for chunk in client.api.get_image(reference):
        found |= {one for one in needles if one in before + chunk}
        before = chunk[-200:]
    history = json.dumps(client.api.history(reference)).encode()
    return found | {one for one in needles if one in history}


def test_two_flows_of_a_script_and_a_notebook_in_one_image(
    harbour: Harbour, capsys: pytest.CaptureFixture[str]
) -> None:
    project = harbour.project(
        "shop",
        {
            "flows.py": SCRIPT,
            "beside.py": "DOUBLE = 2\n",
            "data.txt": "data is here\n",
            ".env": f"TOKEN={CANARY}\n",
            ".git/config": CANARY,
            ".dockerignore": "ignored.txt\n",
            "ignored.txt": "left-out-by-the-user-4711",
        },
    )
    cells = ["import beside_book\nprint('in a notebook', n + beside_book.ONE)"]
    harbour.project("desk", {"beside_book.py": "ONE = 1\n"})
    book = _book(harbour.code / "desk/report.ipynb", *cells, parameters="n = 1")
    reference = harbour.name("shop")
    made = deploy(
        RunnerDeployment.from_storage(project, "flows.py:first", "d"),
        RunnerDeployment.from_storage(project, "flows.py:second", "d"),
        RunnerDeployment.from_storage(book.parent, book.name, "d", parameters={"n": 41}),
        image=DockerImage(reference),
        push=False,
        work_pool_name=POOL,
    )
    printed = capsys.readouterr().out
    assert f"Built the image '{reference}'" in printed and "may hold secrets: .env" in printed
    assert _inspected(reference)["Config"]["WorkingDir"] == "/opt/millrace/shop"
    stored = [harbour.client.read_deployment(one) for one in made]
    assert [one.entrypoint for one in stored] == ["flows.py:first", "flows.py:second", "report.ipynb"]
    for one in stored:
        assert one.job_variables == {"image": reference, "image_pull_policy": "IfNotPresent"} and one.path is None
    expected = ["first 4 /opt/millrace/shop data is here False", "second True", "in a notebook 42"]
    for run, saying in zip([harbour.run(one) for one in made], expected, strict=True):
        harbour.ends(run, saying)
    needles = (CANARY.encode(), b"left-out-by-the-user-4711", b"data is here", b"PRIVATE_TOKEN")
    assert _layers_hold(reference, *needles) == {b"data is here"}, "P11: no secret in any layer or in the history"


def test_a_changed_script_makes_only_the_last_layers_anew(harbour: Harbour) -> None:
    project = harbour.project("cached", {"flow.py": "from millrace import flow\n\n@flow\ndef f():\n    pass\n"})
    layers = []
    for number in range(2):
        reference = harbour.name(f"cached-{number}")
        with (project / "flow.py").open("a") as file:
            file.write(f"# {number}\n")
        code = RunnerDeployment.from_storage(project, "flow.py:f", "d").code
        DockerImage(reference).build(code)
        layers.append(_inspected(reference)["RootFS"]["Layers"])
    first, second = layers
    assert first[:-1] == second[:-1] and first[-1] != second[-1]


CELLS = [
    "%load_ext millrace",
    "RATE = 3\nfrom beside_cell import plus",
    "def pay(hours):\n    return plus(hours * RATE)",
    "%%flow wages\ndef wages(hours: int = 2):\n    print('paid', pay(hours))",
    "made = wages.deploy('boxed', work_pool_name='boxes', image='@IMAGE@', push=False, print_next_steps=False)",
    "print('id', made)",
]


def _kernel(cells: list[str], folder: Path, image: str) -> list[str]:
    """Run cells in a real kernel; what each printed."""
    made = [nbformat.v4.new_code_cell(text.replace("@IMAGE@", image)) for text in cells]
    book = nbformat.v4.new_notebook(cells=made)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=300, resources=where, kernel_name="python3").execute()
    return ["".join(out.get("text", "") for out in cell.outputs) for cell in book.cells]


def test_a_flow_of_cells_runs_in_an_image(harbour: Harbour) -> None:
    folder = harbour.project("lab", {"beside_cell.py": "def plus(n): return n + 1\n"})
    shown = _kernel(CELLS, folder, harbour.name("wages"))
    assert "Step 2/" in shown[4], "the steps are shown while it is built"
    harbour.completes(UUID(shown[5].split()[1]), "paid 16", hours=5)


def test_the_script_of_the_guide(harbour: Harbour) -> None:
    reference = harbour.name("guide")
    project = harbour.project(
        "guide",
        {
            "example.py": "from millrace import flow\n\n"
            "@flow(log_prints=True)\n"
            "def my_flow(name: str = 'world'):\n    print(f'Hello, {name}!')\n\n"
            "if __name__ == '__main__':\n"
            "    my_flow.deploy(name='my-deployment', work_pool_name='boxes', "
            f"image={reference!r}, push=False)\n"
        },
    )
    done = subprocess.run([sys.executable, "example.py"], cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Built the image" in done.stdout and "Step" not in done.stdout, "a pipe gets no progress"
    found = harbour.client.read_deployment_by_name("my-flow", "my-deployment")
    harbour.completes(found.id, "Hello, harbour!", name="harbour")


OWN = """
FROM {base}
ARG COLOUR=none
ENV COLOUR=$COLOUR
WORKDIR /srv/mine
COPY . .
"""


def test_an_own_dockerfile_with_arguments(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "Own.dockerfile": OWN.format(base=containers.image()),
        "flows/job.py": "import os\nfrom millrace import flow\n\n@flow(log_prints=True)\ndef job():\n"
        "    print(os.environ['COLOUR'], os.getcwd())\n",
    }
    project = harbour.project("own", files)
    monkeypatch.chdir(project)
    reference = harbour.name("own")
    image = DockerImage(reference, dockerfile="Own.dockerfile", buildargs={"COLOUR": "teal"}, platform="linux/amd64")
    (made,) = deploy(
        RunnerDeployment.from_storage(project / "flows", "job.py:job", "d"),
        image=image,
        push=False,
        work_pool_name=POOL,
    )
    harbour.completes(made, "teal /srv/mine/flows")
    # Once it is there it is only named.
    (again,) = deploy(
        RunnerDeployment.from_storage(project / "flows", "job.py:job", "e"),
        image=reference,
        build=False,
        work_pool_name=POOL,
    )
    assert harbour.client.read_deployment(again).job_variables == {"image": reference}
    harbour.completes(again, "teal /srv/mine/flows")


def test_what_fails_while_building_is_told(
    harbour: Harbour, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {containers.BASE}\nRUN echo one && echo two && exit 3\n")
    image = DockerImage("millrace-test-flows/fails:1", dockerfile="Dockerfile", context=tmp_path)
    with pytest.raises(
        BuildFailed, match=r"(?s)step 2 of 2 failed: RUN echo one.*code: 3.*last lines:\n    one\n    two"
    ):
        image.build()
    (tmp_path / "Dockerfile").write_text(f"FROM {containers.BASE}\nFLY away\n")
    with pytest.raises(BuildFailed, match="unknown instruction: FLY"):
        image.build()
    with pytest.raises(InvalidInput, match="There is no Nofile in"):
        DockerImage("a", dockerfile="Nofile", context=tmp_path).build()
    with pytest.raises(InvalidInput, match="unexpected keyword argument 'colour'"):
        DockerImage("a", dockerfile="Dockerfile", context=tmp_path, colour="red").build()
    (tmp_path / "requirements.txt").write_text("no-such-package-of-ours==99\n")
    (tmp_path / "flow.py").write_text("from millrace import flow\n\n@flow\ndef f():\n    pass\n")
    code = RunnerDeployment.from_storage(tmp_path, "flow.py:f", "d").code
    said: list[str] = []
    failing = DockerImage("millrace-test-flows/fails:2", buildargs={"PIP_NO_INDEX": "1", "API_TOKEN": "x"})
    with pytest.raises(BuildFailed, match=r"pip install .*requirements\.txt"):
        failing.build(code, notes=said.append)
    assert said == ["The build argument 'API_TOKEN' can be read in the history of the image by all who have it."]


def test_what_cannot_be_deployed_with_an_image(harbour: Harbour, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text("from millrace import flow\n\n@flow\ndef f():\n    pass\n")
    deployment = RunnerDeployment.from_storage(tmp_path, "flow.py:f", "d")
    with pytest.raises(InvalidInput, match="does not support custom images"):
        deploy(deployment, image="a:1", work_pool_name="plain")
    with pytest.raises(InvalidInput, match="Put it into an image"):
        deploy(deployment, work_pool_name=POOL)
    with pytest.raises(InvalidInput, match="only be given with a work pool"):
        deployment.apply(image="a:1")
    with pytest.raises(InvalidInput, match="by its digest"):
        deploy(deployment, image="a@sha256:" + "0" * 64, work_pool_name=POOL)
    assert not harbour.client.read_deployments() or all(
        one.name != "d" or one.entrypoint != "flow.py:f" for one in harbour.client.read_deployments()
    )


LONELY = [
    "%load_ext millrace\nimport sys, types\nsys.modules['only_here'] = types.ModuleType('only_here')",
    "import only_here",
    "%%flow lonely\ndef lonely():\n    return only_here",
    "try:\n    lonely.deploy('d', work_pool_name='boxes', image='@IMAGE@', push=False)\n"
    "except Exception as error:\n    print(type(error).__name__, error)",
]


def test_code_that_does_not_load_is_told_before_anything_is_built(harbour: Harbour) -> None:
    said = _kernel(LONELY, harbour.code, harbour.name("lonely"))[3]
    assert said.startswith("PreflightFailed") and "only_here" in said
    assert not containers.engine().images.list(harbour.images[-1])


# -- registries


def test_pushed_to_a_registry_and_pulled_by_a_worker(harbour: Harbour, tmp_path: Path) -> None:
    project = harbour.project(
        "away",
        {"flow.py": "from millrace import flow\n\n@flow(log_prints=True)\ndef away():\n    print('from afar')\n"},
    )
    client = containers.engine()
    with registries.registry(tmp_path / "private", private=True) as host:
        reference = f"{host}/team/away:v1"
        harbour.images.append(reference)
        for credentials in (None, {"username": registries.USER, "password": "wrong"}):
            image = DockerImage(
                reference, dockerfile="Dockerfile", context=_scratch(tmp_path), registry_credentials=credentials
            )
            image.build()
            with pytest.raises(PushFailed, match=rf"the registry {host} refuses it. Run docker login"):
                image.push()
        secret = Secret(registries.PASSWORD)
        secret.save("registry-password", overwrite=True)
        right = {"username": registries.USER, "password": Secret.load("registry-password")}
        pull = {"username": registries.USER, "password": "{{ prefect.blocks.secret.registry-password }}"}
        (made,) = deploy(
            RunnerDeployment.from_storage(project, "flow.py:away", "d", job_variables={"registry_credentials": pull}),
            image=DockerImage(reference, registry_credentials=right),
            work_pool_name=POOL,
        )
        client.images.remove(reference, force=True)
        harbour.completes(made, "from afar")
        assert registries.PASSWORD not in str(harbour.client.read_deployment(made).model_dump())
        Secret("wrong").save("registry-password", overwrite=True)
        client.images.remove(reference, force=True)
        run = harbour.wait(harbour.run(made), seconds=WAIT)
        assert run.state is not None and run.state_type is StateType.CRASHED
        assert f"The image '{reference}' could not be pulled" in str(run.state.message)
        assert "unauthorized" in str(run.state.message) and "wrong" not in str(run.state.message)


def _scratch(place: Path) -> Path:
    context = place / "scratch"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return context


def test_an_open_registry_one_that_is_not_there_and_an_image_that_is_not(harbour: Harbour, tmp_path: Path) -> None:
    client = containers.engine()
    with registries.registry(tmp_path / "open") as host:
        image = DockerImage(f"{host}/team/tiny", "v1", dockerfile="Dockerfile", context=_scratch(tmp_path))
        image.build()
        image.push()
        client.images.remove(image.reference)
        with pytest.raises(PushFailed, match="Build it first"):
            image.push()
        client.images.pull(f"{host}/team/tiny", "v1")
        harbour.images.append(image.reference)
    client.images.get(image.reference).tag(f"{host}/team/tiny", "v2")
    harbour.images.append(f"{host}/team/tiny:v2")
    with pytest.raises(PushFailed, match=f"the registry {host} does not answer"):
        DockerImage(f"{host}/team/tiny:v2").push()


# -- without an engine


def _without_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    before = os.environ.get("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    return lambda: monkeypatch.setenv("DOCKER_HOST", before) if before else monkeypatch.delenv("DOCKER_HOST")


def test_without_an_engine_code_goes_as_a_package_and_this_is_said(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = harbour.project("shop2", {"flows.py": SCRIPT, "beside.py": "DOUBLE = 3\n", "data.txt": "packed\n"})
    deployment = RunnerDeployment.from_storage(project, "flows.py:first", "packed")
    harbour.client.create_work_pool(
        WorkPoolCreate(name="packages", type="docker", base_job_template=template_of(DockerKind))
    )
    engine_is_back = _without_engine(monkeypatch)
    with pytest.raises(NoEngine, match=r"No Docker Engine answers at unix:///nowhere.*has no image of its own"):
        deploy(deployment, image="shop:1", work_pool_name="packages")
    template = template_of(DockerKind)
    template["variables"]["properties"]["image"]["default"] = containers.image()
    harbour.client.update_work_pool("packages", WorkPoolUpdate(base_job_template=template))
    capsys.readouterr()
    (made,) = deploy(deployment, image="shop:1", work_pool_name="packages")
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "was not built" in one]
    assert "No Docker Engine answers" in line and containers.image() in line and "the package" in line
    stored = harbour.client.read_deployment(made)
    assert "image" not in stored.job_variables and stored.path is not None
    assert Path(stored.path).parent == settings.current().code_directory
    engine_is_back()
    harbour.start_worker(pool="packages")
    harbour.completes(made, "packed")


def test_a_process_pool_takes_no_image_with_an_engine_or_without(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = _book(harbour.code / "plain_book.ipynb", "print('in a process', n)", parameters="n = 1")
    for without in (False, True):
        if without:
            _without_engine(monkeypatch)
        with pytest.raises(InvalidInput, match=r"'plain'.*does not support custom images"):
            deploy_notebook(book, "d", image="books:1", work_pool_name="plain")
