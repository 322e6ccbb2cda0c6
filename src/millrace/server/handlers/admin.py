"""The server itself: alive, which version, how busy."""

from __future__ import annotations

from millrace.errors import NotFound
from millrace.schema.fields import API_VERSION, JsonObject, now
from millrace.schema.operations import Counters, ServerInfo, ServerStorage
from millrace.server.context import Call
from millrace.server.process_template import PROCESS_TEMPLATE
from millrace.server.version import API_IMPLEMENTATION, millrace_version
from millrace.store import counters as store_counters

WORKER_VIEW = "aggregate-worker-metadata"
FEATURES = ["begin", "claim", "leases", "events", "skipped", "counters"]


def health(call: Call) -> bool:
    """Whether the server answers: it does."""
    return True


def ready(call: Call) -> bool:
    """Whether the database answers."""
    call.read(store_counters.read)
    return True


def server_version(call: Call) -> str:
    """A version of the API's implementation that every client of Prefect 3 accepts."""
    return API_IMPLEMENTATION


def server_storage(call: Call) -> ServerStorage:
    """No default storage: clients use their own."""
    return ServerStorage()


def server_info(call: Call) -> ServerInfo:
    """What a Millrace client needs to know."""
    context = call.context
    return ServerInfo(
        version=millrace_version(),
        api_version=API_VERSION,
        embedded=context.embedded,
        home=str(context.settings.home) if context.embedded else None,
        server_time=now(),
        features=FEATURES,
    )


def counters(call: Call) -> Counters:
    """How busy the server is."""
    return call.read(store_counters.read)


def read_collection(call: Call, view: str) -> JsonObject:
    """The kinds of workers, under the package they come with; of other collections nothing is known here."""
    if view != WORKER_VIEW:
        raise NotFound(f"Millrace has no collection {view!r}; it has {WORKER_VIEW!r}.")
    kind = {
        "type": "process",
        "display_name": "Process",
        "description": "Runs each flow run in a process of its own on the worker's machine.",
        "default_base_job_configuration": PROCESS_TEMPLATE,
        "install_command": "pip install millrace",
        "is_beta": False,
    }
    # the original's clients look a kind up under the package that they know it from
    return {"prefect": {"process": kind}}
