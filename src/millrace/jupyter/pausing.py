"""What a paused run waits for, as a form on the page, and what a person answers in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from millrace.client import resuming
from millrace.client.synchronous import Client
from millrace.errors import ParameterError
from millrace.jupyter.fields import Field, fields, parse, shown


@dataclass(frozen=True)
class Pause:
    """A pause of a run.

    Args:
        until: when the run fails if nobody has resumed it; None: never.
        asks: the fields of the input it asks for.
        about: what it says about it.
    """

    until: datetime | None = None
    asks: tuple[Field, ...] = ()
    about: str = ""

    def picture(self, run_id: str) -> dict[str, Any]:
        """What the page draws, as JSON values."""
        return {
            "until": self.until.isoformat() if self.until else None,
            "about": self.about,
            "command": self.command(run_id),
            "fields": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "label": one.label,
                    "required": one.required,
                    "value": _place(one) if one.kind == "choice" else shown(one, one.default),
                    "choices": [str(choice) for choice in one.choices],
                    "help": one.help,
                }
                for one in self.asks
            ],
        }

    def command(self, run_id: str) -> str:
        """What resumes the run from a terminal."""
        options = "".join(f" -p {one.name}=…" for one in self.asks if one.required)
        return f"millrace flow-run resume {run_id}{options}"

    def answer(self, typed: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """What was typed, as the values of the input; and what is wrong with it, by field.

        Args:
            typed: texts, truth values and places of choices, by field.
        """
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for one in self.asks:
            given = typed.get(one.name, "")
            if given == "" and not one.required and not one.nullable and one.kind not in {"text", "lines"}:
                continue  # left to its default
            try:
                if one.required and given == "" and not one.nullable:
                    raise ParameterError("A value is needed.")
                values[one.name] = _choice(one, given) if one.kind == "choice" else parse(one, given)
            except ParameterError as error:
                problems[one.name] = error.message
        return values, problems


def _place(spec: Field) -> str:
    return str(spec.choices.index(spec.default)) if spec.default in spec.choices else ""


def _choice(spec: Field, place: Any) -> Any:
    return None if place == "" else spec.choices[int(place)]


def read_pause(client: Client, run_id: UUID) -> Pause | None:
    """The pause a run is at; None if it is at none.

    Args:
        client: the server.
        run_id: the run.
    """
    run = client.read_flow_run(run_id)
    if run.state is None or not run.state.is_paused():
        return None
    schema, about = resuming.asked_input(client, run)
    return Pause(run.state.state_details.pause_timeout, tuple(fields(schema or {})), about)
