"""A directed graph as SVG text: layers from top to bottom, few crossings, no program but this one.

Pure: nodes and edges in, text out. The colours are those of filled boxes on whatever lies behind: nothing is drawn that
only a light or only a dark page can show, so the picture needs no style sheet and may be pasted anywhere.
"""

from __future__ import annotations

import html
import unicodedata
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_LINE, _TEXT = "#8a929c", "#ffffff"
_FILL = {"task": "#2f6fbb", "flow": "#7a4fb5"}
_HEIGHT, _GAP, _FALL, _MARGIN = 32.0, 26.0, 44.0, 12.0
_CHARACTER = 7.4
_LONGEST = 40
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Node:
    """A box.

    Args:
        key: names it in edges.
        label: its text.
        kind: `task` or `flow`.
    """

    key: str
    label: str
    kind: str = "task"


@dataclass(slots=True)
class _Spot:
    """A box, or a bend of an edge that passes a layer."""

    width: float
    x: float = 0.0
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)


def svg(nodes: Sequence[Node], edges: Iterable[tuple[str, str]], title: str = "") -> str:
    """Draws a graph.

    Args:
        nodes: the boxes; an edge that does not lead from an earlier one to a later one is left out.
        edges: pairs of keys.
        title: for those who cannot see it, and in the empty picture.

    Example:
        >>> svg([Node("a", "extract"), Node("b", "load")], [("a", "b")])[:4]
        '<svg'
    """
    place = {node.key: number for number, node in enumerate(nodes)}
    known = {edge for edge in edges if place.get(edge[0], len(place)) < place.get(edge[1], -1)}
    layers = _layers(nodes, known)
    spots, rows, routes = _rows(nodes, known, layers)
    _untangle(rows, spots)
    _position(rows, spots)
    left = min((spot.x - spot.width / 2 for spot in spots.values()), default=0.0)
    right = max((spot.x + spot.width / 2 for spot in spots.values()), default=200.0)
    for spot in spots.values():
        spot.x += _MARGIN - left
    width = right - left + 2 * _MARGIN
    height = max(len(rows), 1) * (_HEIGHT + _FALL) - _FALL + 2 * _MARGIN
    body = [_line(route, spots, layers[route[0]]) for route in routes]
    body += [_box(node, spots[node.key], layers[node.key]) for node in nodes]
    if not nodes:
        body = [f'<text x="{_MARGIN:g}" y="{_MARGIN + 18:g}" fill="{_LINE}">{_escaped(title or "empty")}</text>']
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_escaped(title)}" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="13">'
        f"{''.join(body)}</svg>"
    )


def _layers(nodes: Sequence[Node], edges: set[tuple[str, str]]) -> dict[str, int]:
    """Each node below all it comes from."""
    sources = defaultdict(list)
    for source, target in edges:
        sources[target].append(source)
    found: dict[str, int] = {}
    for node in nodes:
        found[node.key] = max((found[one] + 1 for one in sources[node.key]), default=0)
    return found


