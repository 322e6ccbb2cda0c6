"""Cron schedules against a minute-by-minute scan, in every zone.

By default a sample; with `MILLRACE_TEST_EVERYWHERE=1` every transition of
every zone up to 2037 (some minutes on one core).
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import zlib
from pathlib import Path
from zoneinfo import available_timezones

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
oracle = importlib.import_module("schedule_oracle")

pytestmark = pytest.mark.chaos

EVERYWHERE = bool(os.environ.get("MILLRACE_TEST_EVERYWHERE"))
ZONES = sorted(available_timezones())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("letter", sorted({zone[0] for zone in ZONES}))
def test_every_zone_agrees_with_the_scan(letter: str) -> None:
    chance = random.Random(zlib.crc32(letter.encode()))
    zones = [zone for zone in ZONES if zone.startswith(letter)]
    found = []
    for zone in zones if EVERYWHERE else chance.sample(zones, min(3, len(zones))):
        changes = oracle.transitions(zone, 2024, 2037 if EVERYWHERE else 2026)
        for moment in changes if EVERYWHERE else changes[:2]:
            specs = oracle.SPECS if EVERYWHERE else chance.sample(oracle.SPECS, 6)
            found += [difference for spec in specs if (difference := oracle.differences(zone, moment, spec))]
    assert not found, found[:10]
