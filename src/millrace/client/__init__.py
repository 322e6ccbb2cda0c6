"""The clients of the API, and what is built on them: finding the server, following a run, holding on to one.

Import what you need from its module: `client.locate` (`connect`), `client.synchronous` (`Client`),
`client.asynchronous` (`AsyncClient`), `client.follow`, `client.handle`.
"""

from __future__ import annotations

from typing import Any

from millrace import plugins
from millrace import stand_ins as stand_ins
from millrace.schema.states import State, results_read_by


def _stored_result(state: State, raise_on_failure: bool, *, allow_pickle: bool) -> Any:
    # The engine knows storages and serializers; whoever only talks to the server does not load it.
    read = plugins.load("millrace.engine.states:result_of")
    return read(state, raise_on_failure, allow_pickle=allow_pickle)


results_read_by(_stored_result)
