"""Help as plain text: whole at every width, and written in one way by every command."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

_TYPES = MappingProxyType(
    {
        "str": "TEXT",
        "int": "N",
        "int range": "N",
        "float": "NUMBER",
        "float range": "NUMBER",
        "path": "PATH",
        "UUID": "ID",
    }
)
_TYPE = re.compile(r" <(?:list\[)?([^<>\]]+)\]?>$")
_SENTENCE = re.compile(r"(?<=\.)\s|\n\n")


def plain(command: Any) -> Any:
    """The same command, with its help in one style: `NAME` is to be given, `[NAME]` may be, `NAME...` repeats.

    Args:
        command: a command, or a group of them.
    """
    command.short_help = _SENTENCE.split(command.help or "")[0]  # whole: lists cut other texts
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.metavar = parameter.metavar or parameter.name.upper()
            parameter.get_usage_pieces = lambda _, one=parameter: [_usage(one)]
        parameter.get_help_record = _record(parameter, parameter.get_help_record)
    for inner in getattr(command, "commands", {}).values():
        plain(inner)
    return command


def _usage(argument: Any) -> str:
    name = str(argument.metavar) if argument.required else f"[{argument.metavar}]"
    return name if argument.nargs == 1 else f"{name}..."


def _record(parameter: Any, before: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def record(ctx: Any) -> Any:
        found = before(ctx)
        if found is None or parameter.param_type_name == "argument":
            return found and (parameter.metavar, found[1].replace("  [required]", ""))
        return _TYPE.sub(lambda match: f" {_TYPES.get(match[1], match[1])}", found[0]), found[1]

    return record
