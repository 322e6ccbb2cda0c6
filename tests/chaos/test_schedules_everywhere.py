"""Cron schedules against a minute-by-minute scan, in every zone.

By default a sample; with `MILLRACE_TEST_EVERYWHERE=1` every transition of every zone from 2024 to 2037. Many zones are
one clock under several names: those whose tables of changes are the same are scanned once, under the first name, and
each other name must give the same fires.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import available_timezones

import pytest

from millrace.schema import schedules

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
oracle = importlib.import_module("schedule_oracle")

pytestmark = pytest.mark.chaos

EVERYWHERE = bool(os.environ.get("MILLRACE_TEST_EVERYWHERE"))
ZONES = sorted(available_timezones() - {"localtime", "Factory"})  # names of this machine's clock and of no clock at all
LETTERS = sorted({zone[0] for zone in ZONES})
SUMMER = datetime(2030, 7, 1, tzinfo=UTC)


def first_names(zones: list[str]) -> dict[str, str]:
    """For every zone the first of those with the same table."""
    same: dict[object, list[str]] = defaultdict(list)
    for zone in zones:
        same[oracle.table(zone)].append(zone)
    return {zone: alike[0] for alike in same.values() for zone in alike}


ALL = lru_cache(maxsize=1)(lambda: first_names(ZONES))


def windows(letter: str) -> Iterator[tuple[str, datetime, str]]:
    """Zones whose names begin with a letter, moments in them and expressions to scan there."""
    if EVERYWHERE:
        for zone, first in ALL().items():
            if zone[0] == letter and zone == first:  # a clock that never changes is scanned around any moment
                for moment in oracle.transitions(zone) or [SUMMER]:
                    yield from ((zone, moment, spec) for spec in oracle.SPECS)
        return
    chance = random.Random(zlib.crc32(letter.encode()))
    zones = [zone for zone in ZONES if zone.startswith(letter)]
    for zone in chance.sample(zones, min(3, len(zones))):
        for moment in oracle.transitions(zone, 2024, 2026)[:2]:
            yield from ((zone, moment, spec) for spec in chance.sample(oracle.SPECS, 6))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("letter", sorted({zone[0] for zone in ZONES}))
def test_every_zone_agrees_with_the_scan(letter: str) -> None:
    found = [difference for window in windows(letter) if (difference := oracle.differences(*window))]
    assert not found, found[:10]


@pytest.mark.timeout(3600)
def test_every_name_of_a_clock_gives_the_same_fires() -> None:
    firsts = ALL() if EVERYWHERE else first_names([zone for zone in ZONES if zone.startswith(("US/", "America/N"))])
    assert len(firsts) > len(set(firsts.values()))
    for zone, first in firsts.items():
        for spec in ("*/20 * * * *", "30 2 * * *"):
            ours, theirs = (schedules.cron(spec, name) for name in (zone, first))
            for moment in (oracle.transitions(zone, 2036, 2036) or [SUMMER])[:1]:
                window = moment - timedelta(hours=28), moment + timedelta(hours=28)
                assert ours.occurrences(*window) == theirs.occurrences(*window), (zone, first, spec)
