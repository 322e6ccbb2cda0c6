"""When a request is sent again, and after how long: pure, no clock and no sleeping here.

A request is *repeatable* if sending it twice does what sending it once does. All reads are; so are PATCH and DELETE
(the answer 404 to the second DELETE is a success), the upserts by name (flows, deployments), extending leases,
heartbeats, pausing and resuming, and the writes that carry an id made by the sender:

* set_state has a `transition_id`: the judge answers the second as it did the first;
* log lines, events and task runs have an `id`: a known one is ignored;
* leases of slots have a `ticket`: a known one answers its lease;
* begin and the creation of flow runs have an `idempotency_key`: a known one answers the known run.

Claiming is repeatable in effect: a claim whose answer was lost expires and its runs are claimed again, never having
run. What is left (`ONCE`) is sent again only when it surely was not done: no connection was made, or the server said
503 or 429.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import httpx

ONCE = frozenset(
    {
        "create_artifact",
        "create_block_document",
        "create_block_type",
        "create_deployment_schedules",
        "create_flow_run_input",
        "create_variable",
        "create_limit",
        "create_work_pool",
        "create_work_queue",
        "give_slots",
        "release_lease",
        "resume_flow_run",
        "take_slots",
    }
)
"""Operations that would do a second thing, or fail, when sent twice."""


class Trouble(Enum):
    """What went wrong with one try."""

    UNREACHED = "nothing reached the server"
    UNCLEAR = "the connection broke after the request was sent"
    BUSY = "the server asked to come again"


BUSY_STATUS = MappingProxyType({429: Trouble.BUSY, 502: Trouble.UNCLEAR, 503: Trouble.BUSY, 504: Trouble.UNCLEAR})
"""Answers that are worth another try; 502 and 504 come from proxies, which do not know what became of the request."""


def trouble(error: httpx.TransportError) -> Trouble | None:
    """What an error of the transport means; None: trying again is of no use."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return None
    unreached = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError)
    return Trouble.UNREACHED if unreached else Trouble.UNCLEAR


@dataclass(frozen=True)
class Policy:
    """How patient a client is.

    Args:
        patience: seconds after which it gives up.
        first: seconds before the second try; they double with each.
        longest: seconds between two tries, at most.
    """

    patience: float = 30.0
    first: float = 0.05
    longest: float = 4.0

    def delay(
        self,
        what: Trouble | None,
        *,
        repeatable: bool,
        tries: int,
        elapsed: float,
        chance: float,
        retry_after: float = 0.0,
    ) -> float | None:
        """Seconds to wait before the next try; None: give up.

        Args:
            what: what went wrong.
            repeatable: whether the request may be done twice.
            tries: how often it was tried, at least 1.
            elapsed: seconds since the first try began.
            chance: from 0 to 1, spreads the tries of many clients.
            retry_after: what the server asked for, in seconds.

        Example:
            >>> Policy().delay(Trouble.UNREACHED, repeatable=False, tries=1, elapsed=0.0, chance=0.5)
            0.05
        """
        if what is None or (what is Trouble.UNCLEAR and not repeatable) or elapsed >= self.patience:
            return None
        backoff = min(self.first * 2.0 ** min(tries - 1, 16), self.longest)
        wished = max(backoff * (0.5 + chance), retry_after * (1 + 0.1 * chance))
        left = self.patience - elapsed
        if retry_after > left:
            return None
        return min(wished, left)


def retry_after(headers: httpx.Headers) -> float:
    """The seconds of a Retry-After header; 0 if there is none or it is a date."""
    try:
        return max(0.0, float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
