"""Static cards: what a saved notebook, an exported page or a screen without widgets shows.

Every text from a run goes through `html.escape`; the cards carry no script, and colours that fit light and dark pages.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from millrace.jupyter.pausing import Pause
from millrace.jupyter.view import Line, Row, RunView

ICONS = {
    "Scheduled": "◷",
    "Late": "◷",
    "AwaitingRetry": "↻",
    "Pending": "○",
    "Submitting": "○",
    "Running": "●",
    "Retrying": "↻",
    "Completed": "✔",
    "Cached": "≡",
    "Failed": "✖",
    "TimedOut": "⏱",
    "Crashed": "⚡",
    "Cancelling": "⊘",
    "Cancelled": "⊘",
    "Paused": "‖",
    "Suspended": "‖",
    "NotRun": "–",
}
_GOOD = "var(--jp-success-color1, #2e7d32)"
_BAD = "var(--jp-error-color1, #c62828)"
_BUSY = "var(--jp-brand-color1, #1565c0)"
_ODD = "var(--jp-warn-color1, #b26a00)"
COLOURS = {
    "Completed": _GOOD,
    "Cached": _GOOD,
    "Failed": _BAD,
    "Crashed": _BAD,
    "TimedOut": _BAD,
    "Running": _BUSY,
    "Retrying": _BUSY,
    "Late": _ODD,
    "AwaitingRetry": _ODD,
    "Cancelling": _ODD,
    "Paused": _ODD,
    "Suspended": _ODD,
}
_CARD = (
    "border:1px solid var(--jp-border-color2, rgba(128,128,128,.4));border-radius:6px;padding:8px 12px;"
    "max-width:1100px;font:13px/1.45 var(--jp-ui-font-family, system-ui);color:var(--jp-ui-font-color1, inherit)"
)
_MONO = "font-family:var(--jp-code-font-family, monospace);white-space:pre-wrap"


class Card:
    """HTML for the page and a stable line for where there is none.

    Args:
        markup: HTML whose texts are escaped.
        text: the line.
    """

    def __init__(self, markup: str, text: str) -> None:
        self.markup = markup
        self._text = text

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self._text


def duration(seconds: float | None) -> str:
    """A span for people.

    Example:
        >>> duration(75)
        '1 min 15 s'
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def chip(state: str) -> str:
    """A state as icon, word and colour, as HTML."""
    colour = COLOURS.get(state, "currentColor")
    return (
        f'<span style="color:{colour};border:1px solid currentColor;border-radius:10px;padding:0 8px;'
        f'white-space:nowrap">{state_icon(state)} {html.escape(state)}</span>'
    )


def state_text(state: str) -> str:
    """A state as icon and word, as plain text."""
    return f"{state_icon(state)} {state}"


def state_icon(state: str) -> str:
    """The sign of a state."""
    return ICONS.get(state, "?")


def card(title: str, body: Iterable[str]) -> str:
    """A bordered card; `title` and the parts of `body` are HTML already."""
    return f'<div style="{_CARD}"><div>{title}</div>{"".join(body)}</div>'


