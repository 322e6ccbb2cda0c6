"""`millrace deployment schedule …`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer

from millrace.cli.deployment_names import Which, find
from millrace.cli.options import Parameters, Yes, confirm, moment, values
from millrace.cli.output import Format, Output, done, emit, say, table
from millrace.cli.reach import reach
from millrace.client.synchronous import Client
from millrace.errors import InvalidInput, NotFound
from millrace.schema import schedules
from millrace.schema.deployments import (
    Deployment,
    DeploymentSchedule,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
)
from millrace.schema.fields import now

app = typer.Typer(no_args_is_help=True, help="The schedules of a deployment.")

One = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's id or slug.")]
MaybeWhich = Annotated[str | None, typer.Argument(metavar="DEPLOYMENT", help="FLOW/NAME, or its id.")]
MaybeOne = Annotated[str | None, typer.Argument(metavar="SCHEDULE", help="The schedule's id or slug.")]
Interval = Annotated[float | None, typer.Option("--interval", help="Every so many seconds.")]
Anchor = Annotated[
    str | None, typer.Option("--anchor-date", metavar="TIME", help="With --interval: one of the fires, in ISO 8601.")
]
Cron = Annotated[str | None, typer.Option("--cron", help="A cron expression, such as '0 9 * * 1-5'.")]
RRule = Annotated[str | None, typer.Option("--rrule", help="An iCalendar recurrence, or a JSON object of one.")]
DayOr = Annotated[
    bool, typer.Option("--day-or/--day-and", "--day_or", help="With --cron: whether one of its two days is enough.")
]
Zone = Annotated[str | None, typer.Option("--timezone", help="An IANA name, such as Europe/Oslo. Default: UTC.")]
Slug = Annotated[str | None, typer.Option("--slug", help="A name for it, kept when the deployment is made again.")]
Most = Annotated[
    int | None, typer.Option("--max-scheduled-runs", min=1, help="How many of its runs may wait at once, at most.")
]


class Times(NamedTuple):
    """When a schedule fires, as typed."""

    interval: float | None
    anchor_date: str | None
    cron: str | None
    rrule: str | None
    day_or: bool
    timezone: str | None

    def made(self) -> schedules.Schedule:
        """The schedule.

        Raises:
            InvalidInput: not exactly one kind is given, or an option does not belong to it.
            ScheduleError: it cannot be used.
        """
        given = [name for name in ("interval", "cron", "rrule") if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(f"--{name}" for name in given) or "none"
            raise InvalidInput(f"Give exactly one of --interval, --cron and --rrule, not {said}.")
        if self.anchor_date is not None and self.interval is None:
            raise InvalidInput("--anchor-date belongs to --interval, which is not given.")
        if self.interval is not None:
            anchor = moment(self.anchor_date, "--anchor-date")
            return schedules.interval(self.interval, anchor_date=anchor, timezone=self.timezone)
        if self.cron is not None:
            return schedules.cron(self.cron, self.timezone, self.day_or)
        return _recurrence(str(self.rrule), self.timezone)


def _recurrence(text: str, timezone: str | None) -> schedules.Schedule:
    if not text.lstrip().startswith("{"):
        return schedules.rrule(text, timezone)
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"--rrule is no JSON object: {error}.") from None
    return schedules.rrule(str(given.get("rrule", "")), timezone or given.get("timezone"))


def words(schedule: DeploymentSchedule) -> str:
    """A schedule in a few words.

    Args:
        schedule: the schedule.
    """
    return schedule.schedule.describe() + ("" if schedule.active else " (paused)")


def show(found: list[DeploymentSchedule]) -> None:
    """Prints a table of schedules.

    Args:
        found: the schedules.
    """
    rows = [(words(one), _next(one), one.parameters or None, one.slug, one.id) for one in found]
    table(("SCHEDULE", "NEXT", "PARAMETERS", "SLUG", "ID"), rows, empty="It has no schedules.")


def _next(schedule: DeploymentSchedule) -> datetime | None:
    return next((fire.instant for fire in schedule.schedule.fires(now())), None) if schedule.active else None


def _chosen(deployment: Deployment, text: str) -> DeploymentSchedule:
    for one in deployment.schedules:
        if text in (str(one.id), one.slug):
            return one
    known = ", ".join(one.slug or str(one.id) for one in deployment.schedules) or "none"
    raise NotFound(f"The deployment {deployment.name!r} has no schedule {text!r}. It has: {known}.")


@app.command()
def create(
    deployment: Which,
    interval: Interval = None,
    anchor_date: Anchor = None,
    cron: Cron = None,
    rrule: RRule = None,
    day_or: DayOr = True,
    timezone: Zone = None,
    active: Annotated[bool, typer.Option("--active/--inactive", help="Whether it fires.")] = True,
    param: Parameters = None,
    max_scheduled_runs: Most = None,
    slug: Slug = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete the deployment's other schedules.")] = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> None:
    """Add a schedule to a deployment."""
    schedule = Times(interval, anchor_date, cron, rrule, day_or, timezone).made()
    client = reach()
    found = find(client, deployment)
    body = DeploymentScheduleCreate(
        schedule=schedule,
        active=active,
        parameters=values(found.parameter_openapi_schema, param),
        max_scheduled_runs=max_scheduled_runs,
        slug=slug,
    )
    if replace and found.schedules:
        confirm(f"Replace {len(found.schedules)} schedule(s) of {deployment!r}?", yes)
        for old in found.schedules:
            client.delete_deployment_schedule(found.id, old.id)
    (made,) = client.create_deployment_schedules(found.id, [body])
    if output is Format.JSON:
        emit(made)
    else:
        say(f"Created the schedule {words(made)} of {deployment!r}: {made.slug or made.id}")


@app.command("ls")
def list_(deployment: Which, output: Output = Format.TEXT) -> None:
    """List the schedules of a deployment, with their next fire."""
    found = find(reach(), deployment).schedules
    if output is Format.JSON:
        emit(found)
    else:
        show(found)


@app.command()
def edit(
    deployment: Which,
    schedule: One,
    interval: Interval = None,
    anchor_date: Anchor = None,
    cron: Cron = None,
    rrule: RRule = None,
    day_or: DayOr = True,
    timezone: Zone = None,
    param: Parameters = None,
    max_scheduled_runs: Most = None,
    slug: Slug = None,
    output: Output = Format.TEXT,
) -> None:
    """Change a schedule: when it fires, its parameters, its limit or its slug. What is not given stays."""
    client = reach()
    found = find(client, deployment)
    old = _chosen(found, schedule)
    changes: dict[str, Any] = {}
    if interval is not None or cron is not None or rrule is not None:
        changes["schedule"] = _edited(old.schedule, Times(interval, anchor_date, cron, rrule, day_or, timezone))
    elif anchor_date is not None or timezone is not None or not day_or:
        changes["schedule"] = _moved(old.schedule, anchor_date, timezone, day_or)
    if param:
        changes["parameters"] = {**old.parameters, **values(found.parameter_openapi_schema, param)}
    given = {"max_scheduled_runs": max_scheduled_runs, "slug": slug}
    changes |= {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise InvalidInput("Nothing to change is given. See: millrace deployment schedule edit --help")
    client.update_deployment_schedule(found.id, old.id, DeploymentScheduleUpdate(**changes))
    after = _chosen(client.read_deployment(found.id), str(old.id))
    if output is Format.JSON:
        emit(after)
    else:
        say(f"The schedule {after.slug or after.id} of {deployment!r} is now {words(after)}.")


def _edited(old: schedules.Schedule, times: Times) -> schedules.Schedule:
    """Another rule in the place of a stored one, whose zone, anchor and joining of days stay where none is given."""
    if times.rrule is None or "TZID" not in times.rrule.upper():
        times = times._replace(timezone=times.timezone or old.timezone)
    if isinstance(old, schedules.IntervalSchedule) and times.interval is not None and times.anchor_date is None:
        times = times._replace(anchor_date=old.anchor_date.isoformat())
    if isinstance(old, schedules.CronSchedule):
        times = times._replace(day_or=times.day_or and old.day_or)
    return times.made()


def _moved(old: schedules.Schedule, anchor: str | None, timezone: str | None, day_or: bool) -> schedules.Schedule:
    """A stored schedule with another zone, anchor or joining of its days."""
    zone = timezone or old.timezone
    if isinstance(old, schedules.IntervalSchedule):
        return schedules.interval(old.interval, moment(anchor, "--anchor-date") or old.anchor_date, zone)
    if anchor is not None:
        raise InvalidInput("--anchor-date belongs to a schedule of intervals, and this is none.")
    if isinstance(old, schedules.CronSchedule):
        return schedules.cron(old.cron, zone, day_or and old.day_or)
    return schedules.rrule(old.rrule, zone)


Every = Annotated[bool, typer.Option("--all", help="All schedules of all deployments.")]


@app.command()
def pause(
    deployment: MaybeWhich = None,
    schedule: MaybeOne = None,
    all_: Every = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> None:
    """Let a schedule rest: its runs that nobody took are deleted."""
    _set_active(deployment, schedule, all_, False, yes, output)


@app.command()
def resume(
    deployment: MaybeWhich = None,
    schedule: MaybeOne = None,
    all_: Every = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> None:
    """Let a schedule fire again, from now on."""
    _set_active(deployment, schedule, all_, True, yes, output)


def _set_active(
    deployment: str | None, schedule: str | None, every: bool, active: bool, yes: bool, output: Format
) -> None:
    verb = "Resume" if active else "Pause"
    client = reach()
    if every:
        if deployment is not None or schedule is not None:
            raise InvalidInput("Give a deployment and a schedule, or --all, not both.")
        everything = [(owner.id, one) for owner in _deployments(client) for one in owner.schedules]
        wanted = [(owner_id, one) for owner_id, one in everything if one.active is not active]
        if wanted:
            confirm(f"{verb} {len(wanted)} schedule(s) of all deployments?", yes)
        for owner_id, one in wanted:
            client.update_deployment_schedule(owner_id, one.id, active=active)
        after = [one.model_copy(update={"active": active}) for _, one in wanted]
        done(f"{verb}d {len(wanted)} schedule(s).", after, output)
        return
    if deployment is None or schedule is None:
        raise InvalidInput("Give a deployment and a schedule, or --all.")
    found = find(client, deployment)
    one = _chosen(found, schedule)
    if one.active is active:
        raise InvalidInput(f"The schedule {schedule!r} is {'active' if active else 'paused'} already.")
    client.update_deployment_schedule(found.id, one.id, active=active)
    now_is = one.model_copy(update={"active": active})
    done(f"{verb}d the schedule {one.schedule.describe()} of {deployment!r}.", now_is, output)


def _deployments(client: Client) -> list[Deployment]:
    found: list[Deployment] = []
    while page := client.read_deployments(limit=200, offset=len(found)):
        found += page
    return found


@app.command()
def delete(deployment: Which, schedule: One, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Delete a schedule and its runs that nobody took."""
    client = reach()
    found = find(client, deployment)
    one = _chosen(found, schedule)
    confirm(f"Delete the schedule {one.schedule.describe()} of {deployment!r}?", yes)
    client.delete_deployment_schedule(found.id, one.id)
    done(f"Deleted the schedule {one.schedule.describe()} of {deployment!r}.", one, output)


@app.command()
def clear(deployment: Which, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Delete all schedules of a deployment."""
    client = reach()
    found = find(client, deployment)
    confirm(f"Delete all {len(found.schedules)} schedule(s) of {deployment!r}?", yes)
    for one in found.schedules:
        client.delete_deployment_schedule(found.id, one.id)
    done(f"Deleted {len(found.schedules)} schedule(s) of {deployment!r}.", found.schedules, output)
