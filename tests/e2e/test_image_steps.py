"""Build and push steps of specification files on a real engine and a real registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from yard import Yard, open_yard

import containers
import registries
from millrace import DockerImage
from millrace.deployments import specfile, specified
from millrace.deployments.batch import deploy
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import BuildFailed, InvalidInput, PushFailed
from millrace.schema.pools import WorkPoolCreate
from millrace.schema.states import StateType
from millrace.workers.docker import RUN_LABEL, DockerKind
from millrace.workers.execution import template_of

pytestmark = pytest.mark.timeout(600)
POOL = "boxes"
WAIT = 150.0

SCRIPT = """
import os
from millrace import flow

@flow(log_prints=True)
def etl(n: int = 1):
    print("etl", n, os.getcwd(), os.environ.get("BUILT"))
"""

FILE = """
build:
  - prefect.deployments.steps.run_shell_script: {id: version, script: echo 1.2.3}
  - prefect_docker.deployments.steps.build_docker_image:
      id: build
      requires: prefect-docker>=0.3.1
      image_name: "@HOST@/team/etl"
      tag: "{{ version.stdout }}"
      additional_tags: [newest]
      dockerfile: auto
push:
  - prefect_docker.deployments.steps.push_docker_image:
      requires: prefect-docker>=0.3.1
      image_name: "{{ build.image_name }}"
      tag: "{{ build.tag }}"
      additional_tags: "{{ build.additional_tags }}"
definitions:
  box: &box {name: boxes, job_variables: {image: "{{ build.image }}"}}
deployments:
  - name: script
    entrypoint: flows/etl.py:etl
    version: "{{ version.stdout }}"
    description: "{{ build.image_id }}"
    work_pool: *box
  - name: book
    entrypoint: book.ipynb
    work_pool: *box
  - name: cell
    entrypoint: book.ipynb:pay
    parameters: {hours: 4}
    work_pool: *box
  - name: of-prefect
    entrypoint: flows/etl.py:etl
    parameters: {n: 2}
    pull:
      - prefect.deployments.steps.set_working_directory: {directory: /opt/prefect/code}
    work_pool: *box
  - name: own
    entrypoint: flows/etl.py:etl
    build:
      - millrace.deployments.steps.build_docker_image:
          id: mine
          image_name: millrace-test-flows/own-of-a-file
          tag: "@PID@"
          dockerfile: Own.dockerfile
          buildargs: {BASE: "@BASE@"}
    push: []
    work_pool: {name: boxes, job_variables: {image: "{{ mine.image }}"}}
