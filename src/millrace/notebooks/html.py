"""An executed notebook as one HTML file, also of a failed run; the border to nbconvert.

nbconvert takes longer to import than a kernel to start, so it is loaded while the kernel works.
"""

from __future__ import annotations

import html
import importlib
import threading
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from millrace.notebooks.save import write_whole
from millrace.notebooks.truth import Ending

_COLOURS = {"COMPLETED": "#1a7f37", "FAILED": "#b42318", "CRASHED": "#b54708", "CANCELLED": "#57606a"}


def _exporter() -> Any:
    return importlib.import_module("nbconvert.exporters.html").HTMLExporter


def preload() -> threading.Thread:
    """Load nbconvert in the background; the thread need not be waited for."""
    thread = threading.Thread(target=_exporter, name="load-nbconvert", daemon=True)
    thread.start()
    return thread


def render(nb: NotebookNode, title: str, ending: Ending, seconds: float) -> str:
    """The notebook as a page that reads without a network, headed by the state of the run.

    Args:
        nb: the executed notebook, without secrets.
        title: the name of the notebook.
        ending: how the run ended.
        seconds: how long it took.
    """
    exporter = _exporter()(template_name="lab")
    # A title in the notebook's metadata wins over the file's name, as nbconvert has it.
    body, resources = exporter.from_notebook_node(nb, resources={"metadata": {"name": title}})
    page = _offline(str(body), resources)
    start = page.find("<body")
    end = page.find(">", start) + 1
    return page[:end] + "\n" + _banner(title, ending, seconds) + page[end:]


def _offline(page: str, resources: dict[str, Any]) -> str:
    # Scripts from elsewhere would keep a page without a network blank until they time out.
    require = f'<script src="{resources.get("require_js_url", "")}"></script>'
    rest = page.replace(require, "", 1)
    if "require(" not in rest and "requirejs" not in rest and "widget-state+json" not in rest:
        page = rest
    mathjax = f'<script src="{resources.get("mathjax_url", "")}"> </script>'
    return page.replace(mathjax, mathjax.replace("<script ", "<script async "), 1)


def _banner(title: str, ending: Ending, seconds: float) -> str:
    colour = _COLOURS[ending.state_type]
    why = f'<div style="margin-top:4px">{html.escape(ending.error.message)}</div>' if ending.error else ""
    return (
        f'<header class="millrace-run" data-state-type="{ending.state_type}" data-state-name="{ending.state_name}" '
        f'data-exit-code="{ending.exit_code}" style="font:14px/1.4 system-ui,sans-serif;margin:12px;padding:10px 14px;'
        f'border-left:6px solid {colour};background:#f6f8fa;color:#1f2328">'
        f'<strong style="color:{colour}">{ending.state_name}</strong> '
        f"· {html.escape(title)} · {seconds:.1f} s · exit code {ending.exit_code}{why}</header>\n"
    )


def save(nb: NotebookNode, path: Path, title: str, ending: Ending, seconds: float) -> None:
    """Render a notebook to a file, whole or not at all.

    Args:
        nb: the executed notebook, without secrets.
        path: the file.
        title: the name of the notebook.
        ending: how the run ended.
        seconds: how long it took.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, render(nb, title, ending, seconds))
