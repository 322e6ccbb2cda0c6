"""Pull steps: what makes a deployment's code available before its entrypoint is loaded.

A step is `{"name.of.a.function": {inputs}}`. The names of Prefect and ours mean the same; a name that is none of them
is a function that can be imported where the deployment runs. The inputs `id` and `requires` are about the step itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millrace import plugins
from millrace.errors import InvalidInput, MillraceError, PluginMissing, PullFailed
from millrace.storage.git import GitRepository
from millrace.storage.local import LocalStorage
from millrace.storage.placeholders import Values
from millrace.storage.remote import RemoteStorage
from millrace.suggestions import did_you_mean

log = logging.getLogger("millrace.flow_runs")
PREFIXES = ("prefect.deployments.steps.", "millrace.deployments.steps.", "prefect_docker.deployments.steps.")
_MODULES = ("core.", "pull.", "utility.")


def set_working_directory(place: Path, directory: str) -> dict[str, str]:
    """The code lies in a directory of this machine, or in one below where it was found before."""
    return {"directory": str(LocalStorage(place / Path(directory).expanduser()).pull(place))}


def git_clone(
    place: Path,
    repository: str,
    branch: str | None = None,
    commit_sha: str | None = None,
    include_submodules: bool = False,
    access_token: Any = None,
    credentials: Any = None,
    directories: list[str] | None = None,
    clone_directory_name: str | None = None,
) -> dict[str, str]:
    """The code lies in a git repository."""
    if access_token and credentials:
        raise InvalidInput("The step git_clone has either access_token or credentials.")
    given = {"access_token": access_token} if access_token else credentials
    found = GitRepository(
        repository, given, clone_directory_name, branch, commit_sha, include_submodules, directories=directories
    )
    return {"directory": str(found.pull(place))}


def pull_from_remote_storage(place: Path, url: str, **settings: Any) -> dict[str, str]:
    """The code lies in an object store."""
    return {"directory": str(RemoteStorage(url, **settings).pull(place))}


def run_shell_script(
    place: Path,
    script: str,
    directory: str | None = None,
    env: Mapping[str, str] | None = None,
    stream_output: bool = True,
    expand_env_vars: bool = False,
) -> dict[str, str]:
    """Programs are run, a line each; no shell reads the lines."""
    if not isinstance(script, str):
        raise InvalidInput(f"The step run_shell_script takes script as a text, not {script!r}: write it in quotes.")
    environment = {**os.environ, **(env or {})}
    outputs: list[str] = []
    errors: list[str] = []
    for line in script.splitlines():
        words = shlex.split(os.path.expandvars(line) if expand_env_vars else line, comments=True)
        if not words:
            continue
        try:
            done = subprocess.run(words, cwd=directory or place, env=environment, capture_output=True, text=True)
        except FileNotFoundError:
            where = directory or place
            why = f"there is no directory {where}."
            if Path(where).is_dir():
                why = f"there is no program {words[0]!r} here. Lines are run one by one, and by no shell."
            raise PullFailed(f"The line {line!r} of a step could not be run: {why}") from None
        except OSError as error:
            raise PullFailed(f"The line {line!r} of a step could not be run: {error}") from None
        outputs.append(done.stdout.strip())
        errors.append(done.stderr.strip())
        if stream_output and (printed := done.stdout + done.stderr):
            print(printed, end="", flush=True)  # whoever reads the output of the run sees it before what comes next
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            more = f": {said[-2000:]}" if said else ", and wrote nothing."
            raise PullFailed(f"The line {line!r} of a step exited with {done.returncode}{more}")
    return {"stdout": "\n".join(outputs), "stderr": "\n".join(errors)}


def pip_install_requirements(
    place: Path,
    directory: str | None = None,
    requirements_file: str = "requirements.txt",
    stream_output: bool = True,
) -> dict[str, str]:
    """The packages of a requirements file are installed into the environment of the run."""
    command = shlex.join([sys.executable, "-m", "pip", "install", "-r", requirements_file])
    found = run_shell_script(place, command, directory or str(place), stream_output=stream_output)
    importlib.invalidate_caches()
    return found


BUILT_IN: dict[str, Callable[..., dict[str, str]]] = {
    step.__name__: step
    for step in (set_working_directory, git_clone, pull_from_remote_storage, run_shell_script, pip_install_requirements)
}
FETCHING = ("git_clone", "pull_from_remote_storage")
# Steps before a deployment is made; what they need is only loaded when they are.
DEPLOYING = {name: f"millrace.deployments.image_steps:{name}" for name in ("build_docker_image", "push_docker_image")}


def perform(steps: Iterable[Mapping[str, Any]], place: Path, *, start: Path | None = None) -> Path:
    """Performs steps one after the other.

    Args:
        steps: of the deployment.
        place: the directory to fetch into.
        start: the directory of the code before the first step; `place` when not given.

    Returns:
        The directory that the last step which gives one says.

    Raises:
        InvalidInput: a step is unknown, or its inputs do not fit.
        PullFailed: the code could not be fetched.
        PluginMissing: a package that a step needs is not installed.
    """
    return performed(steps, place, start=start)[0]


@contextmanager
def told_by(origin: str | None, directory: Path) -> Iterator[None]:
    """Errors name the place that code was fetched from, which people know, and not the directory it was fetched into.

    Args:
        origin: the place; None: the directory is the people's own.
        directory: where the code lies for now.
    """
    try:
        yield
    except MillraceError as error:
        if origin is not None:
            error.args = tuple(str(one).replace(str(directory), origin) for one in error.args)
        raise


def origin_of(steps: Iterable[Mapping[str, Any]]) -> str | None:
    """The place that steps fetch code from; None if they fetch none, or nobody knows from where.

    Args:
        steps: of a deployment.

    Example:
        >>> origin_of([{"prefect.deployments.steps.git_clone": {"repository": "https://example.org/flows.git"}}])
        'https://example.org/flows.git'
    """
    origin: str | None = None
    for step in steps:
        for name, given in step.items():
            short, inputs = _short(name), given or {}
            if short in FETCHING:
                origin = str(inputs.get("repository") or inputs.get("url")).rstrip("/")
            elif short == "set_working_directory" and origin is not None:
                below = str(inputs.get("directory"))
                origin = None if Path(below).is_absolute() else f"{origin}/{below}"
    return origin


def performed(
    steps: Iterable[Mapping[str, Any]],
    place: Path,
    *,
    start: Path | None = None,
    before: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Performs steps one after the other.

    Args:
        steps: of the deployment.
        place: the directory to fetch into.
        start: the directory of the code before the first step; `place` when not given.
        before: what earlier steps gave.

    Returns:
        The directory as `perform` says it; and what the steps gave, by name and by the step's id.

    Raises:
        MillraceError: as `perform`.
    """
    directory = start or place
    outputs: dict[str, Any] = dict(before or {})
    for step in steps:
        if len(step) != 1:
            raise InvalidInput(f"A pull step has one name; this one has {', '.join(map(repr, step)) or 'none'}.")
        ((name, given),) = step.items()
        inputs = dict(given or {})
        label, required = inputs.pop("id", None), inputs.pop("requires", None)
        if required and _short(name) is None:  # what the steps of this house need, they say themselves
            _require(name, [required] if isinstance(required, str) else required)
        inputs = Values(outputs, os.environ, secret, variable).filled(inputs)
        answer = _call(name, inputs, place if _short(name) in FETCHING else directory)
        if isinstance(answer, Mapping):
            outputs.update(answer)
            if label:
                outputs[str(label)] = answer
            if "directory" in answer:
                directory = directory / str(answer["directory"])
    return directory, outputs


