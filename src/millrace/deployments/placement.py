"""Where the code of deployments is when they run: in an image, in a package for containers, or where it lies."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from millrace import plugins, settings
from millrace.deployments import context, image_names, preflight, source
from millrace.deployments.deployment import RunnerDeployment
from millrace.deployments.screen import screen
from millrace.deployments.source import Source
from millrace.errors import InvalidInput, MillraceError, NoEngine, PluginMissing
from millrace.notebooks.export import Exported, version_of
from millrace.schema.pools import WorkPool

Given = Sequence[tuple[RunnerDeployment, WorkPool]]


class Placement:
    """What one call of `deploy` does with its image.

    Args:
        image: a name, a `DockerImage` or None.
        build: build it.
        push: push it, where it was built.

    Attributes:
        image: the image that the deployments name; None where their pools' own is used.
        placed: by number, deployments whose code is where their runs find it.
        problems: by number, what is wrong with the others.
    """

    def __init__(self, image: Any, build: bool = True, push: bool = True) -> None:
        self._wanted = image
        self._build, self._push = build, push
        self.image: str | None = None
        self.placed: dict[int, RunnerDeployment] = {}
        self.problems: dict[int, MillraceError] = {}

    def place(self, given: Given) -> None:
        """Build and push the image, if one is wanted, and say where each deployment's code is.

        Args:
            given: the deployments with their pools.

        Raises:
            MillraceError: nothing can be deployed.
        """
        if not self._wanted:
            self._without_image(given)
            return
        for _, pool in given:
            _require_containers(pool)
        image = self._image()
        if not self._build:
            self._named(given, image)
            return
        missing: MillraceError | None = None
        try:
            with plugins.load("millrace.deployments.images:engine")():
                pass
        except (NoEngine, PluginMissing) as error:
            missing = error
        if missing is not None:  # outside of the handler: what is raised in there would show both
            self._without_engine(given, image, missing)
            return
        self._built(given, image)

    def _image(self) -> Any:
        if not isinstance(self._wanted, str):
            if not callable(getattr(self._wanted, "build", None)):
                raise InvalidInput(
                    f"image is a name such as 'registry/etl:1' or a DockerImage(…), not {self._wanted!r}."
                )
            return self._wanted
        if not self._build:
            if "@" not in self._wanted:
                image_names.split_tag(self._wanted)
            return self._wanted
        return plugins.load("millrace.deployments.images:DockerImage")(self._wanted)

    def _each(self, given: Given, prepare: Any) -> None:
        for number, (deployment, pool) in enumerate(given):
            try:
                self.placed[number] = prepare(deployment, pool)
            except MillraceError as error:
                if len(given) == 1:
                    raise
                self.problems[number] = error

    # -- an image

    def _built(self, given: Given, image: Any) -> None:
        def checked(deployment: RunnerDeployment, pool: WorkPool) -> RunnerDeployment:
            preflight.require(deployment.code)
            return deployment

        self._each(given, checked)
        if not self.placed:
            return
        began = time.monotonic()
        codes = image.build(*[one.code for one in self.placed.values()], notes=warn)
        say(f"Built the image {image.reference!r} in {time.monotonic() - began:.0f} s.")
        more: dict[str, str] = {}
        if self._push:
            image.push()
            say(f"Pushed the image {image.reference!r}.")
        else:
            # It is nowhere but here: a worker of this machine must not ask a registry for it first.
            more = {"image_pull_policy": "IfNotPresent"}
        self.image = image.reference
        for (number, deployment), code in zip(list(self.placed.items()), codes, strict=True):
            known = _variables(given[number][1])
            self.placed[number] = deployment.placed(code, **{k: v for k, v in more.items() if k in known})

    def _named(self, given: Given, image: Any) -> None:
        """The image is there already: scripts lie where it works; what was exported just now cannot be in it."""
        self.image = str(image)
        directory = image.context if hasattr(image, "context") else Path.cwd()

        def named(deployment: RunnerDeployment, pool: WorkPool) -> RunnerDeployment:
            if context.is_exported(deployment.code):
                say(
                    f"The image {self.image!r} is used as it is; the exported code of {deployment.full_name!r} is a "
                    f"package in {settings.current().code_directory}, which workers on this machine give to containers."
                )
                return deployment.placed(replace(deployment.code, working_dir=None))
            return deployment.placed(context.beside([deployment.code], directory)[0])

        self._each(given, named)

    # -- no image

    def _without_image(self, given: Given) -> None:
        def checked(deployment: RunnerDeployment, pool: WorkPool) -> RunnerDeployment:
            code = deployment.code
            if code.path is None or "image" not in _variables(pool) or context.is_exported(code):
                return deployment
            if _mounted(code.path, deployment, pool):
                return deployment
            raise InvalidInput(
                f"The pool {pool.name!r} runs containers, and {code.path}, where the code of {deployment.full_name!r} "
                "lies, is not in them. Put it into an image: in Python with image='name:tag', push=False, in "
                "millrace.yaml with the step build_docker_image below build:. Or keep the code in a storage "
                "(flow.from_source, or pull: in the file)."
            )

        self._each(given, checked)

    def _without_engine(self, given: Given, image: Any, why: MillraceError) -> None:
        def packed(deployment: RunnerDeployment, pool: WorkPool) -> RunnerDeployment:
            variables = _variables(pool)
            code = deployment.code
            own = deployment.job_variables.get("image") or variables["image"].get("default")
            if not own or own == plugins.load("millrace.workers.docker_variables:IMAGE"):
                raise NoEngine(
                    f"{why} The image {image.reference!r} cannot be built here, and the pool {pool.name!r} has no "
                    "image of its own to be used in its place. Start the engine, or give the variable image of the "
                    "pool's base job template a default that is there."
                )
            code = packaged(code)
            say(
                f"{why} The image {image.reference!r} was not built: containers are made from the image {own!r}, and "
                f"the code of {deployment.full_name!r} is "
                + (f"the package {code.path}, which workers on this machine give them." if code.path else "fetched.")
            )
            return deployment.placed(replace(code, working_dir=None))

        self._each(given, packed)


def packaged(code: Source) -> Source:
    """Code as a package in the code directory: what was exported is one already, of a script its directory is copied.

    Args:
        code: the code.

    Raises:
        InvalidInput: the directory cannot be copied.
    """
    if code.path is None or context.is_exported(code):
        return code
    directory = code.path
    files, _ = context.files_of(directory, lambda name: False)

    def copy(target: Path) -> Exported:
        for name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory / name, target / name)
        version = version_of({name: (directory / name).read_bytes() for name in files})
        return Exported(target, code.entrypoint, files, version)

    return replace(source.kept(copy, directory), version=code.version, files=())


def _variables(pool: WorkPool) -> dict[str, Any]:
    found: dict[str, Any] = pool.base_job_template.get("variables", {}).get("properties", {})
    return found


def _require_containers(pool: WorkPool) -> None:
    if "image" not in _variables(pool):
        raise InvalidInput(
            f"The work pool {pool.name!r} (type {pool.type}) does not support custom images: its base job template "
            "has no variable 'image'. Leave image out, or name a pool that runs containers."
        )


def _mounted(path: Path, deployment: RunnerDeployment, pool: WorkPool) -> bool:
    default = _variables(pool).get("volumes", {}).get("default") or []
    volumes = deployment.job_variables.get("volumes") or default
    return any(path.is_relative_to(str(one).partition(":")[0]) for one in volumes)


def say(text: str) -> None:
    """Print a line for the user.

    Args:
        text: the line.
    """
    screen().print(escape(text), highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line that the user should not miss.

    Args:
        text: the line.
    """
    screen().print(f"[bold yellow]{escape(text)}[/]", highlight=False, soft_wrap=True)
