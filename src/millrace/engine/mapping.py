"""Mapping a task: one call for each row of the iterables among its arguments."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any

from millrace.engine.annotations import Annotation, allow_failure, unmapped
from millrace.engine.context import FlowRunContext
from millrace.engine.futures import TaskFuture
from millrace.engine.inputs import examine, listed, result_of_upstream
from millrace.engine.lineage import Lineage
from millrace.engine.task_calls import TaskCall, TaskLike
from millrace.errors import ParameterError
from millrace.schema.states import State

_SINGLE = (str, bytes, bytearray, Mapping, io.IOBase)


@dataclass(slots=True)
class _Argument:
    """One argument of the mapped call; those of `*args` and `**kwargs` are arguments of their own.

    Attributes:
        parameter: the parameter it is for.
        key: its place among `*args`, or its name among `**kwargs`.
        value: the single value, or the list of values.
        mapped: whether it is such a list.
        marks: the annotations to put around each value again.
        sources: the task run the list as a whole comes from.
    """

    parameter: str
    key: Any
    value: Any
    mapped: bool = False
    marks: list[type[Annotation[Any]]] = field(default_factory=list)
    sources: list[dict[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.parameter if self.key is None else f"{self.parameter}[{self.key!r}]"

    def unwrap(self, lineage: Lineage | None) -> None:
        """Finds out whether it is mapped over, waiting for a future of a list."""
        value, single = self.value, False
        while isinstance(value, Annotation):
            if isinstance(value, unmapped):
                single = True
            else:
                self.marks.append(type(value))
            value = value.value
        if not single:
            whole = isinstance(value, (TaskFuture, State))
            if whole or (lineage is not None and lineage.source(value) is not None):
                found = examine(value, lineage).sources
                self.sources = [{"input_type": "task_run", "id": str(source)} for source in list(found)[:1]]
            if whole:
                value = result_of_upstream(value, allow_failure in self.marks)
            self.mapped = isinstance(value, Iterable) and not isinstance(value, _SINGLE)
        self.value = list(value) if self.mapped else value

    def at(self, row: int) -> Any:
        """The value for one call."""
        value = self.value[row] if self.mapped else self.value
        for mark in reversed(self.marks):
            value = mark(value)
        return value


def calls_of(task: TaskLike, given: dict[str, Any], wait_for: Any) -> Iterator[TaskCall]:
    """The calls that mapping a task means, checked before the first is given.

    Args:
        task: the task.
        given: the arguments, by name; `*args` and `**kwargs` under theirs.
        wait_for: what each call waits for.

    Raises:
        ParameterError: nothing to map over, or different lengths.
    """
    flow = FlowRunContext.get()
    arguments = list(_arguments(task, given))
    for one in arguments:
        one.unwrap(flow.lineage if flow else None)
    lengths = {one.name: len(one.value) for one in arguments if one.mapped}
    if not lengths:
        raise ParameterError(f"{task.signature.name}: map() got no list to map over; call submit() for one run")
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ParameterError(f"{task.signature.name}: map() needs lists of one length; {told}")
    return _rows(task, given, arguments, listed(wait_for), next(iter(lengths.values())))


def _arguments(task: TaskLike, given: dict[str, Any]) -> Iterator[_Argument]:
    for name, value in given.items():
        kind = task.signature.parameters[name].kind
        if kind is Parameter.VAR_POSITIONAL:
            yield from (_Argument(name, number, each) for number, each in enumerate(value))
        elif kind is Parameter.VAR_KEYWORD:
            yield from (_Argument(name, key, each) for key, each in value.items())
        else:
            yield _Argument(name, None, value)


def _rows(
    task: TaskLike, given: dict[str, Any], arguments: list[_Argument], wait_for: Any, rows: int
) -> Iterator[TaskCall]:
    inputs: dict[str, list[dict[str, str]]] = {}
    for one in arguments:
        if one.mapped and one.sources:
            inputs.setdefault(one.parameter, []).extend(one.sources)
    for row in range(rows):
        parameters: dict[str, Any] = {}
        for one in arguments:
            if one.key is None:
                parameters[one.parameter] = one.at(row)
            elif isinstance(one.key, int):
                parameters[one.parameter] = (*parameters.get(one.parameter, ()), one.at(row))
            else:
                parameters.setdefault(one.parameter, {})[one.key] = one.at(row)
        for name in given:
            parameters.setdefault(name, given[name])
        yield TaskCall(task, parameters, wait_for, inputs)
