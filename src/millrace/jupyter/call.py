"""The Python call that a form stands for: what "Copy as Python" prints, and what the form itself makes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from millrace.errors import InvalidInput, ScheduleError
from millrace.schema.schedules import CronSchedule, IntervalSchedule, RRuleSchedule, Schedule, cron, interval, rrule

KINDS = ("None", "Every", "Cron", "RRule")
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


class _Code:
    """An expression that stands for itself in `repr`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


@dataclass
class DeployCall:
    """What a deployment form holds.

    Args:
        flow: the variable that holds the flow, or the notebook's path.
        name: the deployment's name.
        pool: the work pool.
        parameters: only those that differ from the flow's defaults.
        kind: one of `KINDS`.
        text: the number of units, the cron expression or the recurrence.
        unit: for Every: one of `UNITS`.
        timezone: an IANA name; empty: UTC.
        notebook: whether `flow` is a path.
        secrets: parameters whose values are not to be shown.
    """

    flow: str
    name: str = ""
    pool: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    kind: str = "None"
    text: str = ""
    unit: str = "minutes"
    timezone: str = ""
    notebook: bool = False
    secrets: frozenset[str] = frozenset()

    def schedule(self) -> Schedule | None:
        """The schedule, or None.

        Raises:
            ScheduleError: the text cannot be used; the message says which part.
        """
        zone = self.timezone.strip() or None
        if self.kind == "None":
            return None
        if not self.text.strip():
            raise ScheduleError("When should it run? Give a value or choose None.")
        if self.kind == "Every":
            try:
                count = float(self.text)
            except ValueError:
                raise ScheduleError(f"{self.text!r} is not a number of {self.unit}.") from None
            return interval(count * UNITS[self.unit], timezone=zone)
        return cron(self.text.strip(), zone) if self.kind == "Cron" else rrule(self.text.strip(), zone)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `deploy`.

        Raises:
            InvalidInput: the name is missing or the schedule cannot be used.

        Example:
            >>> DeployCall("etl", "nightly", kind="Every", text="2", unit="hours").arguments()
            {'name': 'nightly', 'interval': 7200}
        """
        if not self.name.strip():
            raise InvalidInput("A deployment needs a name.")
        given: dict[str, Any] = {"name": self.name.strip()}
        if self.pool:
            given["work_pool_name"] = self.pool
        if self.parameters:
            given["parameters"] = self.parameters
        return given | self._when()

    def _when(self) -> dict[str, Any]:
        schedule = self.schedule()
        given: dict[str, Any] = {}
        if isinstance(schedule, IntervalSchedule):
            seconds = schedule.interval.total_seconds()
            given["interval"] = int(seconds) if seconds.is_integer() else seconds
        elif isinstance(schedule, CronSchedule):
            given["cron"] = schedule.cron
        elif isinstance(schedule, RRuleSchedule):
            given["rrule"] = schedule.rrule
        if given and self.timezone.strip():
            given["timezone"] = self.timezone.strip()
        return given

    def code(self) -> str:
        """The call as a cell that makes the same deployment.

        Raises:
            InvalidInput: as `arguments`.

        Example:
            >>> print(DeployCall("etl", "nightly", kind="Cron", text="0 3 * * *").code())
            etl.deploy(
                name='nightly',
                cron='0 3 * * *',
            )
        """
        arguments = self.arguments()
        hidden = {key: _Code(f"getpass.getpass({key!r})") for key in self.parameters if key in self.secrets}
        if self.parameters:
            arguments["parameters"] = self.parameters | hidden
        imports = [*(["getpass"] if hidden else []), *(["millrace"] if self.notebook else [])]
        head = "".join(f"import {name}\n" for name in imports) + ("\n" if imports else "")
        call = f"millrace.deploy_notebook(\n    {self.flow!r}," if self.notebook else f"{self.flow}.deploy("
        body = "".join(f"\n    {key}={value!r}," for key, value in arguments.items())
        return f"{head}{call}{body}\n)"


def preview(schedule: Schedule, now: datetime, count: int = 5) -> list[tuple[str, str, str, str]]:
    """The next fires: local time with its zone, UTC, how long from now, and what is odd about the day.

    Args:
        schedule: the schedule.
        now: the current moment.
        count: how many.
    """
    found = []
    for fire in schedule.preview(now, count):
        # Without a zone of its own, the reader's zone says most.
        zone = getattr(fire.local.tzinfo, "key", None)
        local = fire.local if zone not in (None, "UTC") else fire.utc.astimezone()
        name = zone if zone not in (None, "UTC") else f"{local:%Z}"
        found.append(
            (
                f"{local:%a %d %b %Y %H:%M:%S} {name}",
                f"{fire.utc.astimezone(UTC):%a %H:%M:%S}",
                f"in {distance((fire.utc - now).total_seconds())}",
                fire.note or "",
            )
        )
    return found


def distance(seconds: float) -> str:
    """A span in its largest sensible unit.

    Example:
        >>> distance(7300)
        '2 h'
    """
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
