"""The command line: one file for each noun, loaded when its command is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from millrace import errors, plugins
from millrace.cli.help_texts import plain

HELP = """Flows from notebook cells: called, watched, scheduled and run on a worker.

Exit codes: 0 done; 1 it failed, or the run did not complete; 2 wrong usage or value; 3 there is no such thing;
4 no server answers; 5 the time was up and the run goes on; 130 interrupted.
"""

DONE, FAILED, MISUSED, MISSING, NO_SERVER, TIME_UP, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

COMMANDS = MappingProxyType(
    {
        "up": "millrace.cli.embedded:up",
        "status": "millrace.cli.embedded:status",
        "down": "millrace.cli.embedded:down",
        "init": "millrace.cli.init:app",
        "deploy": "millrace.cli.deploy:app",
        "deployment": "millrace.cli.deployment:app",
        "flow-run": "millrace.cli.flow_run:app",
        "notebook": "millrace.cli.notebook:app",
        "concurrency-limit": "millrace.cli.concurrency_limit:app",
        "global-concurrency-limit": "millrace.cli.global_concurrency_limit:app",
        "gcl": "millrace.cli.global_concurrency_limit:app",
        "work-pool": "millrace.cli.work_pool:app",
        "work-queue": "millrace.cli.work_queue:app",
        "variable": "millrace.cli.variable:app",
        "artifact": "millrace.cli.artifact:app",
        "automation": "millrace.cli.automation:app",
        "event": "millrace.cli.event:app",
        "events": "millrace.cli.event:app",
        "secret": "millrace.cli.secret:app",
        "worker": "millrace.cli.worker:app",
        "server": "millrace.cli.server:app",
        "config": "millrace.cli.config:app",
        "demo": "millrace.cli.tour:app",
        "version": "millrace.cli.version:app",
    }
)


LINES = MappingProxyType(
    {
        "up": "Start the embedded server and its worker, if they do not run.",
        "status": "Show whether a server runs, and how busy it is.",
        "down": "Stop the embedded server and its worker.",
        "init": "Write a millrace.yaml of the flows here, or of deployments that there are.",
        "deploy": "Deploy a flow, or what millrace.yaml says: a pool's workers run it, when asked and when due.",
        "deployment": "Deployments: flows with a place, parameters and schedules.",
        "flow-run": "Runs of flows.",
        "notebook": "Notebooks: run, exported, looked into.",
        "concurrency-limit": "How many runs at once there may be of tasks with a tag.",
        "global-concurrency-limit": "Limits that `concurrency` and `rate_limit` heed.",
        "gcl": "Limits that `concurrency` and `rate_limit` heed.",
        "work-pool": "Pools: where runs wait for workers.",
        "work-queue": "Queues: the parts of a work pool, each with a priority and a limit.",
        "variable": "Variables: small named JSON values that flows share.",
        "artifact": "Artifacts: what runs leave behind for people.",
        "automation": "Automations: when this happens, do that.",
        "event": "Events: what happens, as it happens.",
        "events": "Events: what happens, as it happens.",
        "secret": "Secrets: values kept encrypted, shown nowhere.",
        "worker": "Workers: they execute the runs of a pool.",
        "server": "A server for several machines or people.",
        "config": "Settings: what is kept in the data directory, and what holds now.",
        "demo": "Run the whole path once: a notebook, a schedule, a worker, the results.",
        "version": "Show which Millrace this is.",
    }
)
"""What each command is for: shown in the list of all of them, without loading any."""


class Nouns(TyperGroup):
    """The commands of `millrace`, each loaded when it is asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = dict.fromkeys(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name as lists and completions need it: its name, and what it is for."""
        if cmd_name not in COMMANDS:
            return None
        return self.commands[cmd_name] or TyperCommand(name=cmd_name, help=LINES[cmd_name], short_help=LINES[cmd_name])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was typed, loaded."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, self.loaded(str(name)), rest

    def loaded(self, name: str) -> Any:
        """A command with all it takes.

        Args:
            name: one of COMMANDS.
        """
        if self.commands[name] is None:
            group: typer.Typer = plugins.load(COMMANDS[name])
            group.rich_markup_mode, group._add_completion = None, False  # that is an option of `millrace` alone
            command = plain(typer.main.get_command(group))
            command.name = name
            self.commands[name] = command
        return self.commands[name]

    def invoke(self, ctx: Any) -> Any:
        """Runs what was typed; whoever interrupts it, at a question too, reads that it is so."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort):
            print("\nInterrupted." if sys.stderr.isatty() else "Interrupted.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Nouns,
    help=HELP,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        plugins.load("millrace.cli.version:version")()
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show which Millrace this is.")
    ] = False,
) -> None:
    pass


def exit_code(error: BaseException) -> int:
    """The exit code that an error stands for.

    Args:
        error: what ended a command.
    """
    kinds: tuple[tuple[type[BaseException], int], ...] = (
        (errors.ServerUnavailable, NO_SERVER),
        (errors.NotFound, MISSING),
        (errors.InvalidInput, MISUSED),
        (errors.RunError, FAILED),
        (TimeoutError, TIME_UP),
        (KeyboardInterrupt, INTERRUPTED),
    )
    if isinstance(error, errors.DeploymentApplyError) and error.__cause__ is not None:
        error = error.__cause__  # why the server refused it
    return next((code for kind, code in kinds if isinstance(error, kind)), FAILED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits.

    Args:
        arguments: the words of the command line; None: those of this process.
    """
    try:
        typer.main.get_command(app).main(args=arguments, prog_name="millrace")
    except (errors.MillraceError, TimeoutError) as error:
        print(f"millrace: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except ValueError as error:
        told = plugins.load("millrace.cli.misuse:told")(error)
        if told is None:
            raise
        print(f"millrace: {told}", file=sys.stderr)
        sys.exit(MISUSED)
    except OSError as error:  # a file that cannot be read or written; its own words name it
        named = error.strerror and error.filename is not None
        print(f"millrace: {f'{error.strerror}: {error.filename!r}' if named else error}", file=sys.stderr)
        sys.exit(MISSING if isinstance(error, FileNotFoundError) else FAILED)
