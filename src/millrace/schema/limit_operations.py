"""The lines of the wire table that are about concurrency limits."""

from __future__ import annotations

from millrace.schema import limits
from millrace.schema.operation import Operation as Op

V2 = "/v2/concurrency_limits"
TAGS = "/concurrency_limits"
NAMED = {"id_or_name": str}
TAGGED = {"tag": str}

OPERATIONS: tuple[Op, ...] = (
    # -- global limits
    Op("create_limit", "POST", f"{V2}/", limits.Limit, limits.LimitCreate, 201, doc="create a global limit"),
    Op("read_limits", "POST", f"{V2}/filter", list[limits.GlobalLimit], limits.LimitQuery, body_optional=True),
    Op("take_slots", "POST", f"{V2}/increment", list[limits.LimitTaken], limits.TakeSlots, doc="423: there are none"),
    Op(
        "lease_slots",
        "POST",
        f"{V2}/increment-with-lease",
        limits.SlotLease,
        limits.LeaseSlots,
        doc="take slots that come back by themselves; 423: there are none",
    ),
    Op("give_slots", "POST", f"{V2}/decrement", list[limits.LimitTaken], limits.GiveSlots, doc="put slots back"),
    Op("return_slots", "POST", f"{V2}/decrement-with-lease", body=limits.ReturnSlots, status=204, doc="end a lease"),
    Op(
        "renew_slots",
        "POST",
        f"{V2}/leases/{{lease_id}}/renew",
        body=limits.RenewSlots,
        status=204,
        body_optional=True,
        doc="go on holding leased slots; 410: they are gone",
    ),
    Op("read_limit", "GET", f"{V2}/{{id_or_name}}", limits.GlobalLimit, paths=NAMED, doc="by its id or its name"),
    Op("update_limit", "PATCH", f"{V2}/{{id_or_name}}", body=limits.LimitUpdate, status=204, paths=NAMED),
    Op("delete_limit", "DELETE", f"{V2}/{{id_or_name}}", status=204, paths=NAMED),
    # -- limits of tags: the global limits whose names begin with "tag:"
    Op(
        "create_tag_limit",
        "POST",
        f"{TAGS}/",
        limits.TagLimit,
        limits.TagLimitCreate,
        201,
        doc="limit the runs of tasks with a tag; 200: the limit was there, and is this from now on",
    ),
    Op("read_tag_limits", "POST", f"{TAGS}/filter", list[limits.TagLimit], limits.LimitQuery, body_optional=True),
    Op("read_tag_limit", "GET", f"{TAGS}/tag/{{tag}}", limits.TagLimit, paths=TAGGED),
    Op("read_tag_limit_by_id", "GET", f"{TAGS}/{{id}}", limits.TagLimit),
    Op(
        "reset_tag_limit",
        "POST",
        f"{TAGS}/tag/{{tag}}/reset",
        body=limits.TagLimitReset,
        paths=TAGGED,
        body_optional=True,
        doc="whoever held its slots holds them no longer",
    ),
    Op("delete_tag_limit", "DELETE", f"{TAGS}/tag/{{tag}}", paths=TAGGED),
    Op("delete_tag_limit_by_id", "DELETE", f"{TAGS}/{{id}}"),
    Op("take_tag_slots", "POST", f"{TAGS}/increment", list[limits.LimitTaken], limits.TagSlots, doc="of old clients"),
    Op("give_tag_slots", "POST", f"{TAGS}/decrement", list[limits.LimitTaken], limits.TagSlots, doc="of old clients"),
)
