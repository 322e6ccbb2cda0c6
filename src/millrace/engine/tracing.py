"""Drawing a flow without running it: its function is called, its tasks and subflows only leave a trace.

A traced task gives its `viz_return_value`, or a stand-in for its result. A stand-in may be handed on, indexed, asked
for attributes, called and reckoned with: whatever comes of it stands for the same task. It is taken apart once, so that
a loop over a result is drawn once. What a stand-in cannot tell is whether it is true, how long it is, or whether it
equals something: code that decides by a result needs `viz_return_value`.
"""

from __future__ import annotations

import os
import tempfile
import webbrowser
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

from millrace.engine.drawing import Node, svg
from millrace.engine.parameters import Signature
from millrace.engine.tracebacks import place, text_of
from millrace.errors import FlowVisualizationError

_current: ContextVar[Trace | None] = ContextVar("millrace_trace", default=None)

_MANY = 5
"""So many runs of one task, all with the same neighbours, are drawn as one box."""

REMEDY = (
    "Give the task a value to go on with: @task(viz_return_value=[1, 2, 3]). A flow is drawn by running its own code "
    "with stand-ins for what tasks give"
)


class _NoLength(FlowVisualizationError, TypeError):
    """As Python knows it of what has no length, so that `list` takes it apart all the same."""


