"""Triggers: what must happen, or fail to happen, for an automation to act. Pure: they match and count nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event, Resource
from millrace.schema.fields import Model, new_id
from millrace.suggestions import did_you_mean

SHORTEST_WAIT = timedelta(seconds=10)
"""The least time in which a proactive trigger may expect something."""

Specification = dict[str, str | list[str]]
"""Labels a resource must have: each a value or several to choose from; `*` stands for anything, `!` bars."""


class Posture(StrEnum):
    """Whether a trigger waits for events, or for their absence."""

    REACTIVE = "Reactive"
    PROACTIVE = "Proactive"
    METRIC = "Metric"

    # as the original spells them
    Reactive = "Reactive"
    Proactive = "Proactive"
    Metric = "Metric"


def matches(pattern: str, value: str | None) -> bool:
    """Whether a value fits a pattern: `*` stands for anything, a leading `!` turns it round.

    Example:
        >>> matches("prefect.flow-run.*", "prefect.flow-run.Failed"), matches("!prod", "prod")
        (True, False)
    """
    if value is None:
        return False
    if pattern.startswith("!"):
        return not fnmatchcase(value, pattern[1:])
    return fnmatchcase(value, pattern)


def _fits(wanted: Specification, resource: Resource) -> bool:
    return all(
        any(matches(one, resource.get(label)) for one in ([values] if isinstance(values, str) else values))
        for label, values in wanted.items()
    )


def covers_every(wanted: Specification, kind: str) -> bool:
    """Whether a specification lets every resource of a kind pass."""
    if not wanted:
        return True
    ids = wanted.get(RESOURCE_ID, [])
    return len(wanted) == 1 and f"{kind}.*" in ([ids] if isinstance(ids, str) else ids)


class _Trigger(Model):
    model_config = ConfigDict(ser_json_timedelta="float")  # seconds, as the original has it

    id: UUID = Field(default_factory=new_id)

    def anew(self) -> Self:
        """The same, with an id of its own: what an earlier one of this id has counted is not its own."""
        return self.model_copy(update={"id": new_id()})

    def parts(self) -> Iterator[Any]:
        """Itself, and all it is made of."""
        yield self


class _ResourceTrigger(_Trigger):
    match: Specification = Field(default_factory=dict, description="Labels of the resource of an event.")
    match_related: Specification | list[Specification] = Field(
        default_factory=dict, description="Labels of one related resource; of a list, each must be met."
    )

    def concerns(self, resource: Resource, related: Iterable[Resource]) -> bool:
        """Whether what an event is about is what this trigger looks at."""
        if not _fits(self.match, resource):
            return False
        others = list(related)
        wanted = self.match_related if isinstance(self.match_related, list) else [self.match_related]
        return all(not one or any(_fits(one, other) for other in others) for one in wanted)


class EventTrigger(_ResourceTrigger):
    """Fires when events happen, or when they do not.

    A reactive one fires as soon as `threshold` of the expected events happened within `within`. A proactive one fires
    at the end of `within` if fewer than `threshold` of them happened. With `after`, the time begins with one of those.

    Example:
        >>> EventTrigger(expect={"order.arrived"}, threshold=3, within=60).posture.value
        'Reactive'
    """

    type: Literal["event"] = "event"
    after: set[str] = Field(default_factory=set, description="What must happen first. `*` stands for anything.")
    expect: set[str] = Field(default_factory=set, description="What is expected; nothing named: any event.")
    for_each: set[str] = Field(
        default_factory=set,
        description="Count for each value of these labels apart; `related:<role>:<label>` is that of a related one.",
    )
    posture: Literal[Posture.REACTIVE, Posture.PROACTIVE] = Posture.REACTIVE
    threshold: int = 1
    within: timedelta = Field(timedelta(0), ge=timedelta(0), description="Proactive: at least 10 seconds.")

    @model_validator(mode="before")
    @classmethod
    def _long_enough(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("posture") != Posture.PROACTIVE:
            return data
        if data.get("within", 0) in (0, 0.0, timedelta(0), "0", "PT0S"):
            return {**data, "within": SHORTEST_WAIT}
        return data

    @model_validator(mode="after")
    def _proactive_wait(self) -> Self:
        if self.posture is Posture.PROACTIVE and self.within < SHORTEST_WAIT:
            raise ValueError("within of a proactive trigger must be at least 10 seconds")
        return self

    @property
    def immediate(self) -> bool:
        """Whether it counts without regard to time."""
        return self.posture is Posture.REACTIVE and not self.within

    def starts(self, event: str) -> bool:
        """Whether an event of this name opens its time."""
        return any(matches(one, event) for one in self.after)

    def expects(self, event: str) -> bool:
        """Whether it counts events of this name."""
        return not self.expect or any(matches(one, event) for one in self.expect)

    def covers(self, event: Event) -> bool:
        """Whether an event means anything to it."""
        named = self.expects(event.event) or self.starts(event.event)
        return named and self.concerns(event.resource, event.related)

    def labels(self, event: Event) -> dict[str, str]:
        """The values of the labels it counts apart."""
        return {label: _label(event, label) or "" for label in sorted(self.for_each)}


def _label(event: Event, label: str) -> str | None:
    if not label.startswith("related:"):
        return event.resource.get(label)
    _, role, name = label.split(":", 2) if label.count(":") >= 2 else ("", "", label)
    return next((one.get(name) for one in event.related if one.get(RESOURCE_ROLE) == role), None)


class MetricQuery(Model):
    """What a metric trigger would ask."""

    model_config = ConfigDict(ser_json_timedelta="float")

    name: Literal["lateness", "duration", "successes"]
    threshold: float
    operator: Literal["<", "<=", ">", ">="]
    range: timedelta = timedelta(minutes=5)
    firing_for: timedelta = timedelta(minutes=5)


class MetricTrigger(_ResourceTrigger):
    """Fires on a metric. Servers of the original refuse it outside of its cloud, and so does this one."""

    type: Literal["metric"] = "metric"
    posture: Literal[Posture.METRIC] = Posture.METRIC
    metric: MetricQuery


class _Composite(_Trigger):
    triggers: list[AnyTrigger] = Field(description="Its parts; without any it never fires.")
    within: timedelta | None = Field(None, description="How far apart the first and the last may be; null: any time.")

    def anew(self) -> Self:
        """The same, with ids of its own throughout."""
        return self.model_copy(update={"id": new_id(), "triggers": [one.anew() for one in self.triggers]})

    def parts(self) -> Iterator[Any]:
        """Itself, and all it is made of."""
        yield self
        for one in self.triggers:
            yield from one.parts()


class CompoundTrigger(_Composite):
    """Fires when some, any or all of its triggers fired.

    Example:
        >>> both = [EventTrigger(expect={"a"}), EventTrigger(expect={"b"})]
        >>> CompoundTrigger(require="all", triggers=both).needed
        2
    """

    type: Literal["compound"] = "compound"
    require: int | Literal["any", "all"] = "all"

    @field_validator("require", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if isinstance(self.require, int) and not 1 <= self.require <= len(self.triggers):
            raise ValueError(f"require must be between 1 and the number of triggers ({len(self.triggers)})")
        return self

    @property
    def needed(self) -> int:
        """How many of its triggers must have fired."""
        known = {"any": 1, "all": len(self.triggers)}
        return known[self.require] if isinstance(self.require, str) else self.require

    def ready(self, fired: list[UUID]) -> bool:
        """Whether these firings, in their order, are enough."""
        return len(fired) >= self.needed


class SequenceTrigger(_Composite):
    """Fires when its triggers fired one after the other, in the order given."""

    type: Literal["sequence"] = "sequence"

    def ready(self, fired: list[UUID]) -> bool:
        """Whether these firings, in their order, are what was wanted."""
        return fired == [one.id for one in self.triggers]


def kind_of(value: Any) -> str:
    """Which kind of trigger a mapping means, where it does not say."""
    if not isinstance(value, dict):
        return str(getattr(value, "type", "event"))
    if "type" in value:
        return str(value["type"])
    if value.get("posture") == "Metric":
        return "metric"
    if "triggers" in value:
        return "compound" if "require" in value else "sequence"
    return "event"


def strange(value: Any) -> str | None:
    """What is wrong with the names of the fields of a trigger that somebody wrote; None if they are all known.

    A server reads over fields that it does not know. A person who misspelt `expect` would get a trigger for any event.

    Args:
        value: the trigger, as a mapping.

    Example:
        >>> strange({"expct": ["order.arrived"]})
        "A trigger of type event has no field 'expct'. Did you mean 'expect'?"
    """
    kind = _KINDS.get(kind_of(value)) if isinstance(value, dict) else None
    if kind is None:
        return None
    for name in value:
        if name not in kind.model_fields:
            hint = did_you_mean(str(name), kind.model_fields, 1) or f" It has {', '.join(kind.model_fields)}."
            return f"A trigger of type {kind_of(value)} has no field {name!r}.{hint}"
    parts = value.get("triggers")
    return next((said for part in parts if (said := strange(part))), None) if isinstance(parts, list) else None


_KINDS: dict[str, type[_Trigger]] = {
    "event": EventTrigger,
    "metric": MetricTrigger,
    "compound": CompoundTrigger,
    "sequence": SequenceTrigger,
}

AnyTrigger = Annotated[
    Annotated[EventTrigger, Tag("event")]
    | Annotated[MetricTrigger, Tag("metric")]
    | Annotated[CompoundTrigger, Tag("compound")]
    | Annotated[SequenceTrigger, Tag("sequence")],
    Discriminator(kind_of),
]

CompoundTrigger.model_rebuild(_types_namespace={"AnyTrigger": AnyTrigger, **globals()})
SequenceTrigger.model_rebuild(_types_namespace={"AnyTrigger": AnyTrigger, **globals()})
