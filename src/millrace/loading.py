"""Flows loaded from where their code lies: an entrypoint, a script, a text, the deployment of a run."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from millrace import declarations, entrypoints
from millrace.client.locate import connect
from millrace.engine.tracebacks import own
from millrace.entrypoints import Entrypoint
from millrace.errors import EntrypointError, InvalidInput, MillraceError, MissingFile
from millrace.flows import Flow
from millrace.selection import checked_name, shown
from millrace.selection import select_flow as select_flow
from millrace.workers import steps

if TYPE_CHECKING:
    from millrace.client.synchronous import Client
    from millrace.schema.deployments import Deployment
    from millrace.schema.runs import FlowRun, Lease
    from millrace.schema.states import State

_OPTIONS = (
    "name",
    "version",
    "retries",
    "retry_delay_seconds",
    "description",
    "timeout_seconds",
    "validate_parameters",
    "persist_result",
    "cache_result_in_memory",
    "log_prints",
)


class PlaceholderFlow(Flow[Any, Any]):
    """A flow known by its source only: name, options and parameters. No line of its file has run.

    Calling it calls the real flow, or raises what keeps that from being loaded; then no run is made.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the real flow.

        Args:
            args, kwargs: as the flow takes them.

        Raises:
            Exception: what the placeholder was made with, or what loading the file raises.
        """
        return self._real()(*args, **kwargs)

    def run_claimed(self, flow_run: FlowRun, lease: Lease | None, client: Client) -> State:
        """Runs a run that exists, with the real flow.

        Args:
            flow_run: the run.
            lease: the right to run it.
            client: the connection to the server.
        """
        return self._real().run_claimed(flow_run, lease, client)

    @property
    def unloadable(self) -> str | None:
        """Why the real flow cannot be loaded here, in a line, where that is known already."""
        error = getattr(cast(Any, self.fn).real, "args", (None,))[0]
        cause = getattr(error, "__cause__", None) or error
        return f"{type(cause).__name__}: {cause}" if isinstance(cause, BaseException) else None

    def _real(self) -> Flow[Any, Any]:
        return cast("Flow[Any, Any]", cast(Any, self.fn).real())


# -- by entrypoint


def load_flow_from_entrypoint(entrypoint: str, use_placeholder_flow: bool = True) -> Flow[Any, Any]:
    """The flow that an entrypoint leads to. All of the file's code is run.

    Args:
        entrypoint: `file.py:function`, `file.py:Class.method`, `package.module.function`, `book.ipynb:function`, or a
            whole notebook.
        use_placeholder_flow: where the code raises, for a dependency that is missing perhaps, give a flow that is known
            by its source only and raises the same when it is called.

    Raises:
        EntrypointError: there is no such file; or its code raised, and no placeholder is wanted or can be had. The
            message names file and line, the `__cause__` is what was raised.
        MissingFlow: the file holds no such flow.
        UnspecifiedFlow: no function is named and it holds several.

    Example:
        >>> load_flow_from_entrypoint("flows/etl.py:etl").name  # doctest: +SKIP
        'etl'
    """
    return _loaded(entrypoint, use_placeholder_flow)


def flow_in(directory: Path, entrypoint: Entrypoint) -> Any:
    """The flow that an entrypoint leads to, or a placeholder where a module that it imports is not installed here.

    It is enough to deploy a flow from a machine that need not be able to run it.

    Args:
        directory: where relative paths begin.
        entrypoint: the entrypoint.
    """
    return _loaded(entrypoint, True, directory=directory, only=ImportError)


def _loaded(
    entrypoint: str | Entrypoint,
    use_placeholder_flow: bool,
    made_of: Callable[[Any], Flow[Any, Any]] | None = None,
    directory: Path | None = None,
    only: type[BaseException] = BaseException,
) -> Flow[Any, Any]:
    try:
        return cast("Flow[Any, Any]", entrypoints.load(entrypoint, directory, made_of))
    except EntrypointError as error:
        if not use_placeholder_flow or not isinstance(error.__cause__, only):
            raise
        try:
            return _placeholder(entrypoint, partial(_raise, error), directory)
        except (MillraceError, TypeError, ValueError):
            raise error from error.__cause__


def _raise(error: BaseException) -> Flow[Any, Any]:
    raise own(error)


def load_function_and_convert_to_flow(entrypoint: str) -> Flow[Any, Any]:
    """What an entrypoint leads to, made a flow that logs its prints if it is a plain function.

    Args:
        entrypoint: as for `load_flow_from_entrypoint`.

    Raises:
        EntrypointError: there is no such file, or its code raised.
        MissingFlow: it holds nothing of this name that can be called.
    """
    return cast("Flow[Any, Any]", entrypoints.load(entrypoint, made_of=_of_function))


def _of_function(function: Callable[..., Any]) -> Flow[Any, Any]:
    return Flow(function, log_prints=True)


def load_placeholder_flow(entrypoint: str, raises: BaseException) -> Flow[Any, Any]:
    """A flow with the name, options and parameters that the source shows, which raises when it is called.

    Args:
        entrypoint: as for `load_flow_from_entrypoint`.
        raises: what a call raises.

    Raises:
        EntrypointError: there is no such file, or it is no Python.
        MissingFlow: it defines nothing of this name.
    """
    return _placeholder(entrypoint, partial(_raise, raises))


def safe_load_flow_from_entrypoint(entrypoint: str) -> Flow[Any, Any] | None:
    """The flow as its source shows it, without running any of it; None if there is none to be seen.

    The file is run when the flow is called, and not before.

    Args:
        entrypoint: as for `load_flow_from_entrypoint`.

    Example:
        >>> safe_load_flow_from_entrypoint("nowhere.py:etl") is None
        True
    """
    directory = Path.cwd()
    try:
        return _placeholder(entrypoint, lambda: cast("Flow[Any, Any]", entrypoints.load(entrypoint, directory)))
    except (MillraceError, TypeError, ValueError):
        return None


def load_flow_arguments_from_entrypoint(entrypoint: str, arguments: Iterable[str] | None = None) -> dict[str, Any]:
    """The options that a flow's decorator is given, read from the source without running it.

    Constants, names of constants and sums of them are read; what else an option may be is left out. The name is always
    there.

    Args:
        entrypoint: as for `load_flow_from_entrypoint`.
        arguments: which options; by default those that are plain values.

    Raises:
        EntrypointError: there is no such file, or it is no Python.
        MissingFlow: it defines nothing of this name.
    """
    return declarations.find(entrypoint).options(_OPTIONS if arguments is None else arguments)


def is_entrypoint_async(entrypoint: str) -> bool:
    """Whether the function of an entrypoint is an `async def`, read from the source without running it.

    Args:
        entrypoint: as for `load_flow_from_entrypoint`.

    Raises:
        EntrypointError: there is no such file, or it is no Python.
        MissingFlow: it defines nothing of this name.
    """
    return declarations.find(entrypoint).is_async


def _placeholder(
    entrypoint: str | Entrypoint, real: Callable[[], Flow[Any, Any]], directory: Path | None = None
) -> PlaceholderFlow:
    found = declarations.find(entrypoint, directory)
    signature = found.signature()

    def call(*args: Any, **kwargs: Any) -> Any:
        return real().fn(*args, **kwargs)

    async def acall(*args: Any, **kwargs: Any) -> Any:
        return await real().fn(*args, **kwargs)

    stand_in: Any = acall if found.is_async else call
    stand_in.__name__ = stand_in.__qualname__ = found.variable.rpartition(".")[2]
    stand_in.__doc__ = found.doc
    stand_in.__signature__ = signature
    named = {name: one.annotation for name, one in signature.parameters.items()}
    stand_in.__annotations__ = {name: kind for name, kind in named.items() if kind is not inspect.Parameter.empty}
    stand_in.real = real
    options = found.options(_OPTIONS)
    made = PlaceholderFlow(stand_in, **{"version": found.version, **options})
    if found.entrypoint.kind == "file":
        made._storage, made._entrypoint = directory or Path.cwd(), str(found.entrypoint)
    else:
        made._entrypoint = str(entrypoint)
    return made


# -- by script


def load_flows_from_script(path: str | os.PathLike[str]) -> set[Flow[Any, Any]]:
    """All flows that a Python script holds, those it imports included. All of its code is run.

    Args:
        path: the script.

    Raises:
        EntrypointError: it is not there, or raises: the message names its line.
    """
    return set(entrypoints.flows_in(_run(path)).values())


def load_flow_from_script(path: str | os.PathLike[str], flow_name: str | None = None) -> Flow[Any, Any]:
    """One flow of a Python script. All of its code is run.

    Args:
        path: the script.
        flow_name: the flow's name; without it the only one that the script defines.

    Raises:
        EntrypointError: the script is not there, or raises: the message names its line.
        MissingFlow: it holds no such flow.
        UnspecifiedFlow: it defines several and no name is given.
    """
    checked_name(flow_name)
    module = _run(path)
    flows = entrypoints.flows_in(module) if flow_name else entrypoints.own_flows(module)
    return select_flow(flows.values(), flow_name, f"in script {str(path)!r}")


def _run(path: str | os.PathLike[str]) -> Any:
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"The path of a script is wanted, not {shown(path)}.")
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise MissingFile(f"There is no script {str(path)!r}: {file} is not a file.", str(file))
    return entrypoints.execute(file)


_texts = threading.Lock()


def load_flow_from_text(script_contents: str | bytes, flow_name: str | None = None) -> Flow[Any, Any]:
    """One flow of the text of a script. All of its code is run; its tracebacks show its lines.

    Args:
        script_contents: the text.
        flow_name: the flow's name; without it the only one there is.

    Raises:
        EntrypointError: the text raises.
        MissingFlow: it holds no such flow.
        UnspecifiedFlow: it holds several and no name is given.
    """
    if not isinstance(script_contents, str | bytes):
        raise InvalidInput(
            f"The text of a script is wanted, not {shown(script_contents)}. For files there is load_flow_from_script."
        )
    checked_name(flow_name)
    text = script_contents.decode() if isinstance(script_contents, bytes) else script_contents
    with _texts, tempfile.TemporaryDirectory(prefix="millrace-text-") as directory:
        file = Path(directory) / "flow_script.py"
        file.write_text(text, encoding="utf-8")
        try:
            flow = load_flow_from_script(file, flow_name)
        finally:
            sys.path[:] = [one for one in sys.path if one != directory]
            sys.modules.pop("flow_script", None)
        # The file is gone in a moment; its lines are still wanted, by tracebacks and by `inspect.getsource`.
        linecache.cache[str(file)] = (len(text), None, text.splitlines(keepends=True), str(file))
        flow.version  # noqa: B018 - read while the file is there
        return flow


# -- by deployment


def load_flow_from_flow_run(
    flow_run: FlowRun,
    *,
    client: Client | None = None,
    ignore_storage: bool = False,
    storage_base_path: str | None = None,
    use_placeholder_flow: bool = True,
) -> Flow[Any, Any]:
    """The flow of a run, from the code of its deployment.

    The deployment's pull steps are performed first; where there are some, the process then works where they end.

    Args:
        flow_run: the run.
        client: the connection; by default this process's own.
        ignore_storage: perform no pull steps: the code is in the current directory.
        storage_base_path: what `$STORAGE_BASE_PATH` stands for in the deployment's path.
        use_placeholder_flow: as for `load_flow_from_entrypoint`.

    Raises:
        InvalidInput: the run has no deployment, or one without an entrypoint.
        EntrypointError: the code is not there, or raises.
        MissingFlow: it holds no such function.
    """
    if not hasattr(flow_run, "deployment_id"):
        raise InvalidInput(
            f"{flow_run!r:.80} ({type(flow_run).__name__}) is no flow run: give what client.read_flow_run(id) gives."
        )
    if flow_run.deployment_id is None:
        raise InvalidInput(
            f"The flow run {flow_run.name!r} belongs to no deployment, so nobody knows where its code is."
        )
    deployment = (client or connect()).read_deployment(flow_run.deployment_id)
    if not deployment.entrypoint:
        raise InvalidInput(f"The deployment {deployment.name!r} has no entrypoint. Deploy it again.")
    base = storage_base_path or os.environ.get("MILLRACE__STORAGE_BASE_PATH")
    directory = None if ignore_storage else steps.pull(_based(deployment, base), flow_run)
    if directory is not None and deployment.pull_steps:
        os.chdir(directory)
    return _loaded(deployment.entrypoint, use_placeholder_flow, _of_function, directory)


def _based(deployment: Deployment, base: str | None) -> Deployment:
    if base is None or not deployment.path:
        return deployment
    return deployment.model_copy(update={"path": deployment.path.replace("$STORAGE_BASE_PATH", base)})


async def aload_flow_from_flow_run(flow_run: FlowRun, **options: Any) -> Flow[Any, Any]:
    """The same for `async def` code.

    Args:
        flow_run: the run.
        options: those of `load_flow_from_flow_run`.
    """
    return await asyncio.to_thread(load_flow_from_flow_run, flow_run, **options)
