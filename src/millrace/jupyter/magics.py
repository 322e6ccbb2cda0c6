"""The magics: each calls what a script would call."""

from __future__ import annotations

import shlex

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from millrace import plugins
from millrace.errors import InvalidInput


@magics_class
class MillraceMagics(Magics):  # type: ignore[misc]
    """`%%flow`, `%flow_check` and `%millrace`."""

    @cell_magic("flow")  # type: ignore[untyped-decorator]
    def define_flow(self, line: str, cell: str) -> None:
        """Make a flow of this cell.

        %%flow [NAME] [--retries N] [--retry-delay-seconds S] [--timeout-seconds S] [--log-prints] [--version V] …

        The cell holds a function under @flow, a function, or a plain body: its leading assignments are the parameters
        and its last expression is the result. The flow becomes a variable: call it, or NAME.deploy("nightly").
        """
        plugins.load("millrace.jupyter.definition:define")(self.shell, line, cell)

    @line_magic  # type: ignore[untyped-decorator]
    def flow_check(self, line: str) -> None:
        """Whether a flow runs where this notebook is not.

        %flow_check NAME [--call] [-p key=value …]

        The flow is exported and imported in a clean process; with --call or parameters it is called there as well.
        """
        print(plugins.load("millrace.jupyter.commands:check")(_words("%flow_check", line)))

    @line_magic  # type: ignore[untyped-decorator]
    def millrace(self, line: str) -> None:
        """Look at runs and deploy flows from here.

        %millrace status | runs [N] | watch RUN | logs RUN | cancel RUN | deploy FLOW | export FLOW DIRECTORY
        %millrace check FLOW [--call] [-p key=value …]

        RUN is a run's name or the first characters of its id; FLOW a variable, or for deploy also a notebook's path.
        """
        plugins.load("millrace.jupyter.commands:run_command")(_words("%millrace", line), self.shell.user_ns)


def _words(magic: str, line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidInput(f"{magic}: {line.strip()!r} cannot be read: {error}. Close the quotes.") from None