def table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    """A small table; the cells are HTML already."""
    style = "text-align:left;padding:1px 14px 1px 0;background:none"
    first = "".join(f'<th style="{style}">{html.escape(name)}</th>' for name in head)
    plain = '<tr style="background:none">'
    rest = "".join(plain + "".join(f'<td style="{style}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f'<table style="border-collapse:collapse;margin-top:6px">{plain}{first}</tr>{rest}</table>'


def _log_lines(lines: list[Line]) -> str:
    text = "\n".join(f"{line.time.strftime('%H:%M:%S')}  {line.level:<8} {line.text}" for line in lines)
    return (
        f"<details><summary>last {len(lines)} log lines (UTC)</summary>"
        f'<div style="{_MONO};max-height:300px;overflow:auto">{html.escape(text)}</div></details>'
    )


def run_card(view: RunView, now: datetime | None = None, rows: int = 30, trouble: str = "", more: str = "") -> str:
    """One run as a static card.

    Args:
        view: what is known of it.
        now: for the elapsed time of a run that has not ended.
        rows: at most this many tasks or cells.
        trouble: why nothing more is known of it.
        more: HTML that stands after its tasks or cells.
    """
    now = now or datetime.now(UTC)
    title = f"<b>{html.escape(view.flow)} / {html.escape(view.name)}</b> {chip(view.state)} "
    facts = [duration(view.elapsed(now))]
    if view.start:
        facts.append(f"started {view.start:%Y-%m-%d %H:%M:%S} UTC")
    if view.attempt > 1:
        facts.append(f"attempt {view.attempt}")
    title += f"<span>{' · '.join(fact for fact in facts if fact)}</span>"
    body: list[str] = []
    if view.done and view.message and view.state != "Completed":
        body.append(f'<div style="color:{_BAD};{_MONO}">{html.escape(view.message)}</div>')
    body += _waiting_lines(view)
    if view.rows:
        if len(view.rows) > rows:
            body.append(f"<div>{len(view.rows) - rows} older ones not shown</div>")
        body.append(table([view.kind, "state", "time", ""], map(_row_cells, list(view.rows.values())[-rows:])))
    body.append(more)
    if view.lines:
        body.append(_log_lines(list(view.lines)[-50:]))
    if trouble:
        body.append(f'<div style="color:{_ODD}">{html.escape(trouble)}</div>')
    if not view.done:
        again = f"<code>%millrace watch {html.escape(view.run_id)}</code>"
        body.append(f"<div>as of {now:%H:%M:%S} UTC; live again with {again}</div>")
    return card(title, body)


def _waiting_lines(view: RunView) -> list[str]:
    if view.pause:
        return _pause_lines(view.pause, view.run_id)
    if not view.waiting:
        return []
    help_ = f" <code>{html.escape(view.waiting.command)}</code>" if view.waiting.command else ""
    return [f'<div style="color:{_ODD}">{html.escape(view.waiting.reason)}{help_}</div>']


def _pause_lines(pause: Pause, run_id: str) -> list[str]:
    limit = f" by {pause.until:%Y-%m-%d %H:%M:%S} UTC" if pause.until else ""
    asks = ", with " + ", ".join(one.label for one in pause.asks) if pause.asks else ""
    text = html.escape(f"Waits until somebody resumes it{limit}{asks}.")
    lines = [f"<div>{html.escape(pause.about)}</div>"] if pause.about else []
    return [f'<div style="color:{_ODD}">{text} <code>{html.escape(pause.command(run_id))}</code></div>', *lines]


def _row_cells(row: Row) -> list[str]:
    tries = f" (try {row.tries})" if row.tries > 1 else ""
    return [
        html.escape(f"{state_icon(row.state)} {row.name}{tries}"),
        html.escape("not run" if row.state == "NotRun" else row.state),
        duration((row.end - row.start).total_seconds()) if row.start and row.end else "",
        html.escape(row.detail[:200]),
    ]


def run_text(view: RunView, now: datetime | None = None) -> str:
    """One run in one line of plain text.

    Example:
        >>> run_text(RunView("0d9e", "etl", "amber-heron"))
        'etl / amber-heron: Pending'
    """
    spent = duration(view.elapsed(now or datetime.now(UTC)))
    line = f"{view.flow} / {view.name}: {view.state}" + (f" after {spent}" if spent and view.done else "")
    return line + (f": {view.message}" if view.done and view.message and view.state != "Completed" else "")


def facts_card(title: str, facts: dict[str, Any]) -> str:
    """A thing and its facts, two columns; every text is escaped here."""
    told = {name: str(value) for name, value in facts.items() if value not in (None, "", [], {})}
    rows = ([html.escape(name), html.escape(value)] for name, value in told.items())
    return card(f"<b>{html.escape(title)}</b>", [table(["", ""], rows)])
