"""What has to be installed where code runs: the packages that it imports, pinned to the versions that are here.

The text is read, nothing is run. Only packages that the code itself imports are named; what these need in turn is for
pip to find. A package that was installed from a directory of this machine, Millrace under development included, cannot
be had from an index: it is built as a wheel and travels with the code.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement

from millrace import entrypoints, settings
from millrace.deployments import carried
from millrace.errors import BuildFailed, ClosureError
from millrace.notebooks.carried import local_modules
from millrace.notebooks.effects import imports_in
from millrace.notebooks.scopes import Import

OWN = "millrace"
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_NOT_SOURCE = frozenset({"__pycache__", "node_modules", "build", "dist"})


@dataclass(frozen=True)
class Need:
    """What some code needs.

    Args:
        lines: lines of a requirements file, sorted.
        projects: directories of packages to be built as wheels.
        notes: what could not be found out, a sentence each.
    """

    lines: tuple[str, ...] = ()
    projects: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __or__(self, other: Need) -> Need:
        return Need(
            tuple(sorted({*self.lines, *other.lines})),
            tuple(sorted({*self.projects, *other.projects})),
            tuple(dict.fromkeys([*self.notes, *other.notes])),
        )


# -- what code imports


def imports_of(entrypoint: str, directory: Path) -> tuple[Import, ...]:
    """What the code of an entrypoint imports, and what the modules beside it that it imports do; no local ones.

    Args:
        entrypoint: of a flow.
        directory: what it is relative to.

    Raises:
        ClosureError: a file is no Python.
    """
    parsed = entrypoints.parse(entrypoint)
    if parsed.kind == "module":
        roots, first = [directory], [Import(parsed.location)]
    else:
        file = directory / parsed.location
        roots = [file.parent, directory]
        first = carried.imports_in_book(file) if file.suffix == ".ipynb" else _imports_in(file.read_bytes(), file.name)
    found = local_modules(first, roots)
    inner = [
        one for file in found.files if file.target.endswith(".py") for one in _imports_in(file.content, file.target)
    ]
    return tuple(dict.fromkeys(one for one in [*first, *inner] if one.level == 0 and _top(one) in found.others))


def _imports_in(content: bytes, name: str) -> list[Import]:
    try:
        return imports_in(ast.parse(content))
    except (SyntaxError, ValueError) as error:
        raise ClosureError(f"{name} is no Python: {error}. Correct it.") from None


def _top(one: Import) -> str:
    return one.module.partition(".")[0]


# -- what provides it


def need_of(imports: Iterable[Import]) -> Need:
    """The packages that imports lead to, Millrace apart.

    Args:
        imports: as `imports_of` gives them.
    """
    found = _Found()
    by_name: dict[str, set[str]] = {}
    for one in imports:
        by_name.setdefault(_top(one), set()).update(_dotted(one))
    for name, dotted in sorted(by_name.items()):
        if name not in sys.stdlib_module_names and name != OWN:
            found.module(name, dotted, set())
    return found.need


def need_of_millrace(imports: Iterable[Import]) -> Need:
    """Millrace itself, with the extras that code makes use of.

    Args:
        imports: as `imports_of` gives them.
    """
    found = _Found()
    used = {name for one in imports if _top(one) == OWN for name in one.names}
    found.module(OWN, {OWN}, {"dask"} if "DaskTaskRunner" in used else set())
    return found.need


def _dotted(one: Import) -> Iterator[str]:
    yield one.module
    yield from (f"{one.module}.{name}" for name in one.names)


@dataclass
class _Found:
    lines: set[str] = field(default_factory=set)
    projects: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def need(self) -> Need:
        return Need(tuple(sorted(self.lines)), tuple(sorted(self.projects)), tuple(self.notes))

    def module(self, name: str, dotted: set[str], extras: set[str]) -> None:
        place = place_of(name)
        if place is None:
            self.notes.append(f"{name!r}, which the code imports, is not installed here and was left out.")
        elif is_installed(place):
            for distribution in _distributions(name, dotted):
                self.distribution(distribution, extras)
        elif (project := project_around(place)) is not None:
            self.project(project, extras)
        else:
            self.notes.append(
                f"{name!r} lies in {place.parent}, outside of any installed package, and was left out. Put it beside "
                "the flow, or name what provides it in a requirements.txt there."
            )

    def distribution(self, distribution: metadata.Distribution, extras: set[str]) -> None:
        wanted = f"{distribution.name}[{','.join(sorted(extras))}]" if extras else distribution.name
        origin = _origin(distribution)
        url = str(origin.get("url", ""))
        if url.startswith("file:"):
            path = Path(unquote(urlsplit(url).path))
            if path.is_dir():
                self.project(path, extras)
                return
            self.notes.append(
                f"{distribution.name} was installed from {path}, which is gone; its version {distribution.version} is "
                "expected from the index."
            )
        elif "vcs_info" in origin:
            vcs = origin["vcs_info"]
            below = f"#subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
            self.lines.add(f"{wanted} @ {vcs['vcs']}+{_bare(url)}@{vcs['commit_id']}{below}")
            return
        elif url:
            self.lines.add(f"{wanted} @ {_bare(url)}")
            return
        self.lines.add(f"{wanted}=={distribution.version.partition('+')[0]}")

    def project(self, project: Path, extras: set[str]) -> None:
        """A directory that becomes a wheel; what it needs is installed from the index, except for its like."""
        if project in self.projects:
            return
        self.projects.add(project)
        for requirement in requirements_of(wheel_of(project), extras):
            installed = _installed(requirement.name)
            origin = _origin(installed) if installed else {}
            if installed is not None and "dir_info" in origin and str(origin.get("url", "")).startswith("file:"):
                self.distribution(installed, set(requirement.extras))
            else:
                requirement.marker = None
                self.lines.add(str(requirement))


def is_installed(file: Path) -> bool:
    """Whether a file belongs to an installed package.

    Args:
        file: of a module.
    """
    return bool(_INSTALLED & set(file.parts))


def place_of(name: str) -> Path | None:
    """The file of a module that can be imported here; of a namespace its directory.

    Args:
        name: of the module, without dots.
    """
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    try:
        spec = loaded or importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if spec.origin and spec.has_location:
        return Path(spec.origin)
    return next((Path(one) for one in spec.submodule_search_locations or ()), None)


@lru_cache(maxsize=1)
def _providers() -> dict[str, list[str]]:
    return {name: sorted(set(found)) for name, found in metadata.packages_distributions().items()}


def _distributions(name: str, dotted: set[str]) -> list[metadata.Distribution]:
    found = [metadata.distribution(one) for one in _providers().get(name, ())]
    if len(found) < 2:
        return found
    # A namespace that several packages fill: those count that hold what is imported.
    wanted = tuple(f"{one.replace('.', '/')}{end}" for one in dotted if "." in one for end in ("/", ".py"))
    exact = [one for one in found if any(str(file).startswith(wanted) for file in one.files or ())] if wanted else []
    return exact or found


def _installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _origin(distribution: metadata.Distribution) -> dict[str, Any]:
    try:
        found = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _bare(url: str) -> str:
    """A URL without the credentials in it: they do not belong into an image."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] if not parts.scheme.startswith("ssh") else parts.netloc
    return urlunsplit(parts._replace(netloc=host))