def _rows(
    nodes: Sequence[Node], edges: set[tuple[str, str]], layers: Mapping[str, int]
) -> tuple[dict[str, _Spot], list[list[str]], list[list[str]]]:
    """The boxes layer by layer, with a bend wherever an edge passes one; and the way of each edge."""
    spots = {node.key: _Spot(_wide(node.label)) for node in nodes}
    rows: list[list[str]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for node in nodes:
        rows[layers[node.key]].append(node.key)
    order = {node.key: number for number, node in enumerate(nodes)}
    routes = []
    for source, target in sorted(edges, key=lambda edge: (order[edge[0]], order[edge[1]])):
        route = [source]
        for layer in range(layers[source] + 1, layers[target]):
            bend = f"\0{source}\0{target}\0{layer}"
            spots[bend] = _Spot(10.0)
            rows[layer].append(bend)
            route.append(bend)
        route.append(target)
        for one, following in pairwise(route):
            spots[one].below.append(following)
            spots[following].above.append(one)
        routes.append(route)
    return spots, rows, routes


def _untangle(rows: list[list[str]], spots: Mapping[str, _Spot]) -> None:
    """Orders each row by the middle of what it is joined to, down and up again, and keeps the best order seen."""
    best, fewest = [list(row) for row in rows], _crossings(rows, spots)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for number in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            fixed = {key: at for at, key in enumerate(rows[number - 1 if down else number + 1])}
            middle = {}
            for at, key in enumerate(rows[number]):
                joined = [fixed[one] for one in (spots[key].above if down else spots[key].below)]
                middle[key] = sum(joined) / len(joined) if joined else at
            rows[number].sort(key=middle.__getitem__)
        count = _crossings(rows, spots)
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    rows[:] = best


def _crossings(rows: list[list[str]], spots: Mapping[str, _Spot]) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        at = {key: number for number, key in enumerate(lower)}
        seen: list[int] = []
        for key in upper:
            ends = [at[one] for one in spots[key].below]
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _position(rows: list[list[str]], spots: Mapping[str, _Spot]) -> None:
    """Moves each box to the middle of what it is joined to, as far as its neighbours let it."""
    for row in rows:
        _spread(row, spots, [0.0] * len(row))
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = []
            for key in row:
                spot = spots[key]
                joined = [spots[one].x for one in (*spot.above, *spot.below)]
                wanted.append(sum(joined) / len(joined) if joined else spot.x)
            _spread(row, spots, wanted)


def _spread(row: list[str], spots: Mapping[str, _Spot], wanted: list[float]) -> None:
    """The places nearest to the wanted ones (least squares) in which the row keeps its order and its gaps."""
    offsets = [0.0]
    for one, following in pairwise(row):
        offsets.append(offsets[-1] + (spots[one].width + spots[following].width) / 2 + _GAP)
    blocks: list[tuple[float, int]] = []  # sum and number of those that stand gap by gap
    for want, offset in zip(wanted, offsets, strict=False):
        total, count = want - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    for key, start, offset in zip(row, starts, offsets, strict=False):
        spots[key].x = start + offset


def _top(layer: int) -> float:
    return _MARGIN + layer * (_HEIGHT + _FALL)


def _line(route: list[str], spots: Mapping[str, _Spot], layer: int) -> str:
    """An edge: down from a box, past others, into the top of the last."""
    x, y = spots[route[0]].x, _top(layer) + _HEIGHT
    path = f"M{x:.1f} {y:.1f}"
    for number, key in enumerate(route[1:], 1):
        last = number == len(route) - 1
        to, end = spots[key].x, _top(layer + number) - (7 if last else 0)
        middle = (y + end) / 2
        path += f"C{x:.1f} {middle:.1f} {to:.1f} {middle:.1f} {to:.1f} {end:.1f}"
        x, y = to, end
        if not last:
            y += _HEIGHT
            path += f"L{x:.1f} {y:.1f}"
    head = f'<path d="M{x - 4:.1f} {y:.1f}h8l-4 7z" fill="{_LINE}"/>'
    return f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>{head}'


def _box(node: Node, spot: _Spot, layer: int) -> str:
    x, y = spot.x - spot.width / 2, _top(layer)
    radius = 6 if node.kind == "task" else 16
    return (
        f"<g><title>{_escaped(node.label)}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{spot.width:.1f}" height="{_HEIGHT:g}" rx="{radius}" '
        f'fill="{_FILL.get(node.kind, _FILL["task"])}"/>'
        f'<text x="{spot.x:.1f}" y="{y + 20.5:.1f}" text-anchor="middle" fill="{_TEXT}">'
        f"{_escaped(_cut(node.label))}</text></g>"
    )


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _wide(label: str) -> float:
    # No font is at hand to measure with: the widths of a common one, wide scripts counted double.
    units = sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in _cut(label))
    return max(units * _CHARACTER + 24, 56)


def _escaped(text: str) -> str:
    return html.escape("".join(one if one.isprintable() else " " for one in text))
