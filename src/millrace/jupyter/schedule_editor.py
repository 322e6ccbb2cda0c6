"""The part of a form that says when: none, every so often, cron, or a recurrence, with the next fires."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as widgets

from millrace.errors import MillraceError
from millrace.jupyter.call import KINDS, UNITS, DeployCall, preview
from millrace.jupyter.inputs import LABEL, WIDE, Note, mark
from millrace.schema.fields import now
from millrace.schema.schedules import Schedule
from millrace.schema.wall_clock import zone_names

_PRESETS = {
    "choose a preset …": "",
    "every hour": "0 * * * *",
    "daily at 06:00": "0 6 * * *",
    "weekdays at 09:00": "0 9 * * 1-5",
    "Mondays at 07:00": "0 7 * * 1",
    "first of the month at 05:00": "0 5 1 * *",
}
_LABELS = {"None": "", "Every": "every *", "Cron": "cron *", "RRule": "rrule *"}
_HINTS = {"Every": "10", "Cron": "0 9 * * 1-5", "RRule": "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9"}


class ScheduleEditor:
    """The controls of a schedule."""

    def __init__(self) -> None:
        self._kind = widgets.ToggleButtons(options=KINDS, style={"button_width": "6em"})
        self._kind.layout.margin = "2px 0 2px 11.5em"
        self._preset = widgets.Dropdown(options=list(_PRESETS.items()), description="preset", style=LABEL, layout=WIDE)
        self._text = widgets.Text(style=LABEL, continuous_update=False, layout=WIDE)
        self._unit = widgets.Dropdown(options=list(UNITS), value="minutes", layout={"width": "9em"})
        self._zone = widgets.Combobox(
            options=["UTC", *zone_names()], description="time zone", placeholder="UTC", style=LABEL, layout=WIDE
        )
        self._zone.continuous_update = False
        self._note = Note()
        self._row = widgets.HBox([self._text, self._unit])
        for control in (self._kind, self._text, self._unit, self._zone):
            control.observe(self._changed, "value")
        self._preset.observe(self._preset_chosen, "value")
        self._changed()

    @property
    def widgets(self) -> list[Any]:
        """What to put into the form."""
        return [self._kind, self._preset, self._row, self._zone, self._note.widget]

    def held(self) -> dict[str, Any]:
        """What the controls hold, as fields of `DeployCall`."""
        zone = self._zone.value.strip()
        return {
            "kind": self._kind.value,
            "text": self._text.value.strip(),
            "unit": self._unit.value,
            "timezone": "" if zone == "UTC" else zone,
        }

    def check(self) -> bool:
        """Whether it can be used; says below what is wrong."""
        try:
            self._show(DeployCall("", **self.held()).schedule())
        except MillraceError as error:
            mark(self._text, True)
            self._note.say(error.message, "error")
            return False
        mark(self._text, False)
        return True

    def _preset_chosen(self, _: Any) -> None:
        if self._preset.value:
            self._text.value = self._preset.value

    def _changed(self, change: Any = None) -> None:
        kind = self._kind.value
        if change is not None and change["owner"] is self._kind:
            # What was typed for one kind means nothing to another.
            self._text.value, self._preset.value = "", ""
        self._text.description, self._text.placeholder = _LABELS[kind], _HINTS.get(kind, "")
        shown = {self._row: kind != "None", self._zone: kind != "None"}
        for control, is_shown in {**shown, self._unit: kind == "Every", self._preset: kind == "Cron"}.items():
            control.layout.display = "" if is_shown else "none"
        if self._text.value.strip():
            self.check()
        else:
            mark(self._text, False)
            self._note.say("It runs when somebody asks for it." if kind == "None" else "")

    def _show(self, schedule: Schedule | None) -> None:
        if schedule is None:
            self._note.say("It runs when somebody asks for it.")
            return
        fires = preview(schedule, now())
        rows = "".join(_row(*fire) for fire in fires)
        words = html.escape(schedule.describe())
        self._note.show(f"<b>{words}</b><table><tr><th>next runs</th><th>UTC</th><th></th><th></th></tr>{rows}</table>")


def _row(local: str, utc: str, distance: str, note: str) -> str:
    odd = f'<span class="millrace-warning">⚠ {html.escape(note)}</span>' if note else ""
    return "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in (local, utc, distance)) + f"<td>{odd}</td></tr>"
