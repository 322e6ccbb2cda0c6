"""What goes into an image: the folders with the code of deployments, their requirements, and the Dockerfile.

Of a script its directory is taken, as its .dockerignore says; of code from a notebook the exported files. What holds
credentials or is made anew anyway never goes: repositories, virtual environments, caches, keys and files of secrets.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from millrace import entrypoints, settings
from millrace.deployments import environment
from millrace.deployments.environment import Need
from millrace.deployments.source import Source
from millrace.errors import InvalidInput
from millrace.notebooks.scopes import Import
from millrace.storage import steps
from millrace.storage.local import SET_DIRECTORY

ROOT = "/opt/millrace"
LARGE = 100 * 2**20
"""Bytes; a context of more is told of."""

_NEVER_FOLDERS = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints", ".mypy_cache"}
    | {".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".ssh", ".aws", ".azure", ".gnupg", ".docker"}
    | {".kube", ".config", ".cache"}
)
_MADE = ("*.pyc", "*.pyo", ".git", ".DS_Store")
_SECRET = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pypirc", ".git-credentials", ".dockercfg"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p12", "*.pfx"),
)

Ignored = Callable[[str], bool]


@dataclass(frozen=True)
class Folder:
    """A folder of code in an image.

    Args:
        name: below `/opt/millrace`.
        directory: where it lies here.
        files: what of it goes, relative.
        exported: it was made from cells or a notebook.
        left_out: files that look as if they held secrets.
    """

    name: str
    directory: Path
    files: tuple[str, ...]
    exported: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it lies in the image."""
        return f"{ROOT}/{self.name}"

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum((self.directory / name).lstat().st_size for name in self.files)


@dataclass(frozen=True)
class Layout:
    """Where code lies in an image.

    Args:
        folders: what is copied.
        sources: the code of the deployments, as their runs find it in a container; in the order given.
    """

    folders: tuple[Folder, ...] = ()
    sources: tuple[Source, ...] = ()


@dataclass
class _Names:
    taken: dict[str, tuple[Path, tuple[str, ...]]] = field(default_factory=dict)

    def of(self, wanted: str, directory: Path, only: tuple[str, ...]) -> str:
        slug = re.sub(r"[^a-z0-9._-]+", "-", wanted.lower()).strip("-.") or "code"
        name, number = slug, 1
        while self.taken.get(name, (directory, only)) != (directory, only):
            number += 1
            name = f"{slug}-{number}"
        self.taken[name] = (directory, only)
        return name


def is_exported(source: Source) -> bool:
    """Whether code was made from cells or is a copy of a notebook.

    Args:
        source: the code.
    """
    return source.path is not None and source.path.is_relative_to(settings.current().code_directory)


def laid_out(sources: Sequence[Source], ignored: Callable[[Path], Ignored], context: Path | None = None) -> Layout:
    """Where the code of deployments goes in an image.

    Args:
        sources: their code.
        ignored: for a directory, tells the files that its .dockerignore leaves out.
        context: take this directory for the scripts below it.

    Raises:
        InvalidInput: a directory is a whole home directory, or the code is not there.
    """
    names, folders, placed = _Names(), dict[str, Folder](), []
    for source in sources:
        path = source.path if source.path is not None or source.pull_steps else _root_of(source.entrypoint)
        if path is None:  # installed, or fetched by the run itself
            placed.append(replace(source, path=None, working_dir=None, files=()))
            continue
        exported = is_exported(source)
        directory = context if context is not None and not exported and path.is_relative_to(context) else path
        only = source.files if exported else ()
        called = Path(entrypoints.parse(source.entrypoint).location).stem if exported else directory.name
        name = names.of(called, directory, only)
        if name not in folders:
            files, left_out = (only, ()) if only else files_of(directory, ignored(directory))
            folders[name] = Folder(name, directory, files, exported, left_out)
        below = path.relative_to(directory).as_posix()
        step = {SET_DIRECTORY: {"directory": f"{ROOT}/{name}" if below == "." else f"{ROOT}/{name}/{below}"}}
        placed.append(replace(source, path=None, working_dir=None, files=(), pull_steps=(step,)))
    return Layout(tuple(folders.values()), tuple(placed))