class StandIn:
    """What a traced task gives: something that remembers where it comes from."""

    __slots__ = ("_sources",)
    _sources: tuple[str, ...]

    def __init__(self, *sources: str) -> None:
        object.__setattr__(self, "_sources", tuple(dict.fromkeys(sources)))

    def __repr__(self) -> str:
        return f"<result of {', '.join(self._sources)}>"

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__") or name.startswith("_repr_") or name.startswith("_ipython_"):
            raise AttributeError(name)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        return None

    def __getitem__(self, key: Any) -> StandIn:
        return StandIn(*self._sources, *sources_of(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        return None

    def __call__(self, *args: Any, **kwargs: Any) -> StandIn:
        return StandIn(*self._sources, *sources_of(args), *sources_of(kwargs))

    def __iter__(self) -> Iterator[StandIn]:
        yield self

    def __await__(self) -> Generator[Any, None, StandIn]:
        yield from ()
        return self

    async def __aiter__(self) -> Any:
        yield self

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    async def __aenter__(self) -> StandIn:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    def __bool__(self) -> bool:
        self._unknown("is true")

    def __int__(self) -> int:
        self._unknown("is a number")

    __index__ = __int__

    def __float__(self) -> float:
        self._unknown("is a number")

    def __eq__(self, other: object) -> bool:
        self._unknown("equals something")

    def __hash__(self) -> int:
        return id(self)

    def __len__(self) -> int:
        raise _NoLength(f"nobody knows how long the result of {self._sources[0]!r} is. {REMEDY}")

    def _unknown(self, what: str) -> NoReturn:
        raise FlowVisualizationError(f"nobody knows whether the result of {self._sources[0]!r} {what}. {REMEDY}")


def _reckoned(self: StandIn, *others: Any) -> StandIn:
    return StandIn(*self._sources, *sources_of(others))


for _name in [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
]:
    setattr(StandIn, f"__{_name}__", _reckoned)
    setattr(StandIn, f"__r{_name}__", _reckoned)
for _name in ["neg", "pos", "abs", "invert"]:
    setattr(StandIn, f"__{_name}__", _reckoned)
for _name in ["lt", "le", "gt", "ge", "ne"]:
    setattr(StandIn, f"__{_name}__", StandIn.__eq__)


def sources_of(value: Any) -> list[str]:
    """The nodes a value comes from: itself a stand-in or a known value, or holding some."""
    trace = _current.get()
    found: list[str] = []
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, StandIn):
            found.extend(item._sources)
        elif trace is not None and id(item) in trace.known:
            found.append(trace.known[id(item)][0])
        elif isinstance(item, Mapping):
            stack.extend([*item.keys(), *item.values()])
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack.extend(item)
        elif type(item).__name__ in ("unmapped", "quote", "allow_failure", "opaque"):
            stack.append(getattr(item, "value", None))
    return found


class Traceable(Protocol):
    """What the trace needs to know of a task or flow."""

    name: str


@dataclass
class Trace:
    """What the function of a flow has called so far."""

    nodes: list[Node] = field(default_factory=list)
    edges: set[tuple[str, str]] = field(default_factory=set)
    known: dict[int, tuple[str, Any]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def call(self, of: Traceable, kind: str, parameters: Mapping[str, Any], wait_for: Any) -> Any:
        """Notes a call and gives what stands for its result.

        Args:
            of: the task or flow.
            kind: `task` or `flow`.
            parameters: its arguments, by name.
            wait_for: what it waits for besides.
        """
        name = f"{of.name}-{self.counts[of.name]}"
        self.counts[of.name] += 1
        self.nodes.append(Node(name, of.name, kind))
        waits = list(wait_for) if isinstance(wait_for, Iterator) else wait_for
        for source in sources_of([dict(parameters), waits]):
            self.edges.add((source, name))
        given = getattr(of, "viz_return_value", None)
        if given is None:
            return StandIn(name)
        # Small numbers, True and such are one object everywhere: they tell nothing of where they come from.
        if not isinstance(given, (bool, int)) or abs(given) > 256:
            self.known[id(given)] = (name, given)
        return given

    def acall(self, of: Traceable, kind: str, parameters: Mapping[str, Any], wait_for: Any) -> Any:
        """The same for an `async def`: noted when it is awaited, or when the items of a generator are asked for."""
        if getattr(of, "isgenerator", False):
            return self.call(of, kind, parameters, wait_for)
        return self._awaited(of, kind, parameters, wait_for)

    async def _awaited(self, of: Traceable, kind: str, parameters: Mapping[str, Any], wait_for: Any) -> Any:
        return self.call(of, kind, parameters, wait_for)


def current() -> Trace | None:
    """The trace that is being made here, if one is."""
    return _current.get()


@dataclass(frozen=True)
class Drawing:
    """The graph of a flow. A notebook shows it; a script saves or opens it.

    Args:
        name: the flow's.
        nodes: its tasks and subflows, in the order of their calls.
        edges: pairs of keys: which result goes where.

    Example:
        >>> print(etl.visualize())  # doctest: +SKIP
        extract-0 -> load-0
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        joined = {key for edge in self.edges for key in edge}
        alone = [node.key for node in self.nodes if node.key not in joined]
        return "\n".join([*(f"{source} -> {target}" for source, target in self.edges), *alone])

    def __repr__(self) -> str:
        return f"<Drawing of {self.name!r}: {len(self.nodes)} calls, {len(self.edges)} edges>"

    @property
    def svg(self) -> str:
        """The picture as SVG text; five and more runs of one task with the same neighbours are one box."""
        nodes, edges = _gathered(self.nodes, self.edges)
        return svg(nodes, edges, f"Flow {self.name}" if nodes else f"Flow {self.name} calls no tasks")

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the picture into a file.

        Args:
            path: the file, `.svg` by convention.
        """
        Path(path).write_text(self.svg, encoding="utf-8")
        return Path(path)

    def open(self) -> Path:
        """Shows the picture in the browser; the temporary file it lies in."""
        handle, name = tempfile.mkstemp(suffix=".svg")
        os.close(handle)
        path = self.save(name)
        webbrowser.open(path.as_uri())
        return path


def _gathered(nodes: tuple[Node, ...], edges: tuple[tuple[str, str], ...]) -> tuple[list[Node], list[tuple[str, str]]]:
    above, below = defaultdict(set), defaultdict(set)
    for source, target in edges:
        above[target].add(source)
        below[source].add(target)
    alike: dict[Any, list[Node]] = defaultdict(list)
    for node in nodes:
        alike[node.kind, node.label, frozenset(above[node.key]), frozenset(below[node.key])].append(node)
    stands = {one.key: group[0].key for group in alike.values() if len(group) >= _MANY for one in group}
    shown = []
    for group in alike.values():
        label = f"{group[0].label} × {len(group)}"
        shown += [Node(group[0].key, label, group[0].kind)] if len(group) >= _MANY else group
    order = {node.key: number for number, node in enumerate(nodes)}
    pairs = {(stands.get(source, source), stands.get(target, target)) for source, target in edges}
    return sorted(shown, key=lambda node: order[node.key]), sorted(pairs, key=lambda pair: [order[one] for one in pair])


@contextmanager
def _tracing(name: str) -> Iterator[Trace]:
    trace = Trace()
    token = _current.set(trace)
    try:
        yield trace
    except FlowVisualizationError:
        raise
    except Exception as error:
        text = f"the flow {name!r} cannot be drawn: its code raised {text_of(error)}{place(error)}. {REMEDY}"
        raise FlowVisualizationError(text) from error
    finally:
        _current.reset(token)


class Visualized:
    """The method of a flow that draws it."""

    name: str
    fn: Callable[..., Any]
    isasync: bool
    isgenerator: bool
    signature: Signature

    def visualize(self, /, *args: Any, **kwargs: Any) -> Any:
        """The graph of the tasks and subflows the flow calls; a notebook shows it. That of an `async def` flow is
        awaited.

        The flow's own code runs, what tasks and subflows do does not. No server is needed, and no run is made.

        Args:
            args: as the function takes them.
            kwargs: as the function takes them.

        Raises:
            ParameterError: the arguments do not fit.
            FlowVisualizationError: the code needs to know what a task gives: see `viz_return_value` of `@task`.

        Example:
            >>> etl.visualize("2026-11-21").save("etl.svg")  # doctest: +SKIP
        """
        given, keywords = self.signature.arguments(self.signature.bind(args, kwargs))
        return self._atraced(given, keywords) if self.isasync else self._traced(given, keywords)

    def _traced(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Drawing:
        with _tracing(self.name) as trace:
            made = self.fn(*args, **kwargs)
            if self.isgenerator:
                for _ in made:
                    pass
        return _drawn(self.name, trace)

    async def _atraced(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Drawing:
        with _tracing(self.name) as trace:
            made = self.fn(*args, **kwargs)
            if self.isgenerator:
                async for _ in made:
                    pass
            else:
                await made
        return _drawn(self.name, trace)


def _drawn(name: str, trace: Trace) -> Drawing:
    order = {node.key: number for number, node in enumerate(trace.nodes)}
    edges = sorted(trace.edges, key=lambda edge: (order[edge[0]], order[edge[1]]))
    return Drawing(name, tuple(trace.nodes), tuple(edges))
