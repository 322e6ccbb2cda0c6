"""Writes docs/interoperability.md: what of the Prefect 3 REST API is served, and how tests/interop went last.

The table of operations follows from the code; the outcomes are those that pytest kept of the last runs. `--check`
compares only what follows from the code.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

from millrace.schema.operations import OPERATIONS, STREAMS
from millrace.schema.refusals import NOT_YET

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "interoperability.md"
TESTS = ROOT / "tests" / "interop"
WIRE = TESTS / "wire" / "operations.json"
NAMES = WIRE.with_name("names.json")
OUTCOMES = ROOT / ".pytest_cache" / "d" / "millrace" / "interop.json"
NOTE = "<!-- written by scripts/generate_interop.py after a run of tests/interop -->\n"
LAST = "## The last run\n"
COMPARED = "test_what_the_original_takes_we_take"
DIRECTIONS = {
    "test_setting_up.py": "the ground: versions, homes, servers",
    "test_real_client.py": "real client and command line → our server",
    "test_real_workers.py": "real deployments and workers → our server",
    "test_our_client.py": "our kernel, client and worker → a real server",
    "test_following.py": "a run at a real server → our monitor, command line and `run_deployment`",
    "test_many_workers.py": "several workers, ours and real ones, and killed ones → a real server",
    "test_results.py": "results kept by either → read by the other",
    "test_pauses.py": "runs of either that pause for an input → resumed by the other",
    "test_limits.py": "concurrency limits, both ways",
    "test_automations.py": "automations and triggers of the real client → our server",
    "test_values.py": "variables, artifacts and secrets of either → read by the other",
    "test_the_contract.py": "generated requests → both servers",
}


OTHER_SERVER = """## Our client at a server that is not ours

A 404 to one of our own operations says that the server is another one; then

- a run begins by `POST /flows/`, `POST /flow_runs/` and `set_state` instead of one request, without a lease;
- a worker asks `get_scheduled_flow_runs` every two seconds and takes a run by proposing Pending; whoever is refused was
  not first. It says by `…/workers/heartbeat` that it lives;
- a run is followed by listening at `/events/out` and `/logs/out` and asking beside it. These streams do not tell what
  was before, drop messages for slow listeners, and the original tells log lines only where that is turned on. So the
  state, the task runs, the cells and the lines are asked for every half second until their stream has told something,
  every five seconds from then on, and at the end; what comes twice is told once. A stream that is refused is not asked
  for again, one that breaks is opened again. That server stores events some seconds late: the cells of a notebook that
  nobody heard begin are waited for up to eight seconds after its end;
- slots of concurrency limits are asked for again after the time it names, some seconds, not waited for in turn;
- several workers, ours beside real ones, execute each run once: the server lets only one propose Pending;
- there are no leases of runs. A run outlives its killed worker; the next worker of ours with the same data directory
  watches it on, and ends it truthfully: with its result, Cancelled when that was asked for, Crashed when its process
  is gone. Until one is started such a run reads Running, and one whose worker was killed between taking and starting
  it reads Pending until a person cancels it.

A Prefect worker of any kind runs our deployments by the job variable `command`: `python -m millrace.workers.child`,
where that `python` has Millrace.
"""


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return re.sub(r"{\w+}", "{}", path).rstrip("/")


def served(method: str, path: str) -> str:
    """What becomes of an operation of the original."""
    ours = {(op.method, shape(op.path)): op.name for op in OPERATIONS} | {("GET", "/csrf-token"): "csrf_token"}
    name = ours.get((method, shape(path)))
    if name:
        return f"served (`{name}`)"
    for beginning, about in NOT_YET:
        if re.match(re.sub(r"{\w+}", "[^/]+", beginning) + r"(/|$)", path):
            return f"501 ({about})"
    return "not yet"


def operations() -> str:
    """The tables of all operations: those that Prefect's client, worker and command line use, and the others."""
    used = {
        (method.upper(), path) for path, methods in json.loads(WIRE.read_text())["paths"].items() for method in methods
    }
    known = {(method, path) for path, methods in json.loads(NAMES.read_text()).items() for method in methods}
    others = [row for row in known if (row[0], shape(row[1])) not in {(method, shape(path)) for method, path in used}]
    seen, rest = _table(list(used)), _table(others)
    return "\n".join(
        [
            "## Operations\n",
            "What the client 3.8.8, the worker and the command line of Prefect were seen to use: "
            f"{_counted(list(used))}\n",
            *seen,
            f"\nThe others that its server offers: {_counted(others)}\n",
            *rest,
            "",
            "Streams served: " + ", ".join(f"`{s.path}`" for s in STREAMS if "millrace" not in s.path) + ".\n",
        ]
    )


