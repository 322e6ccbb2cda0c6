"""The result of one task run: whether it is kept, under which key, and whether one is there already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

from millrace import settings
from millrace.engine.caching import CachePolicy
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.effects import Hit
from millrace.engine.hashing import stable_hash
from millrace.engine.locks import FileLock
from millrace.engine.results import ResultStore, store_for
from millrace.engine.storage_keys import filled_key
from millrace.engine.storages import checked_key
from millrace.engine.tracebacks import in_a_line
from millrace.errors import InvalidInput, MillraceError
from millrace.schema.fields import now

_log = logging.getLogger("millrace.task_runs")


class Keeping(Protocol):
    """What a task says of its results."""

    name: str
    fn: Callable[..., Any]
    cache_policy: CachePolicy
    cache_expiration: timedelta | None
    refresh_cache: bool | None
    persist_result: bool | None
    persists_for_itself: bool
    result_storage: Any
    result_serializer: Any
    result_storage_key: str | None
    cache_result_in_memory: bool


def persists(task: Keeping, flow: FlowRunContext | None, around: TaskRunContext | None) -> bool:
    """Whether the result of a task run is kept: as the task says, or the task around it, the flow, the settings.

    Args:
        task: the task.
        flow: the flow run, if any.
        around: the task run that calls it, if any.
    """
    if task.persist_result is not None:
        return task.persist_result
    if around is not None:
        return around.persists
    said = getattr(flow.flow, "persist_result", None) if flow is not None else None
    said = settings.current().results_persist if said is None else said
    return bool(said)


class TaskResult:
    """The result of one task run that keeps it.

    Args:
        task: the task.
        flow: the flow run, if any.
        context: the task run; its parameters are complete.
    """

    def __init__(self, task: Keeping, flow: FlowRunContext | None, context: TaskRunContext) -> None:
        self.task = task
        self.flow = flow
        self.context = context
        self.key: str | None = None
        self._lock: FileLock | None = None

    @cached_property
    def store(self) -> ResultStore:
        """Where it is kept."""
        task = self.task
        place = task.cache_policy.key_storage or task.result_storage
        return store_for(place, task.result_serializer, self.flow.results if self.flow else None)

    def prepare(self) -> None:
        """Makes the key; what goes wrong with a cache is logged, and the task runs without one then.

        Raises:
            InvalidInput: its `result_storage_key` names what this run does not have.
        """
        self.key = self._own_key()
        try:
            if self.key is None:
                with self.context.entered():
                    self.key = self._key()
        except Exception as error:
            _log.warning("Task run %r runs without a cache: %s", self.context.name, in_a_line(error))
        if self.key is not None and self.task.cache_policy.isolation_level == "SERIALIZABLE":
            directory = settings.current().locks_directory
            self._lock = FileLock(directory / f"{stable_hash(self.store.storage.address(self.key))[:32]}.lock")

    def _own_key(self) -> str | None:
        if self.task.result_storage_key is None:
            return None
        with self.context.entered():
            return filled_key(self.task.result_storage_key, self.context.parameters)

    def _key(self) -> str | None:
        inputs = dict(self.context.parameters)
        owner = getattr(self.task.fn, "__self__", None)
        if owner is not None:
            inputs = {"self": owner, **inputs}
        key = self.task.cache_policy.compute_key(self.context, inputs, self.flow.parameters if self.flow else {})
        if key is not None and not isinstance(key, str):
            raise InvalidInput(f"the cache key of the task {self.task.name!r} is {key!r}; it must be a text or None")
        try:
            return key if key is None else checked_key(key)
        except InvalidInput as error:
            raise InvalidInput(f"the cache key of the task {self.task.name!r}: {error}") from None

    def locked(self) -> bool:
        """Whether this run may look and compute now; ask again until it may."""
        return self._lock is None or self._lock.acquire()

    def release(self) -> None:
        """Lets the others with the same key look."""
        if self._lock is not None:
            self._lock.release()

    def look(self) -> Hit | None:
        """The result that is kept already under the key."""
        refresh = self.task.refresh_cache
        if self.key is None or (settings.current().task_refresh_cache if refresh is None else refresh):
            return None
        try:
            kept = self.store.read(self.key)
        except MillraceError as error:
            _log.warning("Task run %r runs anew: its cached result cannot be read: %s", self.context.name, error)
            return None
        return None if kept is None else Hit(kept.value, kept.reference)

    def keep(self, value: Any) -> dict[str, Any] | None:
        """Keeps the result and gives the reference that goes into the state.

        Raises:
            MillraceError: it cannot be kept, and the task says that it must.
        """
        expiration = self.task.cache_expiration
        expires = None if expiration is None else now() + expiration
        try:
            key = self.key or self._own_key() or str(self.context.id)
            return self.store.write(key, value, expires, of=f"the task {self.task.name!r}")
        except MillraceError as error:
            if self.task.persists_for_itself:
                raise
            _log.warning("The result of task run %r is not kept: %s", self.context.name, error)
            return None
