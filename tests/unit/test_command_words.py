"""What is typed: every command, its options, and the reading of their values."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from millrace.cli import COMMANDS, LINES, app
from millrace.cli.options import later, variables
from millrace.errors import InvalidInput
from millrace.schema.fields import now

# They run until they are interrupted, print what is JSON anyway, or a line that is the value itself.
WITHOUT_JSON = {
    "demo",
    "event stream",
    "events stream",
    "flow-run result",
    "secret new-key",
    "server start",
    "work-pool get-default-base-job-template",
    "worker start",
}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(words), command
        return
    for name in command.commands:
        found = command.loaded(name) if hasattr(command, "loaded") else command.get_command(None, name)
        yield from commands(found, (*words, name))


def test_every_command_answers_programs_too() -> None:
    everything = dict(commands(typer.main.get_command(app)))
    assert len(everything) > 90
    options = {
        words: {option for one in command.params for option in one.opts} for words, command in everything.items()
    }
    assert {words for words, known in options.items() if "--output" not in known} == WITHOUT_JSON
    assert not [words for words, known in options.items() if "--install-completion" in known]
    assert not [words for words, command in everything.items() if not command.help]


def test_the_list_of_commands_loads_none_of_them() -> None:
    root: Any = typer.main.get_command(app)
    assert set(LINES) == set(COMMANDS)
    for name, line in LINES.items():
        assert root.loaded(name).get_short_help_str(1000) == line
    program = (
        "import sys\nfrom millrace.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('httpx', 'millrace.schema', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and LINES["work-queue"][:20] in done.stdout


def helps(width: int) -> Iterator[tuple[str, str]]:
    root: Any = typer.main.get_command(app)
    whole: dict[str, Any] = {"": root}
    for name in COMMANDS:
        whole[name] = root.loaded(name)
    queue = list(whole.items())
    while queue:
        words, command = queue.pop()
        with command.make_context(f"millrace {words}".strip(), [], resilient_parsing=True, terminal_width=width) as ctx:
            yield words, command.get_help(ctx)
        if words:
            queue += [(f"{words} {name}", inner) for name, inner in getattr(command, "commands", {}).items()]


def test_help_is_plain_and_whole_in_a_terminal_of_80_columns() -> None:
    seen = dict(helps(80))
    assert len(seen) > 100
    for words, text in seen.items():
        assert not re.search("[╭│╰…]|[^\\]A-Z]\\.\\.\\.$", text, re.MULTILINE), words
        assert max(map(len, text.splitlines())) <= 80, words
        assert not re.search(r"<\w|[{}]|\[\[", text), f"{words}: another style of metavars\n{text}"
        assert ("--install-completion" in text) is (words == "")
    assert "-f, --file, --prefect-file PATH" in seen["deploy"] and "[ENTRYPOINT]" in seen["deploy"]
    assert "NAME=VALUE..." in seen["config set"] and "millrace flow-run watch [OPTIONS] RUN" in seen["flow-run watch"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("5 min", 300), ("5min", 300), ("2 hours", 7200), ("1 Day", 86400), ("3 seconds", 3)],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert abs(later(text) - now() - timedelta(seconds=seconds)) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["", "soon", "5 weeks", "-3", "5 5", "min"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"--in .* is no length of time; write 90, '5 min' or '2 hours'"):
        later(text)


def test_job_variables_as_typed() -> None:
    typed = ["env.N=5", "env.T=a=b", "labels.x=true", "cpus=1.5", "mem_limit=512m", 'volumes=["/a:/b"]', "image=r/i:1"]
    assert variables(typed) == {
        "env": {"N": "5", "T": "a=b"},
        "labels": {"x": "true"},
        "cpus": 1.5,
        "mem_limit": "512m",
        "volumes": ["/a:/b"],
        "image": "r/i:1",
    }
    assert variables([]) is None
    with pytest.raises(InvalidInput, match=r"--job-variable 'env\.N' is not of the form"):
        variables(["env.N"])


# -- completion


def typed(line: str, shell: str) -> list[str]:
    """What a shell is offered after this line, as its completion script asks for it."""
    words = line.split(" ")
    env = {**os.environ, "_MILLRACE_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        env |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    else:
        env |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run([*MILLRACE], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


MILLRACE = [sys.executable, "-c", "from millrace.cli import main; main()"]


def test_a_shell_completes_commands_and_options() -> None:
    assert set(typed("millrace ", "bash")) == set(COMMANDS)
    assert typed("millrace work-q", "bash") == ["work-queue"]
    assert {"pause", "resume", "set-priority"} <= set(typed("millrace work-queue ", "bash"))
    assert "--set-as-default" in typed("millrace work-pool create --", "bash")
    assert "work-queue" in " ".join(typed("millrace work-q", "fish"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_where_the_shell_looks(shell: str, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "SHELL": f"/bin/{shell}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    shown = subprocess.run(
        [*MILLRACE, "--show-completion", shell], env=env, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "_MILLRACE_COMPLETE" in shown and "millrace" in shown
    done = subprocess.run(
        [*MILLRACE, "--install-completion", shell], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert f"{shell} completion installed" in done.stdout
    written = [file for file in tmp_path.rglob("*") if file.is_file() and "_MILLRACE_COMPLETE" in file.read_text()]
    assert len(written) == 1
    if shell == "bash":  # and bash itself takes it
        said = subprocess.run(
            ["bash", "-c", f"source {written[0]}; complete -p millrace"], capture_output=True, text=True, check=True
        )
        assert "-F" in said.stdout
