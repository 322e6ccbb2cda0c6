"""The real client's concurrency, rate_limit and tagged tasks: what they hold, how long they wait, what is left."""

import asyncio
import json
import sys
import time
from itertools import pairwise

from prefect import flow, get_client, task
from prefect.concurrency.asyncio import concurrency as aconcurrency
from prefect.concurrency.sync import concurrency, rate_limit

gate, rate, tag = sys.argv[1:4]


def taken(name):
    with get_client(sync_client=True) as client:
        return client.request("GET", "/v2/concurrency_limits/{id_or_name}", path_params={"id_or_name": name}).json()[
            "active_slots"
        ]


spans = []


@task(tags=[tag])
def query(number):
    start = time.time()
    time.sleep(0.4)
    spans.append((start, time.time()))
    return number


@flow(name="interop-limits")
def limited():
    return [future.result() for future in query.map(range(3))]


async def hold():
    async with aconcurrency(gate, occupy=1, strict=True):
        return taken(gate)


answer = {}
with concurrency(gate, occupy=1, strict=True):
    answer["held"] = taken(gate)
    try:
        with concurrency(gate, timeout_seconds=0.5):
            pass
    except TimeoutError as error:
        answer["late"] = type(error).__name__
answer["async"] = asyncio.run(hold())
answer["left"] = taken(gate)
began = time.time()
for _ in range(4):
    rate_limit(rate)
answer["rate"] = time.time() - began
answer["results"] = limited()
spans.sort()
answer["apart"] = all(a[1] <= b[0] + 0.05 for a, b in pairwise(spans))
answer["left of tag"] = taken(f"tag:{tag}")
print("RESULT " + json.dumps(answer))
