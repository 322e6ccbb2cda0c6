"""The slice of a history that one name needs: a def-use search, and a stable order for what it finds."""

from __future__ import annotations

import ast
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from millrace.notebooks.scopes import Import
from millrace.notebooks.statements import Statement, deferred_names, reach

StarNames = Callable[[Import], "frozenset[str] | None"]


@dataclass(frozen=True)
class Need:
    """A name that is needed: by what, and of which statement.

    Args:
        name: the name.
        needed_by: the name that needs it.
        before: the position in the history before which it must have its value.
    """

    name: str
    needed_by: str
    before: int


@dataclass
class Slice:
    """What a name needs.

    Args:
        wanted: positions of the statements, each with the need that found it first.
        unbound: names that no statement binds, each with the need that looked for it.
    """

    wanted: dict[int, Need] = field(default_factory=dict)
    unbound: dict[str, Need] = field(default_factory=dict)


class Slicer:
    """Searches a history.

    A name read while a statement runs has the value of the latest statement before that one; a name read by a function
    has the value of the end of the history, when the flow is called, and one at every place where it may be called.

    Args:
        statements: the history.
        star_names: the names that `from module import *` brings; None where they are not known.
        stop: says of a position that its own needs do not matter, because it is refused anyway.
    """

    def __init__(
        self, statements: Sequence[Statement], star_names: StarNames, stop: Callable[[int, str], bool]
    ) -> None:
        self._statements = statements
        self._star_names = star_names
        self._stop = stop
        self._writers: dict[str, list[int]] = {}
        self._stars: list[tuple[int, frozenset[str] | None]] = []
        for position, statement in enumerate(statements):
            for name in statement.effects.writes:
                self._writers.setdefault(name, []).append(position)
            for star in statement.effects.stars:
                self._stars.append((position, star_names(star)))
        self._seen: set[tuple[str, int, bool]] = set()
        self._slice = Slice()
        self._waiting: list[tuple[Need, bool]] = []

    def search(self, name: str) -> Slice:
        """Everything that a name needs at the end of the history.

        Args:
            name: such as the flow's.
        """
        end = len(self._statements)
        self._waiting.append((Need(name, name, end), False))
        while self._waiting:
            need, soft = self._waiting.pop()
            if (need.name, need.before, soft) not in self._seen:
                self._seen.add((need.name, need.before, soft))
                self._resolve(need, soft)
        return self._slice

    def _resolve(self, need: Need, soft: bool) -> None:
        positions = self._reaching(need.name, need.before)
        if not any(self._gives(position, need.name) for position in positions):
            if not soft:
                self._slice.unbound.setdefault(need.name, need)
            if not positions:
                return
        for position in positions:
            self._take(position, need)

    def _take(self, position: int, need: Need) -> None:
        statement = self._statements[position]
        self._slice.wanted.setdefault(position, need)
        if self._stop(position, need.name):
            return
        effects = statement.effects
        name = next(iter(sorted(effects.binds)), need.name) if need.name not in effects.writes else need.name
        for read in sorted(effects.reads):
            self._waiting.append((Need(read, name, position), read in effects.soft))
        end = len(self._statements)
        for read in sorted(effects.deferred):
            self._waiting.append((Need(read, name, end), read in effects.soft))
            if need.before < end:
                # The function may be called where it is needed; if the value is not there yet, it is not called there.
                self._waiting.append((Need(read, name, need.before), True))

    def _reaching(self, name: str, before: int) -> list[int]:
        """Statements before a position whose writing of the name can be seen there."""
        writers = [(position, False) for position in self._writers.get(name, ()) if position < before]
        if not name.startswith("_"):
            writers += [(p, True) for p, names in self._stars if p < before and (names is None or name in names)]
        found: list[int] = []
        for position, star in sorted(writers, reverse=True):
            found.append(position)
            effects = self._statements[position].effects
            if name in effects.kills or (star and self._star_names(effects.stars[0]) is not None):
                break
        return found

    def _gives(self, position: int, name: str) -> bool:
        statement = self._statements[position]
        deleted = isinstance(statement.node, ast.Delete)
        return (name in statement.effects.binds and not deleted) or bool(statement.effects.stars)


def ordered(positions: Sequence[int], statements: Sequence[Statement]) -> list[int]:
    """The positions in the order for a module: imports first, then by cell, as far as the meaning allows.

    Args:
        positions: the statements of a slice.
        statements: the history.
    """
    chosen = sorted(positions)
    deferred = deferred_names([statements[position] for position in chosen])
    touches = {p: reach(statements[p].effects.reads, deferred) | statements[p].effects.writes for p in chosen}
    after: dict[int, list[int]] = {position: [] for position in chosen}
    missing = dict.fromkeys(chosen, 0)
    for number, later in enumerate(chosen):
        for earlier in chosen[:number]:
            if _conflict(statements[earlier], statements[later], touches[earlier], touches[later]):
                after[earlier].append(later)
                missing[later] += 1

    def key(position: int) -> tuple[int, int, int]:
        statement = statements[position]
        return (
            0 if statement.is_future else 1 if isinstance(statement.node, ast.Import | ast.ImportFrom) else 2,
            statement.slot,
            position,
        )

    ready = [key(position) for position in chosen if not missing[position]]
    heapq.heapify(ready)
    found: list[int] = []
    while ready:
        position = heapq.heappop(ready)[2]
        found.append(position)
        for later in after[position]:
            missing[later] -= 1
            if not missing[later]:
                heapq.heappush(ready, key(later))
    return found


def _conflict(first: Statement, second: Statement, touched: set[str], touches: set[str]) -> bool:
    if first.effects.stars or second.effects.stars:
        return True
    if first.is_import and second.is_import and first.text == second.text:
        return False
    return bool(first.effects.writes & touches or second.effects.writes & touched)
