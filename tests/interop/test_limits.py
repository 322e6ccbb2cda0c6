"""Concurrency limits across both systems: the real client at our server, ours at the real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import peers
from peers import Peer, Place


def make(place: Place, label: str) -> tuple[str, str, str]:
    gate, rate, tag = f"gate-{label}", f"rate-{label}", f"tag-{label}"
    place.ask("POST", "/v2/concurrency_limits/", {"name": gate, "limit": 1})
    place.ask("POST", "/v2/concurrency_limits/", {"name": rate, "limit": 1, "slot_decay_per_second": 2})
    place.ask("POST", "/concurrency_limits/", {"tag": tag, "concurrency_limit": 1})
    return gate, rate, tag


def test_the_real_clients_blocks_rates_and_tags(peer: Peer, ours: Place) -> None:
    answer = peer.play("limits", ours, *make(ours, "theirs"))
    assert (answer["held"], answer["async"], answer["left"], answer["left of tag"]) == (1, 1, 0, 0)
    assert answer["late"] == "AcquireConcurrencySlotTimeoutError"
    assert answer["rate"] >= 1.4, "one at once, then two a second"
    assert answer["results"] == [0, 1, 2] and answer["apart"]


def test_the_real_command_line_of_limits(peer: Peer, ours: Place) -> None:
    made, listed, inspected, _, _, _, _, _, tags, tag, _, _ = peer.cli(
        ours,
        "gcl create cli-gate --limit 3",
        "gcl ls",
        "gcl inspect cli-gate --output json",
        "gcl update cli-gate --limit 4 --slot-decay-per-second 0.5",
        "gcl disable cli-gate",
        "gcl enable cli-gate",
        "gcl delete cli-gate",
        "concurrency-limit create cli-tag 2",
        "concurrency-limit ls",
        "concurrency-limit inspect cli-tag --output json",
        "concurrency-limit reset cli-tag",
        "concurrency-limit delete cli-tag",
    )
    assert "cli-gate" in made and "cli-gate" in listed
    assert json.loads(inspected)["limit"] == 3
    assert "cli-tag" in tags and json.loads(tag)["concurrency_limit"] == 2


OURS = """
import asyncio, json, sys, time
import millrace
from millrace import arate_limit, concurrency, flow, rate_limit, task
from millrace.errors import AcquireConcurrencySlotTimeoutError

gate, rate, tag = sys.argv[1:4]
client = millrace.connect()
spans = []

@task(tags=[tag])
def query(number):
    start = time.time()
    time.sleep(0.3)
    spans.append((start, time.time()))
    return number

@flow
def limited():
    return [future.result() for future in query.map(range(2))]

async def hold():
    async with concurrency(gate, strict=True):
        await arate_limit(rate)
        return client.read_limit(gate).active_slots

answer = {}
with concurrency(gate, strict=True):
    answer["held"] = client.read_limit(gate).active_slots
    try:
        with concurrency(gate, timeout_seconds=0.5):
            pass
    except AcquireConcurrencySlotTimeoutError:
        answer["late"] = True
rate_limit(rate)
answer["async"] = asyncio.run(hold())
answer["left"] = client.read_limit(gate).active_slots
answer["results"] = limited()
spans.sort()
answer["apart"] = spans[0][1] <= spans[1][0] + 0.05
answer["left of tag"] = client.read_limit("tag:" + tag).active_slots
print("RESULT " + json.dumps(answer))
"""


def test_our_blocks_rates_and_tags_at_a_real_server(theirs: Place, tmp_path: Path) -> None:
    environment = {
        **peers.clean(),
        "PREFECT_API_URL": theirs.url,
        "MILLRACE_HOME": str(tmp_path),
        "MILLRACE_AUTOSTART": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", OURS, *make(theirs, "ours")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    answer = json.loads(done.stdout.rsplit(peers.MARK, 1)[1])
    assert (answer["held"], answer["async"], answer["left"], answer["left of tag"]) == (1, 1, 0, 0)
    assert answer["late"] and answer["results"] == [0, 1] and answer["apart"]