def require_known(name: str) -> None:
    """Refuse the name of a step that is one of ours by its prefix, and of which there is none.

    Args:
        name: as the step has it.

    Raises:
        InvalidInput: the message lists those there are.
    """
    known = sorted([*BUILT_IN, *DEPLOYING])
    if name in known:
        raise InvalidInput(f"The step {name!r} is named in full. Did you mean {f'{PREFIXES[0]}{name}'!r}?")
    if _short(name) is None and name.startswith(PREFIXES):
        hint = did_you_mean(name.rpartition(".")[2], known, 1)
        raise InvalidInput(f"The step {name!r} is not known here.{hint} There are: {', '.join(known)}.")


def misfit(name: str, given: Mapping[str, Any] | None) -> tuple[str, str | None] | None:
    """What is wrong with the names of the inputs of a step of ours; None where nothing is, or the step is not ours.

    Args:
        name: as the step has it.
        given: its inputs.

    Returns:
        A sentence, and the input that it is about, where that is given.
    """
    short, names = _short(name), set(given or {}) - {"id", "requires"}
    if short is None:
        return None
    step = plugins.load(DEPLOYING[short]) if short in DEPLOYING else BUILT_IN[short]
    takes = dict(list(inspect.signature(step).parameters.items())[1:])  # without the place, which is not given
    known = [one.name for one in takes.values() if one.kind is not one.VAR_KEYWORD]
    if len(known) == len(takes) and (strange := sorted(names - set(known))):
        hint = did_you_mean(strange[0], known, 1)
        return f"The step {short} takes no {strange[0]!r}.{hint} It takes: {', '.join(known)}.", strange[0]
    for one in takes.values():
        if one.kind is not one.VAR_KEYWORD and one.default is one.empty and one.name not in names:
            return f"The step {short} needs {one.name!r}, which is not given.", None
    return None


def _short(name: str) -> str | None:
    for prefix in PREFIXES:
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            rest = next((rest.removeprefix(one) for one in _MODULES if rest.startswith(one)), rest)
            return rest if rest in BUILT_IN or rest in DEPLOYING else None
    return None


def _call(name: str, inputs: dict[str, Any], place: Path) -> Any:
    short = _short(name)
    require_known(name)
    try:
        if short is not None:
            return (plugins.load(DEPLOYING[short]) if short in DEPLOYING else BUILT_IN[short])(place, **inputs)
        return _function(name)(**inputs)
    except MillraceError:
        raise
    except TypeError as error:
        raise InvalidInput(f"The step {name!r} cannot be called like this: {error}") from error
    except Exception as error:
        raise PullFailed(f"The step {name!r} raised {type(error).__name__}: {error}") from error


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.rpartition(".")
    found: Any = plugins.load(f"{module}:{attribute}") if module else None
    if not callable(found):
        raise InvalidInput(f"The step {name!r} is no function.")
    return found  # type: ignore[no-any-return]


def _require(name: str, packages: Iterable[str]) -> None:
    for package in packages:
        module = package.split("[")[0].split("=")[0].split("<")[0].split(">")[0].split("~")[0].strip()
        if importlib.util.find_spec(module.replace("-", "_")) is None:
            raise PluginMissing(
                f"The step {name!r} needs the package {package!r}, which is not installed: pip install {package}"
            )


def secret(name: str) -> Any:
    """The value of a secret."""
    return plugins.load("millrace.engine.secrets:Secret").load(name).get()


def variable(name: str) -> Any:
    """The value of a variable."""
    missing = object()
    found = plugins.load("millrace.variables:Variable").get(name, missing)
    if found is missing:
        raise InvalidInput(f"There is no variable {name!r}. Set it: millrace variable set {name} VALUE")
    return found