# -- packages of this machine


def project_around(file: Path) -> Path | None:
    """The directory of the project that a file belongs to.

    Args:
        file: a module.
    """
    for directory in file.parents:
        if (directory / "setup.py").is_file():
            return directory
        config = directory / "pyproject.toml"
        if config.is_file() and any(line in ("[project]", "[build-system]") for line in _lines(config)):
            return directory
    return None


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]


def wheel_of(project: Path) -> Path:
    """The wheel of a project, built by pip; it is built again when a file has changed.

    Args:
        project: the directory of its `pyproject.toml` or `setup.py`.

    Raises:
        BuildFailed: pip cannot build it.
    """
    place = settings.current().cache_directory / "wheels" / _state_of(project)
    if built := next(iter(sorted(place.glob("*.whl"))), None):
        return built
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".wheel-", dir=place.parent))
    try:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
        done = subprocess.run(
            [*command, "--wheel-dir", str(temporary), str(project)], capture_output=True, text=True, errors="replace"
        )
        if done.returncode or not list(temporary.glob("*.whl")):
            said = "\n".join(f"    {line}" for line in (done.stderr or done.stdout).strip().splitlines()[-15:])
            raise BuildFailed(f"pip could not build a wheel of {project}, which the code imports:\n{said}")
        try:
            os.rename(temporary, place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return next(iter(sorted(place.glob("*.whl"))))


def _state_of(project: Path) -> str:
    digest = hashlib.sha256(str(project).encode())
    for at, folders, files in os.walk(project):
        folders[:] = sorted(one for one in folders if _of_source(Path(at) / one))
        for name in sorted(files):
            status = os.stat(Path(at) / name, follow_symlinks=False)
            digest.update(f"{at}/{name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _of_source(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _NOT_SOURCE or folder.name.endswith(".egg-info")
    return not hidden and not (folder / "pyvenv.cfg").is_file()


def requirements_of(wheel: Path, extras: Iterable[str] = ()) -> list[Requirement]:
    """What a wheel needs on a machine like this one.

    Args:
        wheel: the file.
        extras: of the package.
    """
    found = []
    distribution = next(iter(metadata.distributions(path=[str(wheel)])))
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        environments = [{"extra": one} for one in ("", *extras)]
        if requirement.marker is None or any(requirement.marker.evaluate(one) for one in environments):
            found.append(requirement)
    return found
