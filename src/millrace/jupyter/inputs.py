"""The controls of a form: one widget a field, with the line for its error below."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from millrace.errors import InvalidInput, ParameterError
from millrace.jupyter.fields import Field, empty, parse, shown
from millrace.notebooks.parameters import validate

# Not a Layout: two widgets with one Layout are hidden together.
WIDE = {"width": "100%", "max_width": "720px"}
LABEL = {"description_width": "11em"}
_PROBLEM = "millrace-problem"
_HINTS = {
    "integer": "a whole number",
    "number": "a number",
    "date": "2026-11-21",
    "datetime": "2026-11-21T09:00:00+01:00",
    "lines": "one a line",
    "json": "JSON",
    "password": "in a notebook: env:NAME or secret:NAME",
}


class Note:
    """A line below a control: an error, a warning or a remark; nothing when there is nothing to say."""

    def __init__(self, indent: str = "11.5em") -> None:
        self.widget = widgets.HTML(layout=widgets.Layout(display="none", margin=f"0 0 2px {indent}"))

    def say(self, text: str, kind: str = "remark", command: str = "") -> None:
        """Show a text.

        Args:
            text: what to say; empty: nothing.
            kind: `error`, `warning`, `good` or `remark`.
            command: what could be typed to help.
        """
        sign = {"error": "✖ ", "warning": "⚠ ", "good": "✔ "}.get(kind, "")
        role = ' role="alert"' if kind == "error" else ""
        code = f" <code>{html.escape(command)}</code>" if command else ""
        value = f'<span class="millrace-{kind}"{role}>{sign}{html.escape(text)}{code}</span>' if text else ""
        self.show(value)

    def show(self, value: str) -> None:
        """Show HTML whose texts are escaped already."""
        if self.widget.value != value:
            self.widget.value = value
        self.widget.layout.display = "" if value else "none"


@dataclass
class Input:
    """One parameter in the form.

    Args:
        spec: the field.
        control: its widget.
        note: the line below it.
        at_first: what the widget showed at first.
    """

    spec: Field
    control: Any
    note: Note
    at_first: Any

    @classmethod
    def of(cls, spec: Field) -> Input:
        """The input for a field, filled with its default."""
        control = _control(spec)
        note = Note()
        made = cls(spec, control, note, control.value)
        note.say(spec.help)
        control.observe(lambda _: made.check({}), "value")
        return made

    @property
    def widgets(self) -> list[Any]:
        """What to put into the form."""
        return [self.control, self.note.widget]

    @property
    def is_given(self) -> bool:
        """Whether it says anything beyond the flow's own default."""
        if self.control.value != self.at_first:
            return True
        return self.spec.required and (self.spec.nullable or not empty(self.spec, self.control.value))

    def check(self, schema: dict[str, Any]) -> tuple[bool, Any]:
        """Read the control and say below it what is wrong.

        Args:
            schema: the parameter schema, to check the value by; empty: only whether it can be read.

        Returns:
            Whether it can be used, and the value.
        """
        try:
            if self.spec.required and not self.spec.nullable and empty(self.spec, self.control.value):
                # Nobody wants to be told off for a field they have not come to yet.
                if schema:
                    more = ' An empty text is written "".' if self.spec.kind == "text" else ""
                    raise ParameterError(f"A value is needed.{more}")
                return True, None
            value = parse(self.spec, self.control.value)
            if schema and self.is_given:
                value = validate({**schema, "required": []}, {self.spec.name: value})[self.spec.name]
        except InvalidInput as error:
            mark(self.control, True)
            self.note.say(error.message, "error")
            return False, None
        mark(self.control, False)
        self.note.say(self.spec.help)
        return True, value

    def forget(self) -> None:
        """Empty the field if it holds a secret: what a widget holds is saved with the notebook."""
        if self.spec.kind == "password":
            self.control.value = ""


def mark(control: Any, wrong: bool) -> None:
    """Mark a control as one to be mended; the page puts the focus on the first."""
    if wrong:
        control.add_class(_PROBLEM)
    else:
        control.remove_class(_PROBLEM)


def _control(spec: Field) -> Any:
    text = "" if spec.required and spec.kind == "json" and spec.default is None else shown(spec, spec.default)
    label = {"description": spec.label + (" *" if spec.required else ""), "style": LABEL, "layout": WIDE}
    if spec.kind == "boolean":
        return widgets.Checkbox(value=text, indent=True, **label)
    if spec.kind == "choice":
        choices = [("not set", None)] if spec.nullable or (spec.required and spec.default is None) else []
        choices += [(str(choice), choice) for choice in spec.choices]
        known = text in [value for _, value in choices]
        return widgets.Dropdown(options=choices, value=text if known else choices[0][1], **label)
    hint = "not set" if spec.nullable else _HINTS.get(spec.kind, "")
    if spec.kind in {"lines", "json"} or "\n" in str(text):
        rows = min(6, max(2, str(text).count("\n") + 1))
        return widgets.Textarea(value=text, placeholder=hint, rows=rows, continuous_update=False, **label)
    if spec.kind == "password":
        return widgets.Password(placeholder=_HINTS[spec.kind], continuous_update=False, **label)
    return widgets.Text(value=text, placeholder=hint, continuous_update=False, **label)
