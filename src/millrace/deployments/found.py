"""A flow and its code, found in a place that holds code."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace import entrypoints, plugins
from millrace.deployments import given as accepted
from millrace.deployments import source
from millrace.errors import InvalidInput
from millrace.storage.kinds import CodeStorage, storage_of
from millrace.storage.local import LocalStorage
from millrace.storage.steps import told_by


@dataclass(frozen=True)
class Found:
    """A flow and where its code is.

    Args:
        flow: the flow.
        code: its code.
    """

    flow: Any
    code: source.Source


def found(storage: Path | str | CodeStorage, entrypoint: str) -> Found:
    """The flow that an entrypoint leads to, in a place that holds code.

    Args:
        storage: a directory, a URL or a storage.
        entrypoint: relative to it.

    Raises:
        InvalidInput: there is no such directory, or nothing reads such a URL.
        EntrypointError: it leads nowhere.
        PullFailed: the code could not be fetched.
    """
    place = storage_of(storage)
    if isinstance(place, LocalStorage):
        return in_directory(place.path, entrypoint)
    step = place.to_pull_step()  # first: a token that must not be stored is refused before anything is fetched
    with tempfile.TemporaryDirectory(prefix="millrace-source-") as temporary:
        directory = place.pull(Path(temporary))
        with told_by(str(getattr(place, "url", repr(place))), directory):
            return pulled(directory, entrypoint, [step])


def in_directory(directory: Path, entrypoint: str) -> Found:
    """The flow that an entrypoint leads to, in a directory of this machine.

    Args:
        directory: the directory.
        entrypoint: relative to it.
    """
    if not directory.is_dir():
        raise InvalidInput(f"There is no directory {directory} to deploy from.")
    parsed = entrypoints.parse(entrypoint)
    book = directory / parsed.location
    if parsed.kind in ("notebook", "cell"):
        accepted.file_there(book, entrypoint)
        whole = parsed.kind == "notebook"
        code = source.of_notebook(book) if whole else source.of_notebook_flow(book, str(parsed.name))
        assert code.path is not None
        return Found(entrypoints.load(code.entrypoint, code.path), code)
    flow: Any = _flow(parsed, directory)
    version = source.of_file(directory / parsed.location) if parsed.kind == "file" else _version(flow)
    return Found(flow, source.Source(directory, _written(parsed, flow), version, directory))


def pulled(directory: Path, entrypoint: str, steps: list[dict[str, Any]]) -> Found:
    """The flow that an entrypoint leads to, in code that runs will fetch anew by pull steps.

    Args:
        directory: where it lies for now: it is only read for the flow's name and parameters.
        entrypoint: relative to it.
        steps: the pull steps.
    """
    parsed = entrypoints.parse(entrypoint)
    location = os.path.normpath(parsed.location)
    if parsed.kind != "module" and (location.startswith(os.pardir) or os.path.isabs(location)):
        raise InvalidInput(f"The entrypoint {entrypoint!r} leads out of the code that runs fetch.")
    flow: Any = _flow(parsed, directory)
    version = _version(flow) if parsed.kind == "module" else source.of_file(directory / parsed.location)
    return Found(flow, source.Source(None, _written(parsed, flow), version, None, pull_steps=tuple(steps)))


def _flow(parsed: entrypoints.Entrypoint, directory: Path) -> Any:
    # What is not installed here may be where it runs; a flow is deployed by its source then.
    flow = plugins.load("millrace.loading:flow_in")(directory, parsed)
    if why := getattr(flow, "unloadable", None):
        plugins.load("millrace.deployments.placement:warn")(
            f"{parsed} cannot be imported here: {why}. It is deployed as its source shows it; runs fail wherever that "
            "is missing too."
        )
    return flow


def _written(parsed: entrypoints.Entrypoint, flow: Any) -> str:
    if parsed.name or parsed.kind == "notebook":
        return str(parsed)
    return f"{parsed}:{getattr(flow, 'fn', flow).__name__}"


def _version(flow: Any) -> str | None:
    # A placeholder's function is not the flow's own, and it has read its version from the source.
    placeholder = hasattr(getattr(flow, "fn", None), "real")
    return str(flow.version) if placeholder else source.of_function(flow)