def _root_of(entrypoint: str) -> Path | None:
    """The directory from which a module that is not installed is imported."""
    location = entrypoints.parse(entrypoint).location
    file = environment.place_of(location.partition(".")[0])
    if file is None or environment.is_installed(file) or environment.project_around(file) is not None:
        return None
    return file.parent.parent if file.name == "__init__.py" or file.is_dir() else file.parent


def beside(sources: Sequence[Source], context: Path) -> tuple[Source, ...]:
    """The code of scripts in an image whose own Dockerfile, or whose maker, put their directory where it works.

    Args:
        sources: code of scripts, packages and storages.
        context: the directory that became the image's working directory.

    Raises:
        InvalidInput: the code is in another directory.
    """
    placed = []
    for source in sources:
        found: tuple[dict[str, object], ...] = source.pull_steps
        if source.path is not None and source.path != context:
            if not source.path.is_relative_to(context):
                raise InvalidInput(
                    f"The code of {source.entrypoint!r} lies in {source.path}, which is not below {context}, so nobody "
                    "knows where it is in the image. Give context=… of the build, or work in that directory."
                )
            found = ({SET_DIRECTORY: {"directory": source.path.relative_to(context).as_posix()}},)
        placed.append(replace(source, path=None, working_dir=None, files=(), pull_steps=found))
    return tuple(placed)


# -- files