def _counted(rows: list[tuple[str, str]]) -> str:
    answers = [served(*row) for row in rows]
    count = sum(1 for answer in answers if answer.startswith("served"))
    refused = sum(1 for answer in answers if answer.startswith("501"))
    return (
        f"{len(rows)} operations, {count} served, {refused} refused with 501 and a message that says what is missing, "
        f"{len(rows) - count - refused} not yet."
    )


def _table(rows: list[tuple[str, str]]) -> list[str]:
    lines = ["| method | path | here |", "|---|---|---|"]
    return lines + [f"| {method} | `{path}` | {served(method, path)} |" for method, path in sorted(rows, key=_by_path)]


def _by_path(row: tuple[str, str]) -> tuple[str, str]:
    return row[1], row[0]


def differences() -> str:
    """The reviewed list of differences, read from the tests."""
    tree = ast.parse((TESTS / "exceptions.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Meant"]
    lines = ["## Differences that are meant\n", "| operation | why |", "|---|---|"]
    for call in calls:
        operation, _, reason = (str(ast.literal_eval(argument)) for argument in call.args[:3])
        lines.append(f"| `{operation}` | {reason} |")
    lines.append("| second try of a flow run | its state is named Retrying; the original names it Running |")
    return "\n".join(lines) + "\n"


def last_run() -> str:
    """The scenarios and how they went in one session; where no whole one is known here, what the page said before."""
    outcomes = _whole_session()
    if outcomes is None:
        known = PAGE.read_text() if PAGE.exists() else ""
        return LAST + known.partition(LAST)[2]
    lines = [LAST]
    for file, direction in DIRECTIONS.items():
        found = _of_file(file, outcomes)
        lines += [f"### {direction}\n", "| scenario | outcome |", "|---|---|"]
        if file == "test_the_contract.py":
            compared = {name: how for name, how in found.items() if name.startswith(COMPARED)}
            good = sum(1 for how in compared.values() if how == "passed")
            lines.append(f"| operations compared by generated requests | {good} of {len(compared)} passed |")
            found = {name: how for name, how in found.items() if name not in compared or how != "passed"}
        lines += [f"| {_said(name)} | {how} |" for name, how in found.items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _whole_session() -> dict[str, str] | None:
    """The outcomes of the last session here, if all the tests that there are now were run in it."""
    if not OUTCOMES.exists():
        return None
    session = json.loads(OUTCOMES.read_text())
    outcomes: dict[str, str] = session["outcomes"]
    run = {name.partition("[")[0] for name in outcomes}
    here = {f"{path.name}::{test}" for path in TESTS.glob("test_*.py") for test in _tests(path)}
    return outcomes if here <= run and set(session["collected"]) <= set(outcomes) else None


def _tests(path: Path) -> list[str]:
    """The tests of a file, in its order."""
    tree = ast.parse(path.read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def _of_file(file: str, outcomes: dict[str, str]) -> dict[str, str]:
    """The outcomes of the tests that a file has now, in its order."""
    order = _tests(TESTS / file)
    found = {name.split("::", 1)[1]: how for name, how in outcomes.items() if name.startswith(f"{file}::")}
    kept = [name for name in found if name.partition("[")[0] in order]
    return {name: found[name] for name in sorted(kept, key=lambda name: order.index(name.partition("[")[0]))}


def _said(name: str) -> str:
    words, _, which = name.removeprefix("test_").partition("[")
    return words.replace("_", " ") + (f" ({which[:-1]})" if which else "")


def page() -> str:
    """The whole page."""
    head = (
        "# Millrace and Prefect\n\n"
        "Millrace speaks the Prefect 3 REST API. `tests/interop` runs the real Prefect 3.8.8 on both sides of it: its\n"
        "client, worker and command line at our server, and our kernel, client and worker at its server; generated\n"
        "requests go to both servers and are compared.\n\n"
    )
    return NOTE + "\n" + head + "\n".join([operations(), differences(), OTHER_SERVER, last_run()])


def main() -> int:
    """Write the page, or tell whether it is out of date."""
    text = page()
    if "--check" in sys.argv:
        known = PAGE.read_text() if PAGE.exists() else ""
        stale = known.split(LAST)[0] != text.split(LAST)[0]
        if stale:
            print("out of date: interoperability.md. Type: python scripts/generate_interop.py", file=sys.stderr)
        return int(stale)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