"""


@pytest.fixture
def yard(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    base = containers.dependencies()
    for yard in open_yard(tmp_path, monkeypatch, MILLRACE_DOCKER_BASE_IMAGE=base):
        containers.share_wheels(yard.home, tmp_path_factory)
        template = template_of(DockerKind)
        yard.client.create_work_pool(WorkPoolCreate(name=POOL, type="docker", base_job_template=template))
        monkeypatch.chdir(yard.code)
        (yard.code / "flows").mkdir()
        (yard.code / "flows/etl.py").write_text(SCRIPT)
        yield yard
        client = containers.engine()
        for container in client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True):
            if str(yard.home) in str(container.attrs.get("HostConfig", {}).get("Binds")):
                container.remove(force=True)
        for image in client.images.list():
            for tag in image.tags:
                if tag.endswith(f":{os.getpid()}") or "/team/etl:" in tag:
                    client.images.remove(tag, force=True)


def test_images_that_steps_build_and_push_are_those_that_runs_use(yard: Yard, tmp_path: Path) -> None:
    cells = [
        nbformat.v4.new_code_cell("rows: int = 2", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from millrace import flow\n@flow(log_prints=True)\ndef pay(hours: int = 1):\n    print('paid', hours)"
        ),
        nbformat.v4.new_code_cell("print('rows', rows)"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), yard.code / "book.ipynb")
    (yard.code / "Own.dockerfile").write_text(
        "ARG BASE\nFROM $BASE\nENV BUILT=mine\nWORKDIR /srv/mine\nCOPY flows flows\n"
    )
    with registries.registry(tmp_path / "registry") as host:
        text = FILE.replace("@HOST@", host).replace("@BASE@", containers.image()).replace("@PID@", str(os.getpid()))
        (yard.code / "millrace.yaml").write_text(text)
        read = specfile.read(yard.code / "millrace.yaml")
        ids = specified.deploy_specified(read, print_next_steps=False)
        stored = [yard.client.read_deployment(one) for one in ids]
        image = f"{host}/team/etl:1.2.3"
        assert [one.job_variables["image"] for one in stored[:4]] == [image] * 4
        assert stored[0].version == "1.2.3" and all(one.path is None for one in stored)
        client = containers.engine()
        assert stored[0].description == client.images.get(image).id
        for tag in ("1.2.3", "newest"):
            client.images.remove(f"{host}/team/etl:{tag}", force=True)
        client.images.pull(f"{host}/team/etl", "newest")  # it was pushed too
        yard.start_worker(pool=POOL)
        expected = [
            "etl 1 /opt/millrace/code None",
            "rows 2",
            "paid 4",
            "etl 2 /opt/millrace/code",
            "etl 1 /srv/mine mine",
        ]
        for run, saying in zip([yard.run(one.id) for one in stored], expected, strict=True):
            ended = yard.wait(run, seconds=WAIT)
            told = [str(ended.state and ended.state.message), *(line.message for line in yard.logs(ended))]
            assert ended.state_type is StateType.COMPLETED, "\n".join(told)
            yard.until(lambda: any(saying in line.message for line in yard.logs(ended)), seconds=WAIT)  # noqa: B023


@pytest.mark.parametrize(
    ("was", "becomes", "error", "said"),
    [
        ("dockerfile: auto", "dockerfile: Nofile", InvalidInput, "There is no Nofile in"),
        ("dockerfile: auto", "dockerfile: Bad.dockerfile", BuildFailed, "step 2 of 2 failed: RUN exit 3"),
        ("dockerfile: auto", "dockerfile: auto\n      colour: red", InvalidInput, "'colour'"),
        ("additional_tags: [newest]", "additional_tags: ['not a tag']", InvalidInput, "not a tag"),
        ('tag: "{{ version.stdout }}"', 'tag: "{{ verison.stdout }}"', InvalidInput, "verison"),
        ("dockerfile: auto", "dockerfile: Small.dockerfile", PushFailed, "does not answer"),
    ],
)
def test_a_step_that_fails_is_told_and_nothing_is_made(
    yard: Yard, was: str, becomes: str, error: type[Exception], said: str
) -> None:
    (yard.code / "Bad.dockerfile").write_text(f"FROM {containers.BASE}\nRUN exit 3\n")
    (yard.code / "Small.dockerfile").write_text(f"FROM {containers.BASE}\n")
    text = FILE.partition("  - name: book")[0].replace("@HOST@", "127.0.0.1:1")
    assert was in text
    (yard.code / "millrace.yaml").write_text(text.replace(was, becomes, 1))
    with pytest.raises(error, match=said):
        specified.deploy_specified(specfile.read(yard.code / "millrace.yaml"))
    assert not yard.client.read_deployments()


def test_a_registry_with_an_authority_of_its_own(yard: Yard, tmp_path: Path) -> None:
    with registries.registry(tmp_path / "registry", private=True, tls=True) as host:
        credentials = {"username": registries.USER, "password": registries.PASSWORD}
        image = DockerImage(f"{host}/team/etl", "tls", registry_credentials=credentials)
        image.build(RunnerDeployment.from_storage(yard.code, "flows/etl.py:etl", "tls").code)
        with pytest.raises(PushFailed, match=r"cannot be trusted by the Docker Engine.*certs\.d/"):
            image.push()
        with registries.trusted(host, tmp_path / "registry/ca.crt"):
            image.push()
            containers.engine().images.remove(image.reference)
            made = RunnerDeployment.from_storage(
                yard.code, "flows/etl.py:etl", "tls", job_variables={"registry_credentials": credentials}
            )
            (id,) = deploy(made, image=image.reference, build=False, work_pool_name=POOL)
            yard.start_worker(pool=POOL)
            ended = yard.wait(yard.run(id), seconds=WAIT)
            assert ended.state_type is StateType.COMPLETED, (ended.state, yard.said("worker"))
