"""What the arguments of a task depend on: the futures, states and earlier results in them, however deep they nest.

Searched are lists, tuples, sets, dicts (keys too), dataclasses and pydantic models. Generators are not consumed, and
objects of Millrace itself and of other classes are not looked into.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from millrace.engine import results
from millrace.engine.annotations import Annotation, allow_failure, opaque, quote
from millrace.engine.futures import FutureList, TaskFuture
from millrace.engine.lineage import Lineage
from millrace.engine.states import RunState, shortened
from millrace.errors import InvalidInput, RunFailed, UpstreamFailed
from millrace.schema.states import State, StateType

MOST_LOOKED_UP = 1000
"""In longer collections the elements are searched for futures, but not looked up among earlier results."""

_ATOMS = frozenset({int, float, str, bytes, bool, type(None), complex, UUID})
_PLAIN = (list, tuple, set, frozenset)


@dataclass(slots=True)
class Found:
    """What a value depends on.

    Attributes:
        futures: to wait for.
        sources: the task runs the value comes from.
        marked: there is something to replace in it: a future, a state or an annotation.
    """

    futures: list[TaskFuture[Any]] = field(default_factory=list)
    sources: dict[UUID, None] = field(default_factory=dict)
    marked: bool = False


_NOTHING = Found()


def examine(value: Any, lineage: Lineage | None = None) -> Found:
    """What a value depends on.

    Args:
        value: an argument.
        lineage: the earlier results of the flow run.
    """
    if type(value) in _ATOMS:
        source = lineage.source(value) if lineage is not None else None
        return _NOTHING if source is None else Found(sources={source: None})
    return _Search(lineage).of(value)


class _Search:
    def __init__(self, lineage: Lineage | None) -> None:
        self.lineage = lineage
        self.found = Found()
        self.stack: list[Any] = []
        self.seen: set[int] = set()

    def of(self, value: Any) -> Found:
        found, lineage, stack = self.found, self.lineage, self.stack
        stack.append(value)
        while stack:
            item = stack.pop()
            if lineage is not None and (source := lineage.source(item)) is not None:
                found.sources[source] = None
            if type(item) in _ATOMS:
                continue
            if isinstance(item, TaskFuture):
                found.futures.append(item)
                found.sources[item.task_run_id] = None
                found.marked = True
            elif isinstance(item, State):
                if item.state_details.task_run_id:
                    found.sources[item.state_details.task_run_id] = None
                found.marked = True
            elif isinstance(item, Annotation):
                found.marked = True
                self.annotated(item)
            else:
                self.nested(item)
        return found

    def annotated(self, item: Annotation[Any]) -> None:
        if isinstance(item, opaque):
            self.stack.extend([item.value] if isinstance(item.value, (TaskFuture, State)) else [])
        elif not isinstance(item, quote):
            self.stack.append(item.value)

    def nested(self, item: Any) -> None:
        parts = _parts(type(item))  # type: ignore[arg-type]
        if parts is None or id(item) in self.seen:
            return
        self.seen.add(id(item))
        inner = parts(item)
        if self.lineage is None or len(inner) > MOST_LOOKED_UP:
            inner = [each for each in inner if type(each) not in _ATOMS]
        self.stack.extend(reversed(inner))


def find(value: Any) -> list[TaskFuture[Any]]:
    """The futures in a value, in order.

    Args:
        value: anything.
    """
    return examine(value).futures


@lru_cache(maxsize=1024)
def _parts(kind: type) -> Callable[[Any], list[Any]] | None:
    """How to get at what is nested in values of a class; None if they are not looked into."""
    if issubclass(kind, _PLAIN):
        return list
    if issubclass(kind, dict):
        return lambda value: [*value.keys(), *value.values()]
    if kind.__module__.startswith("millrace."):
        return None
    if issubclass(kind, BaseModel):
        return lambda value: [*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values()]
    if dataclasses.is_dataclass(kind):
        names = [one.name for one in dataclasses.fields(kind)]
        return lambda value: [getattr(value, name) for name in names if hasattr(value, name)]
    return None


class Dependencies:
    """What one call of a task depends on.

    Args:
        parameters: its arguments, by name.
        wait_for: what it waits for besides.
        lineage: the earlier results of the flow run.

    Attributes:
        futures: what has to have ended before it can begin.
        inputs: for each parameter the task runs its value comes from, as the wire has it.
        marked: there is something to wait for or to replace in the arguments.
    """

    __slots__ = ("futures", "inputs", "marked", "wait_for")

    def __init__(self, parameters: dict[str, Any], wait_for: Any = None, lineage: Lineage | None = None) -> None:
        self.futures: list[TaskFuture[Any]] = []
        self.inputs: dict[str, list[dict[str, str]]] = {}
        self.wait_for = listed(wait_for)
        self.marked = wait_for is not None
        if lineage is not None and not len(lineage):
            lineage = None
        for name, value in parameters.items():
            self._add(name, examine(value, lineage))
        if self.marked:
            self._add("wait_for", examine(self.wait_for, lineage))

    def _add(self, name: str, found: Found) -> None:
        if found is _NOTHING:
            return
        self.futures += found.futures
        self.marked = self.marked or found.marked
        if found.sources:
            self.inputs[name] = [{"input_type": "task_run", "id": str(source)} for source in found.sources]


Pick = Callable[[Any, bool], Any]
"""Gives what stands for a future or state; the second argument says whether it may have failed."""


def resolve(value: Any, pick: Pick) -> Any:
    """A value with its futures and states replaced and its annotations taken off.

    What holds none is given back as it is; what holds some is a copy. A result is not searched again.

    Args:
        value: anything that is searched, see above.
        pick: gives the replacement of a future or state.

    Raises:
        InvalidInput: it is nested too deeply to be searched.
    """
    try:
        return _Resolution(pick).of(value, False)
    except RecursionError:
        raise InvalidInput(
            f"A {type(value).__name__} that holds futures or annotations is nested too deeply to be searched for them. "
            "Give the futures as arguments of their own, or pass quote(value) to hand it on as it is."
        ) from None


class _Resolution:
    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.made: dict[int, Any] = {}

    def of(self, value: Any, allowed: bool) -> Any:
        kind = type(value)
        if kind in _ATOMS:
            return value
        if isinstance(value, (TaskFuture, State)):
            return self.pick(value, allowed)
        if isinstance(value, Annotation):
            return self.annotated(value, allowed)
        parts = _parts(kind)  # type: ignore[arg-type]
        if parts is None:
            return value
        if id(value) not in self.made:
            self.made[id(value)] = value  # a value that holds itself
            self.made[id(value)] = self.collection(value, kind, allowed)
        return self.made[id(value)]

    def annotated(self, value: Annotation[Any], allowed: bool) -> Any:
        inner = value.value
        if isinstance(value, quote):
            return inner
        if isinstance(value, opaque):
            inner = inner.value if isinstance(inner, Annotation) else inner
            return self.pick(inner, allowed) if isinstance(inner, (TaskFuture, State)) else inner
        return self.of(inner, allowed or isinstance(value, allow_failure))

    def collection(self, value: Any, kind: type, allowed: bool) -> Any:
        if issubclass(kind, _PLAIN):
            return _sequence(value, kind, [self.of(item, allowed) for item in value])
        if issubclass(kind, dict):
            pairs = [(self.of(key, allowed), self.of(item, allowed)) for key, item in value.items()]
            if all(new is old and item is value[old] for (new, item), old in zip(pairs, value, strict=True)):
                return value
            made = copy.copy(value)
            made.clear()
            made.update(pairs)
            return made
        return self.fields(value, allowed)

    def fields(self, value: Any, allowed: bool) -> Any:
        """A dataclass or model: a copy whose fields are set, without validation or `__post_init__`."""
        if isinstance(value, BaseModel):
            given = {**value.__dict__, **(value.__pydantic_extra__ or {})}
        else:
            given = {
                one.name: getattr(value, one.name) for one in dataclasses.fields(value) if hasattr(value, one.name)
            }
        changed = {name: new for name, old in given.items() if (new := self.of(old, allowed)) is not old}
        if not changed:
            return value
        if isinstance(value, BaseModel):
            return value.model_copy(update=changed)
        made = copy.copy(value)
        for name, new in changed.items():
            object.__setattr__(made, name, new)
        return made


def _sequence(value: Any, kind: type, items: list[Any]) -> Any:
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    if kind is FutureList:
        return items
    if isinstance(value, list) and kind is not list:
        made = copy.copy(value)
        made[:] = items
        return made
    return kind._make(items) if hasattr(kind, "_make") else kind(items)


def result_of_upstream(source: Any, allowed: bool = False) -> Any:
    """What a future or state stands for as an argument; waits for it.

    Args:
        source: the future or state.
        allowed: it may have failed; its exception stands for it then.

    Raises:
        UpstreamFailed: it did not complete.
    """
    state = ended(source)
    if state.type is StateType.COMPLETED:
        return state.result() if isinstance(state, RunState) else results.read(state)
    if allowed and (state.type is StateType.FAILED or state.name == "NotReady"):
        return state.result(raise_on_failure=False) if isinstance(state, RunState) else RunFailed(str(state))
    error = state._error if isinstance(state, RunState) else None
    raise UpstreamFailed(f"{_upstream(source)} {_why(state, error)}") from error


def _upstream(source: TaskFuture[Any] | State) -> str:
    if isinstance(source, TaskFuture):
        return f"upstream {source.name!r}"
    details = source.state_details
    for kind, run in (("task", details.task_run_id), ("flow", details.flow_run_id)):
        if run is not None:
            return f"upstream {kind} run {run}"
    return "a state that was passed"


def _why(state: State, error: BaseException | None) -> str:
    if not isinstance(error, UpstreamFailed):
        return f"did not complete: {shortened(state)}"
    while isinstance(error.__cause__, UpstreamFailed):
        error = error.__cause__
    return f"was not run: {error}"


def wait_for_all(wait_for: Any) -> None:
    """Waits for what a task or flow was told to wait for.

    Args:
        wait_for: a future or state, or a collection of them.

    Raises:
        UpstreamFailed: one did not complete, and it is not in `allow_failure(...)`.
    """
    if wait_for is not None:
        resolve(listed(wait_for), result_of_upstream)


def listed(wait_for: Any) -> Any:
    """`wait_for` as a collection that can be looked at twice, which an iterator cannot.

    Raises:
        TypeError: it is a plain value.
    """
    kind: Any = type(wait_for)
    if wait_for is None or isinstance(wait_for, (TaskFuture, State, Annotation)) or _parts(kind) is not None:
        return wait_for
    if kind in _ATOMS or not isinstance(wait_for, Iterable):
        got = f"{wait_for!r} ({kind.__name__})"
        raise TypeError(f"wait_for takes futures and states, alone or in collections; got {got}")
    return list(wait_for)


def ended(source: Any) -> State:
    """The final state of a future, waited for, or the state itself."""
    if isinstance(source, TaskFuture):
        source.wait()
        return source.state
    state: State = source
    return state


def settle(value: Any) -> Any:
    """What a flow returned, with its futures waited for: values, or a Failed state if one of them failed.

    Args:
        value: the returned value. A single state or future decides by itself; in a collection all have to complete.
    """
    if isinstance(value, State):
        return value
    if isinstance(value, TaskFuture):
        return ended(value)
    if isinstance(value, quote):
        return value.value
    if not examine(value).marked:
        return value
    bad: list[State] = []
    count = 0

    def pick(source: Any, allowed: bool) -> Any:
        nonlocal count
        count += 1
        state = ended(source)
        if state.type is StateType.COMPLETED:
            return state.result() if isinstance(state, RunState) else state
        if not allowed:
            bad.append(state)
        return state

    settled = resolve(value, pick)
    if not bad:
        return settled
    first = bad[0]
    state = RunState(
        type=StateType.FAILED, name="Failed", message=f"{len(bad)} of {count} returned runs did not complete."
    )
    state._error = first._error if isinstance(first, RunState) else None
    return state
