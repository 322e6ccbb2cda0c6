"""What `deploy` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from millrace.deployments.screen import screen
from millrace.errors import MillraceError


def show(
    rows: Sequence[tuple[str, str, MillraceError | None, str]], idle_pools: Sequence[str], *, next_steps: bool = True
) -> None:
    """Print how each deployment went, and what to do next.

    Args:
        rows: full name, pool, problem of each, and what else is to be said of it.
        idle_pools: pools that nobody works for.
        next_steps: whether to say what to do next.
    """
    console = screen()
    table = Table(title="Deployments", show_lines=len(rows) > 1)
    for header in ("Name", "Work pool", "Status", "Details"):
        table.add_column(header)
    for name, pool, problem, note in rows:
        status = "[red]failed[/red]" if problem else "[green]applied[/green]"
        table.add_row(escape(name), escape(pool), status, escape(str(problem) if problem else note))
    said: list[str] = []
    for pool in idle_pools:
        said.append(f"[bold yellow]Nobody works for the pool {escape(repr(pool))}.[/] Start a worker:")
        said.append(f"    $ millrace worker start --pool {escape(repr(pool))}")
    if next_steps:
        made = next((name for name, _, problem, _ in rows if problem is None), rows[0][0])
        said += ["To run one now:", f"    $ millrace deployment run {escape(repr(made))}"]
    with console.capture() as captured:  # written at once: a notebook shows one output
        console.print(table)
        if said:
            console.print("\n".join(said), highlight=False, soft_wrap=True)
    console.file.write(captured.get())
    console.file.flush()
