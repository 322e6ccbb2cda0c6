"""Results of the real client: kept by flows of its own, and read from the states of runs that others made."""

import asyncio
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client

VALUE = {
    "when": datetime(2026, 1, 2, 3, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "set": {1},
    "path": Path("/a"),
    "id": UUID(int=7),
    "text": "ü",
    "deep": [{"list": [1, 2.5, None]}],
}


def value():
    return VALUE


def kept():
    found = {}
    for name in ("json", "pickle", "compressed/json", "compressed/pickle"):
        state = flow(name=f"kept as {name.replace('/', ' ')}", result_serializer=name, persist_result=True)(value)(
            return_state=True
        )
        found[name] = str(state.state_details.flow_run_id)
    return found


async def read(ids):
    async with get_client() as client:
        runs = {name: await client.read_flow_run(id) for name, id in ids.items()}
        return {name: repr(await run.state.aresult()) for name, run in runs.items()}


if __name__ == "__main__":
    answer = kept() if sys.argv[1] == "keep" else asyncio.run(read(json.loads(sys.argv[2])))
    print("RESULT " + json.dumps(answer))
