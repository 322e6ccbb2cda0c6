"""Templates in actions: places where a value of what happened stands. Names are looked up; nothing is evaluated.

`{{ event.payload.rows }}` is a path; after the first name each step is a member, or, in brackets, an item:
`{{ event.resource["prefect.resource.name"] }}`. The only filter is `tojson`. A text that is one placeholder and nothing
else becomes the value itself, with its type; within other text it becomes text, and what is missing becomes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from millrace.schema.fields import JsonObject

ROOTS = frozenset(
    {
        "automation",
        "deployment",
        "event",
        "events",
        "firing",
        "flow",
        "flow_run",
        "labels",
        "task_run",
        "variables",
        "work_pool",
        "work_queue",
    }
)
"""What a path may begin with."""

SECRETS = ("prefect", "blocks", "secret")
"""How the path of a secret begins; its name follows. Only targets of notifications may hold one."""

KIND = "__prefect_kind"
"""Marks an object that stands for a value: kinds json, jinja, workspace_variable."""

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_STEP = re.compile(r"""\.\s*([A-Za-z_][\w-]*)|\[\s*(?:"([^"]*)"|'([^']*)'|(\d{1,9}))\s*\]""")
_FIRST = re.compile(r"[A-Za-z_]\w*")
_FILTER = re.compile(r"\|\s*tojson\s*$")

Lookup = Callable[["Path"], Any]


@dataclass(frozen=True, slots=True)
class Path:
    """A placeholder: the steps to a value, and whether it is wanted as JSON text."""

    steps: tuple[str | int, ...]
    as_json: bool = False

    @property
    def secret(self) -> str | None:
        """The name of the secret it stands for."""
        return str(self.steps[3]) if self.steps[:3] == SECRETS and len(self.steps) == 4 else None


def is_template(text: str) -> bool:
    """Whether a text holds a template, or what another system would take for one."""
    return "{{" in text or "{%" in text or "{#" in text


def parse(text: str, *, secrets: bool = False) -> list[str | Path]:
    """A template as its parts.

    Args:
        text: the template.
        secrets: whether it may name secrets.

    Raises:
        ValueError: it holds more than placeholders, or a path that leads nowhere.

    Example:
        >>> parse("rows: {{ event.payload.rows }}")
        ['rows: ', Path(steps=('event', 'payload', 'rows'), as_json=False)]
    """
    parts: list[str | Path] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(_plain(text[end : match.start()]))
        parts.append(_path(match[1], secrets))
        end = match.end()
    parts.append(_plain(text[end:]))
    return [part for part in parts if part != ""]


def _plain(text: str) -> str:
    for mark in ("{%", "{#", "{{"):
        if mark in text:
            raise ValueError(
                f"templates are filled in, not run: {mark!r} is not supported, write {{{{ a.name }}}} only"
            )
    return text


def _path(inner: str, secrets: bool) -> Path:
    written = inner.strip()
    text = _FILTER.sub("", written)
    first = _FIRST.match(text)
    at = first.end() if first else 0
    steps: list[str | int] = [first[0]] if first else []
    rest = text.rstrip()
    while first and at < len(rest):
        step = _STEP.match(rest, at)
        if step is None:
            break
        steps.append(int(step[4]) if step[4] is not None else next(one for one in step.groups()[:3] if one is not None))
        at = step.end()
    if first is None or at < len(rest):
        raise ValueError(
            f"the template {{{{ {written[:80]} }}}} is not a plain name: use a path such as event.payload.rows or "
            'event.resource["prefect.resource.name"]; nothing is evaluated, and the only filter is tojson'
        )
    path = Path(tuple(steps), as_json=text != written)
    if path.secret is not None and secrets:
        return path
    if steps[0] not in ROOTS:
        also = " or prefect.blocks.secret.NAME" if secrets else ""
        raise ValueError(f"the template {{{{ {written[:80]} }}}} begins with none of {', '.join(sorted(ROOTS))}{also}")
    return path


def fill(text: str, lookup: Lookup, *, secrets: bool = False) -> Any:
    """A template filled in: the value itself where the text is one placeholder, else text.

    Args:
        text: the template.
        lookup: the value at a path; None where there is none.
        secrets: whether it may name secrets.
    """
    parts = parse(text, secrets=secrets)
    if len(parts) == 1 and isinstance(parts[0], Path):
        value = lookup(parts[0])
        return json.dumps(value, default=str) if parts[0].as_json else value
    return "".join(part if isinstance(part, str) else _words(part, lookup(part)) for part in parts)


def fill_text(text: str, lookup: Lookup, *, secrets: bool = False) -> str:
    """A template filled in, as text in any case."""
    value = fill(text, lookup, secrets=secrets)
    return value if isinstance(value, str) else _words(Path(()), value)


def _words(path: Path, value: Any) -> str:
    if path.as_json:
        return json.dumps(value, default=str)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def fill_all(value: Any, lookup: Lookup) -> Any:
    """Parameters with every template in them filled in, also in the original's object form.

    Args:
        value: JSON.
        lookup: the value at a path.

    Raises:
        ValueError: a `json` object holds no JSON after all.
    """
    if isinstance(value, str):
        return fill(value, lookup) if is_template(value) else value
    if isinstance(value, list):
        return [fill_all(item, lookup) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind == "jinja":
        return fill_text(str(value.get("template", "")), lookup)
    if kind == "workspace_variable":
        return lookup(Path(("variables", str(value.get("variable_name", "")))))
    if kind == "json":
        inner = fill_all(value.get("value"), lookup)
        return json.loads(inner) if isinstance(inner, str) else inner
    return {key: fill_all(item, lookup) for key, item in value.items()}


def check_all(value: JsonObject) -> None:
    """Parameters whose templates can be filled in.

    Raises:
        ValueError: one cannot; the message names the parameter.
    """
    for where, text in _templates(value, ""):
        try:
            parse(text)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def _templates(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield (where, value) if is_template(value) else (where, "")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _templates(item, f"{where}[{index}]")
    elif isinstance(value, dict):
        kind = value.get(KIND)
        if kind not in (None, "json", "jinja", "workspace_variable", "none"):
            raise ValueError(f"{where}: the kind {str(kind)[:40]!r} is none of json, jinja, workspace_variable")
        for key, item in value.items():
            yield from _templates(item, f"{where}.{key}" if where else str(key))
