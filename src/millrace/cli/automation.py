"""`millrace automation …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
import yaml

from millrace.cli.options import Limit, Yes, confirm
from millrace.cli.output import Format, Output, done, emit, facts, note, say, table
from millrace.cli.reach import reach
from millrace.client.synchronous import Client
from millrace.errors import Ambiguous, InvalidInput, NotFound, RunError
from millrace.schema.automations import Automation, AutomationFilter, AutomationQuery
from millrace.schema.events import (
    EventFilter,
    EventNameFilter,
    EventResourceFilter,
    ReceivedEvent,
)
from millrace.schema.flows import TextCondition
from millrace.schema.triggers import strange
from millrace.suggestions import did_you_mean

app = typer.Typer(no_args_is_help=True, help="Automations: when this happens, do that.")
Name = Annotated[str | None, typer.Argument(help="The automation's name.")]
ById = Annotated[str | None, typer.Option("--id", help="Its id, instead of its name.")]

_SHOWN = 10


def _find(client: Client, name: str | None, id: str | None) -> Automation:
    if (name is None) == (id is None):
        raise InvalidInput("Name the automation, or give its --id.")
    if id is not None:
        try:
            return client.read_automation(UUID(id))
        except ValueError:
            raise InvalidInput(f"--id {id!r} is no id.") from None
    named = AutomationFilter(name=TextCondition(any_=[str(name)]))
    found = client.read_automations(AutomationQuery(automations=named))
    if not found:
        hint = did_you_mean(str(name), [one.name for one in client.read_automations(AutomationQuery(limit=200))])
        raise NotFound(f"No automation is named {name!r}.{hint} millrace automation ls shows all.")
    if len(found) > 1:
        ids = ", ".join(str(one.id) for one in found)
        raise Ambiguous(f"{len(found)} automations are named {name!r}. Say which by --id: {ids}.")
    return found[0]


@app.command("ls")
def list_(limit: Limit = 100, output: Output = Format.TEXT) -> None:
    """List automations, by name."""
    found = reach().read_automations(AutomationQuery(limit=limit))
    if output is Format.JSON:
        emit(found)
        return
    rows = [
        (one.name, "yes" if one.enabled else "no", one.trigger.type, ", ".join(a.type for a in one.actions), one.id)
        for one in found
    ]
    table(("NAME", "ENABLED", "TRIGGER", "ACTIONS", "ID"), rows, empty="There are no automations.")


@app.command()
def inspect(name: Name = None, id: ById = None, output: Output = Format.TEXT) -> None:
    """Show an automation, and what it did last."""
    client = reach()
    found = _find(client, name, id)
    did = _history(client, found)
    if output is Format.JSON:
        emit({**found.model_dump(mode="json"), "history": [one.model_dump(mode="json") for one in did]})
        return
    facts(
        {
            "name": found.name,
            "id": found.id,
            "description": found.description or "-",
            "enabled": "yes" if found.enabled else "no",
            "trigger": _yaml(found.trigger.model_dump(mode="json", exclude_defaults=True, exclude={"id"})),
            "actions": _yaml(
                [one.model_dump(mode="json", exclude_defaults=True) | {"type": one.type} for one in found.actions]
            ),
        }
    )
    rows = [(one.occurred, one.event.rpartition(".")[2], _said(one)) for one in did]
    table(("WHEN", "WHAT", "HOW"), rows, empty="It has not fired yet.")


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()


def _history(client: Client, automation: Automation) -> list[ReceivedEvent]:
    wanted = EventFilter(
        event=EventNameFilter(
            name=[f"prefect.automation.{what}" for what in ("triggered", "action.executed", "action.failed")]
        ),
        resource=EventResourceFilter(id=[f"prefect.automation.{automation.id}"]),
    )
    return client.read_events(filter=wanted, limit=_SHOWN).events


def _said(event: ReceivedEvent) -> str:
    told = event.payload
    if "action_type" not in told:
        cause = told.get("triggering_event") or {}
        return str(cause.get("event", "the time was up"))
    return f"{told['action_type']}: {told['reason']}" if "reason" in told else str(told["action_type"])


@app.command()
def create(
    from_file: Annotated[Path | None, typer.Option("--from-file", "-f", help="A YAML or JSON file.")] = None,
    from_json: Annotated[str | None, typer.Option("--from-json", "-j", help="JSON.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Create automations from a file: one, a list, or a list under `automations`."""
    if (from_file is None) == (from_json is None):
        raise InvalidInput("Give --from-file or --from-json.")
    client = reach()
    given = _read(from_file) if from_file is not None else _parsed(str(from_json), "--from-json")
    made: list[Automation] = []
    failed: list[str] = []
    for index, one in enumerate(_several(given)):
        if not isinstance(one, dict):
            raise InvalidInput(f"Automation {index + 1} is {type(one).__name__}, not a mapping.")
        try:
            if problem := strange(one.get("trigger")):
                raise InvalidInput(problem)
            made.append(client.create_automation(one))  # type: ignore[arg-type]
        except InvalidInput as error:
            failed.append(f"{one.get('name', f'automation {index + 1}')}: {error}")
    if output is Format.JSON:
        emit(made)
    else:
        for new in made:
            say(f"Created the automation {new.name!r} ({new.id}).")
    for text in failed:
        note(text)
    if failed:
        raise RunError(f"{len(failed)} of {len(failed) + len(made)} automations could not be created.")


def _several(given: Any) -> list[Any]:
    if isinstance(given, dict) and isinstance(given.get("automations"), list):
        return list(given["automations"])
    return given if isinstance(given, list) else [given]


def _read(path: Path) -> Any:
    text = path.read_text()
    if path.suffix.lower() == ".json":
        return _parsed(text, str(path))
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise InvalidInput(f"{path} must end in .yaml, .yml or .json.")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is no YAML: {error}") from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{where} is no JSON: {error}") from None


@app.command()
def pause(name: Name = None, id: ById = None, output: Output = Format.TEXT) -> None:
    """Let an automation rest."""
    client = reach()
    found = _find(client, name, id)
    client.patch_automation(found.id, enabled=False)
    done(f"Paused the automation {found.name!r}.", client.read_automation(found.id), output)


@app.command()
def resume(name: Name = None, id: ById = None, output: Output = Format.TEXT) -> None:
    """Let an automation look at events again."""
    client = reach()
    found = _find(client, name, id)
    client.patch_automation(found.id, enabled=True)
    done(f"Resumed the automation {found.name!r}.", client.read_automation(found.id), output)


@app.command()
def delete(name: Name = None, id: ById = None, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Forget an automation."""
    found = _find(reach(), name, id)
    confirm(f"Delete the automation {found.name!r}?", yes)
    reach().delete_automation(found.id)
    done(f"Deleted the automation {found.name!r}.", found, output)


app.command("disable", hidden=True)(pause)
app.command("enable", hidden=True)(resume)
