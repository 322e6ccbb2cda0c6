"""Writes the reference pages that follow from the code: settings, operations, errors. `--check` only compares."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from millrace import errors
from millrace.schema.operations import OPERATIONS, STREAMS
from millrace.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
NOTE = "<!-- written by scripts/generate_docs.py: change the code, then type `make generate` -->\n"


def settings_page() -> str:
    """Every setting with its variable, default and meaning."""
    lines = [
        NOTE,
        "# Settings\n",
        "Each is an environment variable.\n",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default: Any = "the platform's user data directory" if field.default_factory else field.default
        lines.append(
            f"| `MILLRACE_{name.upper()}` | {default if default not in (None, '') else '–'} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


def _type_name(kind: Any) -> str:
    if kind is None:
        return "–"
    return str(kind).replace("typing.", "") if "[" in str(kind) else getattr(kind, "__name__", str(kind))


def operations_page() -> str:
    """Every operation of the API."""
    lines = [
        NOTE,
        "# The API\n",
        "All paths lie under `/api`. The shapes are those of the Prefect 3 REST API, except for the operations marked",
        "*ours*. The models are those of `millrace.schema`.\n",
        "| operation | method | path | body | answer | |",
        "|---|---|---|---|---|---|",
    ]
    for op in OPERATIONS:
        said = ("*ours*: " if op.ours else "") + op.doc
        body, answer = (_short(_type_name(kind)) for kind in (op.body, op.answer))
        said = said.rstrip(": ")
        lines.append(f"| `{op.name}` | {op.method} | `{op.path}` | {body} | {answer} | {said} |")
    lines += ["\n## Streams\n", "| stream | kind | path | |", "|---|---|---|---|"]
    lines += [f"| `{s.name}` | {s.kind} | `{s.path}` | {s.doc} |" for s in STREAMS]
    return "\n".join(lines) + "\n"


def _short(name: str) -> str:
    words = name.replace("millrace.schema.", "")
    for module in (
        "flows.",
        "runs.",
        "states.",
        "pools.",
        "deployments.",
        "logs.",
        "events.",
        "artifacts.",
        "queries.",
    ):
        words = words.replace(module, "")
    return words.replace("|", "\\|")


def errors_page() -> str:
    """Every error, its HTTP status and its meaning."""
    found = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.MillraceError)]
    lines = [NOTE, "# Errors\n", "| error | is a | HTTP status | meaning |", "|---|---|---|---|"]
    for kind in found:
        meaning = (inspect.getdoc(kind) or "").splitlines()[0]
        lines.append(f"| `{kind.__name__}` | {kind.__bases__[0].__name__} | {kind.status} | {meaning} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the pages, or tell which are out of date."""
    pages = {"settings.md": settings_page(), "operations.md": operations_page(), "errors.md": errors_page()}
    stale = [name for name, text in pages.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != text]
    if "--check" in sys.argv:
        if stale:
            print(f"out of date: {', '.join(stale)}. Type: make generate", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages[name])
    return 0


sys.exit(main())
