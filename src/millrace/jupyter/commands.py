"""What `%millrace` and `%flow_check` do, as functions of their words."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from uuid import UUID

from IPython.display import display

from millrace import plugins, settings
from millrace.client import locate
from millrace.client.handle import RunHandle
from millrace.client.synchronous import Client
from millrace.errors import InvalidInput, MissingFlow, NotFound, ServerUnavailable
from millrace.jupyter.definition import closure_of, taken_along
from millrace.jupyter.display import chip, duration, state_text, table
from millrace.notebooks import live
from millrace.notebooks.check import CheckReport, check_exported
from millrace.notebooks.export import Exported, export_module
from millrace.notebooks.parameters import from_text
from millrace.schema.fields import now
from millrace.schema.flows import IdCondition, TextCondition
from millrace.schema.queries import FlowQuery, FlowRunQuery
from millrace.schema.runs import FlowRun, FlowRunFilter, FlowRunSort

_RECENT = 200


def run_command(words: list[str], namespace: dict[str, Any]) -> None:
    """Do one `%millrace …` line.

    Args:
        words: what stands behind `%millrace`.
        namespace: the user's names.

    Raises:
        InvalidInput: there is no such command, or a word is missing.
    """
    name, rest = (words[0], words[1:]) if words else ("status", [])
    if name not in _COMMANDS:
        close = get_close_matches(name, _COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InvalidInput(f"%millrace has no command {name!r}.{hint} It has {', '.join(_COMMANDS)}.")
    _COMMANDS[name](rest, namespace)


# -- the commands


def _status(_: list[str], __: dict[str, Any]) -> None:
    try:
        client = Client(locate.locate(start=False))
    except ServerUnavailable as error:
        print(error.message)
        return
    busy = client.counters()
    print(f"Millrace {client.server_version()}, data in {settings.current().home}")
    print(f"runs: {busy.running} running, {busy.pending} pending, {busy.scheduled} scheduled, {busy.late} late")
    print(f"{busy.deployments} deployments, {busy.active_schedules} active schedules, {busy.workers_online} workers")
    if busy.next_due:
        print(f"next run: {busy.next_due.astimezone():%a %d %b %H:%M:%S %Z}")


def _runs(words: list[str], _: dict[str, Any]) -> None:
    if words and not words[0].isdigit():
        raise InvalidInput(f"%millrace runs takes how many to show, not {words[0]!r}")
    client = locate.connect()
    query = FlowRunQuery(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_RECENT)
    moment = now()
    due = [
        run for run in client.read_flow_runs(query) if (run.start_time or run.expected_start_time or moment) <= moment
    ]
    shown = due[: int(words[0]) if words else 15]
    if not shown:
        print("No runs yet.")
        return
    flows = IdCondition(any_=list({run.flow_id for run in shown}))
    names = {flow.id: flow.name for flow in client.read_flows(FlowQuery(flows={"id": flows}))}
    _show_table([_run_row(run, names.get(run.flow_id, "")) for run in shown])


def _watch(words: list[str], _: dict[str, Any]) -> None:
    watch: Callable[[Any], Any] = plugins.load("millrace.jupyter.monitor:watch")
    watch(_found(words, "watch"))


def _logs(words: list[str], _: dict[str, Any]) -> None:
    for log in RunHandle(_found(words, "logs")).logs():
        print(f"{log.timestamp.astimezone():%H:%M:%S}  {log.message}")


def _cancel(words: list[str], _: dict[str, Any]) -> None:
    run = RunHandle(_found(words, "cancel"))
    print(f"{run.name} is {run.cancel().name}.")


def _deploy(words: list[str], namespace: dict[str, Any]) -> None:
    name = _one_word(words, "deploy", "a flow or a notebook")
    is_book = name.endswith(".ipynb")
    form: Callable[..., Any] = plugins.load("millrace.jupyter.forms:deploy_form")
    form(name if is_book else _flow(name, namespace), None if is_book else name)


def _export(words: list[str], _: dict[str, Any]) -> None:
    if len(words) != 2:
        raise InvalidInput("%millrace export takes a flow and a directory: %millrace export etl ./out")
    exported = export_module(closure_of(words[0]), words[1])
    print(f"{exported.path}\nentrypoint {exported.entrypoint}")


def _check(words: list[str], _: dict[str, Any]) -> None:
    print(check(words))


_COMMANDS: dict[str, Callable[[list[str], dict[str, Any]], None]] = {
    "status": _status,
    "runs": _runs,
    "watch": _watch,
    "logs": _logs,
    "cancel": _cancel,
    "deploy": _deploy,
    "export": _export,
    "check": _check,
}


# -- the check


def check(words: list[str]) -> str:
    """Whether a flow runs in a clean process, as a text.

    Args:
        words: `NAME [--call] [-p key=value …]`.

    Raises:
        InvalidInput: the words cannot be understood.
        ClosureError: the flow needs what cannot be shipped.
    """
    name, call, texts = _check_words(words)
    closure = closure_of(name)
    closure.require_complete()
    flow = _flow(closure.flow, live.live_namespace())
    values = from_text(flow.parameters, texts)
    with tempfile.TemporaryDirectory(prefix="millrace-export-") as place:
        exported = export_module(closure, Path(place))
        report = check_exported(exported, values, call=call or bool(values))
    return _report(name, taken_along(closure), exported, report)


def _check_words(words: list[str]) -> tuple[str, bool, dict[str, str]]:
    names: list[str] = []
    texts: dict[str, str] = {}
    call = False
    waiting = iter(words)
    for word in waiting:
        if word == "--call":
            call = True
        elif word in {"-p", "--param"}:
            key, equals, text = next(waiting, "").partition("=")
            if not equals:
                raise InvalidInput("-p takes key=value, as in -p rows=10")
            texts[key] = text
        elif word.startswith("-"):
            raise InvalidInput(f"%flow_check has no option {word}; it has --call and -p key=value")
        else:
            names.append(word)
    return _one_word(names, "check", "a flow"), call, texts


def _report(name: str, parts: str, exported: Exported, report: CheckReport) -> str:
    if not report.ok:
        said = f"\nIt printed:\n{report.output.strip()}" if report.output.strip() else ""
        return f"✖ {name} does not run in a clean process: {report.message}{said}"
    lines = [f"✔ {name} runs in a clean process ({report.seconds:.1f} s). It takes along {parts}."]
    if report.value_repr is not None:
        lines.append(f"  Called there, it gave {report.value_repr[:500]}")
    if others := sorted(exported.distributions - {"millrace"}):
        lines.append(f"  Where it runs, these must be installed: {', '.join(others)}")
    # What the flow does not use need not be told; what was taken out of its cells is worth a look.
    plain = re.compile(r"is not needed by \w+ and is left out$|is for the session and is left out$|, left out$")
    return "\n".join([*lines, *(f"  {note}" for note in exported.notes if not plain.search(note))])


# -- finding things


def _one_word(words: list[str], command: str, what: str) -> str:
    if len(words) != 1:
        raise InvalidInput(f"%millrace {command} takes {what}; it got {' '.join(words) or 'nothing'}")
    return words[0]


def _flow(name: str, namespace: dict[str, Any]) -> Any:
    flow = namespace.get(name)
    if flow is None or not hasattr(flow, "fn"):
        known = [key for key, value in namespace.items() if hasattr(value, "fn") and hasattr(value, "deploy")]
        there = f"There is {', '.join(known)}" if known else "There is none"
        raise MissingFlow(f"{name!r} is not a flow here. {there}.")
    return flow


def _found(words: list[str], command: str) -> UUID:
    """The run that people mean: its id, the beginning of its id, or its name."""
    text = _one_word(words, command, "a run's name or id")
    try:
        return UUID(text)
    except ValueError:
        pass
    client = locate.connect()
    named = client.read_flow_runs(FlowRunQuery(flow_runs=FlowRunFilter(name=TextCondition(any_=[text]))))
    recent = FlowRunQuery(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_RECENT)
    found = named or [run for run in client.read_flow_runs(recent) if str(run.id).startswith(text.lower())]
    if not found:
        raise NotFound(f"No run is called {text!r}, and none of the last {_RECENT} has an id that begins so.")
    if len({run.id for run in found}) > 1:
        choices = ", ".join(f"{run.name} ({str(run.id)[:8]})" for run in found[:5])
        raise InvalidInput(f"{text!r} fits several runs: {choices}. Give more of the id.")
    return found[0].id


# -- the table of runs


def _run_row(run: FlowRun, flow: str) -> tuple[str, str, str, str, str]:
    start = f"{run.start_time.astimezone():%d %b %H:%M:%S}" if run.start_time else ""
    spent = duration((run.end_time - run.start_time).total_seconds()) if run.start_time and run.end_time else ""
    return run.state_name or "", f"{flow} / {run.name}", start, spent, str(run.id)[:8]


def _show_table(rows: list[tuple[str, str, str, str, str]]) -> None:
    head = ["state", "run", "started", "took", "id"]
    lines = [f"{state_text(row[0]):<16} {row[1]:<44} {row[2]:<16} {row[3]:<12} {row[4]}" for row in rows]
    cells = ([chip(state), *(html.escape(text) for text in rest)] for state, *rest in rows)
    display({"text/plain": "\n".join(lines), "text/html": table(head, cells)}, raw=True)