def files_of(directory: Path, ignored: Ignored) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files of a directory that may go into an image, relative, and those that may hold secrets.

    Args:
        directory: the directory.
        ignored: whether a relative path is left out.

    Raises:
        InvalidInput: it is no directory, or a home directory as a whole.
    """
    refuse_home(directory)
    if not directory.is_dir():
        raise InvalidInput(f"There is no directory {directory} to copy into an image.")
    home = settings.current().home
    found: list[str] = []
    secret: list[str] = []
    for at, folders, files in os.walk(directory):
        here = Path(at)
        folders[:] = sorted(one for one in folders if _may_go(here / one) and here / one != home)
        for name in sorted(files):
            relative = (here / name).relative_to(directory).as_posix()
            if ignored(relative) or any(fnmatch(name, one) for one in _MADE):
                continue
            (secret if any(fnmatch(name, one) for one in _SECRET) else found).append(relative)
    return tuple(found), tuple(secret)


def _may_go(folder: Path) -> bool:
    return folder.name not in _NEVER_FOLDERS and not (folder / "pyvenv.cfg").is_file()


def refuse_home(directory: Path) -> None:
    """Refuse a directory that holds everything a user has.

    Args:
        directory: to be copied.

    Raises:
        InvalidInput: the home directory lies in it, or is it.
    """
    if Path.home().resolve().is_relative_to(directory.resolve()):
        raise InvalidInput(
            f"The code lies in {directory}, and all of it would go into the image, private files included. Move the "
            "flow into a directory of its own and deploy it from there."
        )


def told_of(folders: Iterable[Folder]) -> list[str]:
    """A sentence for each folder that is large, and for each of which files are left out for what they may hold.

    Args:
        folders: of the image.
    """
    said = []
    for folder in folders:
        if folder.left_out:
            said.append(f"Left out of the image, for they may hold secrets: {', '.join(folder.left_out)}.")
        if (size := folder.size) > LARGE:
            part, largest = max(((folder.directory / name).lstat().st_size, name) for name in folder.files)
            said.append(
                f"{folder.directory} puts {size / 2**20:.0f} MiB into the image; of its {len(folder.files)} "
                f"files {largest} is the largest ({part / 2**20:.0f} MiB). A .dockerignore there leaves files out."
            )
    return said


# -- requirements


def needs_of(sources: Sequence[Source]) -> tuple[Need, tuple[str, ...]]:
    """What the code of deployments needs, and the lines of requirements files beside it, which win.

    Args:
        sources: their code.

    Raises:
        ClosureError: a file is no Python.
        PullFailed: code that lies elsewhere could not be read.
    """
    need, given, imports = Need(), list[str](), list[Import]()
    for source in sources:
        with _readable(source) as directory:
            file = _requirements_beside(source, Path(directory)) if directory else None
            if file is not None:
                given += [line for line in requirement_lines(file) if line not in given]
            elif _there(source.entrypoint, Path(directory or Path.cwd())):
                imports += environment.imports_of(source.entrypoint, Path(directory or Path.cwd()))
        for step in source.pull_steps:
            required = [inputs.get("requires") for inputs in step.values() if isinstance(inputs, dict)]
            need |= Need(tuple(str(one) for one in required if one))
    need |= environment.need_of(imports)
    if not any(re.match(r"millrace\b", line) for line in given):
        need |= environment.need_of_millrace(imports)
    return need, tuple(given)


def _there(entrypoint: str, directory: Path) -> bool:
    parsed = entrypoints.parse(entrypoint)
    return parsed.kind == "module" or (directory / parsed.location).is_file()


def _readable(source: Source) -> AbstractContextManager[str | None]:
    if not source.pull_steps:
        return nullcontext(str(source.path) if source.path else None)
    return _Pulled(source)


class _Pulled(AbstractContextManager[str | None]):
    def __init__(self, source: Source) -> None:
        self._source = source
        self._place = tempfile.TemporaryDirectory(prefix="millrace-source-")

    def __enter__(self) -> str | None:
        return str(steps.perform(self._source.pull_steps, Path(self._place.__enter__())))

    def __exit__(self, *error: object) -> None:
        self._place.cleanup()


def _requirements_beside(source: Source, directory: Path) -> Path | None:
    parsed = entrypoints.parse(source.entrypoint)
    first = directory if parsed.kind == "module" else (directory / parsed.location).parent
    folders = [first, directory]
    if is_exported(source) and source.working_dir is not None:
        folders = [source.working_dir]  # where the notebook lies
    return next((one / "requirements.txt" for one in folders if (one / "requirements.txt").is_file()), None)


def requirement_lines(file: Path) -> list[str]:
    """The lines of a requirements file, with those of the files that it names.

    Args:
        file: the file.

    Raises:
        InvalidInput: a line needs files that are not in the image when packages are installed.
    """
    found = []
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in (re.sub(r"(^|\s)#.*", "", one).strip() for one in text.splitlines()):
        other = re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
        if other:
            found += requirement_lines(file.parent / other[1])
        elif re.match(r"(-e|--editable|-c|--constraint|\.{0,2}/|\.$|file:)", line):
            raise InvalidInput(
                f"{file} says {line!r}, which leads to files of this machine; the packages are installed before those "
                "are in the image. Write a Dockerfile and give it: DockerImage(…, dockerfile='Dockerfile')."
            )
        elif line:
            found.append(line)
    return found


# -- the Dockerfile


def default_base() -> str:
    """The image to begin with where none is named."""
    return settings.current().docker_base_image or f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def dockerfile_of(
    base: str, lines: Sequence[str], wheels: Sequence[str], folders: Sequence[Folder], *, git: bool = False
) -> str:
    """The text of a Dockerfile. What changes seldom comes first, so that its layers are made once.

    Args:
        base: the image to begin with.
        lines: requirements.
        wheels: names of files of packages of this machine.
        folders: of code; the first becomes the working directory.
        git: whether runs fetch code with git.
    """
    pip = "python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore"
    written = [f"FROM {base}"]
    if git or any("git+" in line for line in lines):
        written.append(
            "RUN command -v git || "
            "(apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*)"
        )
    if lines:
        written += [f"COPY requirements.txt {ROOT}/requirements.txt", f"RUN {pip} -r {ROOT}/requirements.txt"]
    if wheels:
        written += [f"COPY wheels {ROOT}/.wheels", f"RUN {pip} --no-deps --force-reinstall {ROOT}/.wheels/*.whl"]
    return "\n".join([*written, *copying(folders)]) + "\n"


def copying(folders: Sequence[Folder]) -> list[str]:
    """The lines that copy code.

    Args:
        folders: of code; the first becomes the working directory.
    """
    lines = [f"COPY code/{one.name} {one.place}" for one in folders]
    return [*lines, f"WORKDIR {folders[0].place}"] if folders else lines
