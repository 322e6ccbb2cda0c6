"""How Millrace's own objects look as the value of a cell: one stable line of text, and a card. No I/O, no widgets."""

from __future__ import annotations

from typing import Any

from millrace.jupyter.artifacts import artifact_card, artifact_text
from millrace.jupyter.display import facts_card


def register(formatter: Any) -> None:
    """Tell IPython how to show our objects.

    Args:
        formatter: the shell's `display_formatter`.
    """
    for (module, name), (text, card) in _SHOWN.items():
        formatter.formatters["text/plain"].for_type_by_name(module, name, _printer(text))
        formatter.formatters["text/html"].for_type_by_name(module, name, card)


def unregister(formatter: Any) -> None:
    """Take back what `register` told.

    Args:
        formatter: the shell's `display_formatter`.
    """
    for module, name in _SHOWN:
        for kind in ("text/plain", "text/html"):
            own = formatter.formatters[kind]
            own.deferred_printers.pop((module, name), None)
            for known in [known for known in own.type_printers if (known.__module__, known.__name__) == (module, name)]:
                own.pop(known)


def _printer(text: Any) -> Any:
    return lambda value, printer, cycle: printer.text(text(value))


def flow_text(flow: Any) -> str:
    """A flow in one line."""
    return repr(flow)


def flow_card(flow: Any) -> str:
    """A flow as a card."""
    signature = ", ".join(str(parameter) for parameter in flow.signature.parameters.values())
    facts = {
        "parameters": signature,
        "description": (flow.description or "").split("\n\n")[0],
        "retries": flow.retries or None,
        "time-out": f"{flow.timeout_seconds:g} s" if flow.timeout_seconds else None,
    }
    return facts_card(f"Flow {flow.name}", facts)


def deployment_text(deployment: Any) -> str:
    """A stored deployment in one line."""
    return f"<Deployment {deployment.name!r} {'paused' if deployment.paused else 'active'}>"


def deployment_card(deployment: Any) -> str:
    """A stored deployment as a card."""
    facts = {
        "schedules": "; ".join(
            item.schedule.describe() + ("" if item.active else " (rests)") for item in deployment.schedules
        ),
        "parameters": deployment.parameters,
        "work pool": deployment.work_pool_name,
        "entrypoint": deployment.entrypoint,
        "version": (deployment.version or "")[:8],
        "tags": ", ".join(deployment.tags),
        "paused": "yes" if deployment.paused else None,
    }
    return facts_card(f"Deployment {deployment.name}", facts)


def run_text(run: Any) -> str:
    """A run in one line, as it was when it was read."""
    return f"<{type(run).__name__} {run.name!r} {run.state_name or (run.state and run.state.name) or 'unknown'}>"


def run_card(run: Any) -> str:
    """A run as a card, as it was when it was read."""
    facts = {
        "state": run.state_name,
        "message": run.state.message if run.state else None,
        "parameters": run.parameters,
        "due": _moment(run.expected_start_time) if run.start_time is None else None,
        "started": _moment(run.start_time),
        "ended": _moment(run.end_time),
        "watch it": f"%millrace watch {run.id}",
    }
    return facts_card(f"Run {run.name}", facts)


def _moment(value: Any) -> str | None:
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S %Z}" if value else None


_SHOWN = {
    ("millrace.flows", "Flow"): (flow_text, flow_card),
    ("millrace.schema.deployments", "Deployment"): (deployment_text, deployment_card),
    ("millrace.schema.artifacts", "Artifact"): (artifact_text, artifact_card),
    ("millrace.schema.runs", "FlowRun"): (run_text, run_card),
}
