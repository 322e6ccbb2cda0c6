"""Artifacts as people see them: in the cell that creates them, in the monitor of their run, in saved pages.

An artifact becomes a tree of a few harmless elements first, `[tag, attributes, *children]` with texts as leaves. From
it come the HTML of cards, every text escaped, and the page's nodes in the monitor. HTML in a text stays text, links
lead to http and https only, images come from there or are in the artifact itself.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any
from uuid import UUID

from IPython.core.getipython import get_ipython
from IPython.display import display, update_display

from millrace import plugins, settings
from millrace.jupyter.display import Card, card
from millrace.schema.artifacts import Artifact

Node = Any
"""A text, or a list `[tag, attributes, *children]`."""

TAGS = frozenset(
    {
        "div",
        "span",
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "li",
        "strong",
        "em",
        "s",
        "code",
        "pre",
        "blockquote",
        "hr",
        "br",
        "a",
        "img",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
)
ROWS, COLUMNS, CELL = 50, 20, 300
"""How much of a table is shown: rows, columns, characters in a cell."""
LONGEST = 30_000
"""How many characters of a markdown text are shown."""
LARGEST_IMAGE = 4_000_000
"""Characters of an embedded image's URL."""

_LINK = re.compile(r"https?://[^\s]+", re.IGNORECASE)
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+", re.IGNORECASE)
_CELL = (
    "border:1px solid var(--jp-border-color2, rgba(128,128,128,.4));padding:2px 10px;text-align:left;background:none"
)
_STYLES = {
    "table": "border-collapse:collapse;margin:4px 0;font-variant-numeric:tabular-nums",
    "tr": "background:none",
    "th": _CELL,
    "td": _CELL,
    "img": "max-width:100%",
    "pre": "background:rgba(128,128,128,.12);padding:6px 8px;border-radius:4px;overflow:auto",
    "code": "font-family:var(--jp-code-font-family, monospace)",
    "blockquote": "border-left:3px solid rgba(128,128,128,.4);margin:4px 0;padding-left:10px",
}
_MAX_PROGRESS = 100.0
_VOID = frozenset({"br", "hr", "img"})
_shown: dict[UUID, Artifact] = {}
_KEPT = 200


# -- what it is


def tree(artifact: Artifact) -> Node:
    """An artifact's content.

    Args:
        artifact: as it is stored; data that is not what its type says is shown as text.
    """
    shown = {"table": _table, "markdown": _markdown, "image": _image, "progress": _progress}.get(artifact.type or "")
    found = shown(artifact.data) if shown is not None else None
    return found if found is not None else _text(artifact.data)


def _text(data: Any) -> Node:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=1)
    return ["pre", {}, _cut(text, LONGEST)]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} …"


def _table(data: Any) -> Node | None:
    try:
        found = json.loads(data) if isinstance(data, str) else data
    except ValueError:
        return None
    head, rows = _head_and_rows(found)
    if rows is None:
        return None
    more = [f"{len(rows) - ROWS:,} more rows"] if len(rows) > ROWS else []
    width = max([len(head), *(len(row) for row in rows[:ROWS])], default=0)
    more += [f"{width - COLUMNS:,} more columns"] if width > COLUMNS else []
    lines = [["tr", {}, *(["td", {}, _entry(value)] for value in row[:COLUMNS])] for row in rows[:ROWS]]
    top = [["thead", {}, ["tr", {}, *(["th", {}, _entry(name)] for name in head[:COLUMNS])]]] if head else []
    table: list[Any] = ["table", {}, *top, ["tbody", {}, *lines]]
    return ["div", {}, table, ["p", {}, f"{' and '.join(more)} are not shown here"]] if more else table


def _head_and_rows(found: Any) -> tuple[list[Any], list[list[Any]] | None]:
    if isinstance(found, dict) and all(isinstance(column, list) for column in found.values()):
        height = max((len(column) for column in found.values()), default=0)
        columns = [column + [None] * (height - len(column)) for column in found.values()]
        return list(found), [list(row) for row in zip(*columns, strict=True)]
    if isinstance(found, list) and all(isinstance(row, dict) for row in found):
        head = list(dict.fromkeys(name for row in found for name in row))
        return head, [[row.get(name) for name in head] for row in found]
    if isinstance(found, list) and all(isinstance(row, list) for row in found):
        return [], found
    return [], None


def _entry(value: Any) -> str:
    if value is None:
        return ""
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), CELL)


def _image(data: Any) -> Node | None:
    if not isinstance(data, str):
        return None
    if len(data) > LARGEST_IMAGE:
        return ["p", {}, "The image is too large to be shown here."]
    return ["img", {"src": data, "alt": ""}] if _LINK.fullmatch(data) or _IMAGE.fullmatch(data) else None


def _progress(data: Any) -> Node | None:
    if isinstance(data, bool) or not isinstance(data, int | float):
        return None
    value = min(_MAX_PROGRESS, max(0.0, float(data)))
    return ["div", {"progress": value}, f"{value:.4g} %"]


