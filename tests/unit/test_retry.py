"""When a request is sent again."""

from __future__ import annotations

import itertools

import httpx
import pytest

from millrace.client import retry
from millrace.client.retry import ONCE, Policy, Trouble
from millrace.schema.operations import OPERATIONS

REQUEST = httpx.Request("GET", "http://x")


def delays(what: Trouble, *, repeatable: bool = True, chance: float = 0.5, wish: float = 0.0) -> list[float]:
    """The pauses of a server that never gets well, on a clock that only the pauses move."""
    elapsed, found = 0.0, []
    for tries in itertools.count(1):
        pause = Policy().delay(
            what, repeatable=repeatable, tries=tries, elapsed=elapsed, chance=chance, retry_after=wish
        )
        if pause is None:
            return found
        found.append(pause)
        elapsed += pause
        assert tries < 1000
    raise AssertionError


def test_backs_off_and_gives_up_after_half_a_minute() -> None:
    found = delays(Trouble.UNREACHED)
    assert sum(found) == pytest.approx(30.0)
    assert found[:4] == [0.05, 0.1, 0.2, 0.4]
    assert max(found) == 4.0


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_jitter_spreads_but_keeps_the_limit(chance: float) -> None:
    found = delays(Trouble.UNREACHED, chance=chance)
    assert found[0] == pytest.approx(0.05 * (0.5 + chance))
    assert sum(found) == pytest.approx(30.0)


def test_what_may_have_been_done_is_sent_again_only_if_repeatable() -> None:
    assert delays(Trouble.UNCLEAR, repeatable=False) == []
    assert delays(Trouble.UNREACHED, repeatable=False)
    assert delays(Trouble.BUSY, repeatable=False)
    assert delays(Trouble.UNCLEAR, repeatable=True)


def test_waits_as_long_as_the_server_asks() -> None:
    assert all(pause >= 3.0 for pause in delays(Trouble.BUSY, wish=3.0)[:-1])
    assert delays(Trouble.BUSY, wish=31.0) == []


def test_no_patience_is_one_try() -> None:
    assert Policy(0.0).delay(Trouble.UNREACHED, repeatable=True, tries=1, elapsed=0.0, chance=0.5) is None


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (httpx.ConnectError("refused"), Trouble.UNREACHED),
        (httpx.ConnectTimeout("slow"), Trouble.UNREACHED),
        (httpx.PoolTimeout("full"), Trouble.UNREACHED),
        (httpx.ReadTimeout("silent"), Trouble.UNCLEAR),
        (httpx.ReadError("reset"), Trouble.UNCLEAR),
        (httpx.WriteError("reset"), Trouble.UNCLEAR),
        (httpx.RemoteProtocolError("closed"), Trouble.UNCLEAR),
        (httpx.UnsupportedProtocol("gopher"), None),
    ],
)
def test_errors_of_the_transport(error: httpx.TransportError, what: Trouble | None) -> None:
    assert retry.trouble(error) is what


def test_retry_after_is_seconds() -> None:
    assert retry.retry_after(httpx.Headers({"Retry-After": "2.5"})) == 2.5
    assert retry.retry_after(httpx.Headers({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})) == 0.0
    assert retry.retry_after(httpx.Headers()) == 0.0


def test_once_names_operations() -> None:
    assert {operation.name for operation in OPERATIONS} >= ONCE