def _markdown(data: Any) -> Node | None:
    if not isinstance(data, str):
        return None
    parser = plugins.load("markdown_it:MarkdownIt")("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: bool(_LINK.fullmatch(url) or _IMAGE.fullmatch(url))
    syntax = plugins.load("markdown_it.tree:SyntaxTreeNode")
    return ["div", {}, *_children(syntax(parser.parse(_cut(data, LONGEST))))]


def _children(node: Any) -> list[Node]:
    return [built for child in node.children for built in _built(child)]


def _built(node: Any) -> list[Node]:
    """The nodes of one piece of markdown; what has no tag of its own gives its children."""
    kind = node.type
    if kind == "text":
        return [node.content]
    if kind in ("softbreak", "hardbreak"):
        return ["\n"] if kind == "softbreak" else [["br", {}]]
    if kind == "code_inline":
        return [["code", {}, node.content]]
    if kind in ("fence", "code_block"):
        return [["pre", {}, ["code", {}, node.content]]]
    if kind == "image":
        source = str(node.attrs.get("src", ""))
        found = _image(source)
        return [[*found[:1], {**found[1], "alt": node.content}]] if found and found[0] == "img" else [node.content]
    inner = _children(node)
    if kind == "link":
        address = str(node.attrs.get("href", ""))
        return [["a", {"href": address}, *inner]] if _LINK.fullmatch(address) else inner
    return [[node.tag, {}, *inner]] if node.tag in TAGS and not node.hidden else inner


# -- how it looks


def markup(node: Node) -> str:
    """A tree as HTML; texts are escaped, styles are ours.

    Example:
        >>> markup(["p", {}, "1 < 2"])
        '<p>1 &lt; 2</p>'
    """
    if isinstance(node, str):
        return html.escape(node)
    tag, attributes, *children = node
    if tag not in TAGS:
        return "".join(map(markup, children))
    if "progress" in attributes:
        return _bar(float(attributes["progress"]), "".join(map(markup, children)))
    given = f' style="{_STYLES[tag]}"' if tag in _STYLES else ""
    if tag == "a" and _LINK.fullmatch(attributes["href"]):
        given += f' href="{html.escape(attributes["href"])}" target="_blank" rel="noopener noreferrer"'
    if tag == "img":
        given += f' src="{html.escape(attributes["src"])}" alt="{html.escape(attributes["alt"])}"'
    return f"<{tag}{given}>" if tag in _VOID else f"<{tag}{given}>{''.join(map(markup, children))}</{tag}>"


def _bar(value: float, label: str) -> str:
    full = "var(--jp-success-color1, #2e7d32)" if value >= _MAX_PROGRESS else "var(--jp-brand-color1, #1565c0)"
    return (
        f'<div style="display:flex;gap:10px;align-items:center"><div role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{value:.4g}" style="flex:1;height:8px;border-radius:4px;overflow:hidden;'
        f'background:rgba(128,128,128,.25)"><div style="height:100%;width:{value:.4g}%;background:{full}"></div></div>'
        f'<span style="min-width:4em;font-variant-numeric:tabular-nums">{label}</span></div>'
    )


def description(artifact: Artifact) -> Node | None:
    """What is said of an artifact, as a tree."""
    return _markdown(artifact.description) if artifact.description else None


def title(artifact: Artifact) -> str:
    """What an artifact is called: its key, or what it is."""
    return artifact.key or f"{artifact.type or 'artifact'}"


def artifact_card(artifact: Artifact) -> str:
    """An artifact as a card."""
    said = description(artifact)
    name = f"<b>{html.escape(title(artifact))}</b>" if artifact.key else ""
    return card(name, [markup(said) if said else "", markup(tree(artifact))])


def artifact_text(artifact: Artifact) -> str:
    """An artifact in one line."""
    told = f" {artifact.data:.4g} %" if artifact.type == "progress" and isinstance(artifact.data, int | float) else ""
    return f"<Artifact {artifact.type} {artifact.key or str(artifact.id)[:8]!r}{told}>"


def picture(artifact: Artifact) -> dict[str, Any]:
    """An artifact as the monitor's page takes it."""
    said = description(artifact)
    return {
        "id": str(artifact.id),
        "title": title(artifact),
        "type": artifact.type or "",
        "time": artifact.updated.isoformat() if artifact.updated else None,
        "description": said,
        "body": tree(artifact),
    }


def section(artifacts: list[Artifact]) -> str:
    """The artifacts of a run as a part of its card, as HTML.

    Args:
        artifacts: latest first.
    """
    parts = []
    for one in artifacts:
        said = description(one)
        at = f" · {one.created:%H:%M:%S} UTC" if one.created else ""
        head = f"<div><b>{html.escape(title(one))}</b> <span>{html.escape(one.type or '')}{at}</span></div>"
        parts.append(f'<div style="margin-top:6px">{head}{markup(said) if said else ""}{markup(tree(one))}</div>')
    return f"<details open><summary>Artifacts ({len(artifacts)})</summary>{''.join(parts)}</details>" if parts else ""


# -- in a cell


def show(artifact: Artifact) -> None:
    """Shows an artifact in the cell that runs; without a kernel this does nothing."""
    if getattr(get_ipython(), "kernel", None) is None:
        return
    _shown[artifact.id] = artifact
    while len(_shown) > _KEPT:
        _shown.pop(next(iter(_shown)))
    display(_card(artifact), display_id=str(artifact.id))


def show_progress(id: UUID, progress: float, description: str | None) -> None:
    """Moves a progress that is shown in a cell, in its place; one shown elsewhere is left to its monitor."""
    known = _shown.get(id)
    if known is None:
        return
    changed = known.model_copy(update={"data": progress, "description": description or known.description})
    _shown[id] = changed
    update_display(_card(changed), display_id=str(id))


def _card(artifact: Artifact) -> Any:
    text = artifact_text(artifact)
    return Line(text) if settings.current().display == "text" else Card(artifact_card(artifact), text)


class Line:
    """A line of plain text as the value of a cell."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text
