"""What a `%%flow` cell means: a decorated function, a function to decorate, or a plain body to put into one.

In a plain body the leading literal or annotated assignments are the parameters and the last expression is the result.
Imports among them, and functions and classes that use neither parameters nor variables of the body, move to the module,
so that tasks can be imported by their names; everything else stays in the body, in order and as written.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from millrace.errors import ClosureError, InvalidInput
from millrace.notebooks.cells import MAGIC_VALUE, parse, plain_text
from millrace.notebooks.flow_line import OptionValue
from millrace.notebooks.passages import first_line
from millrace.notebooks.plain_body import PlainBody
from millrace.notebooks.rewritten import Rewritten
from millrace.notebooks.scopes import last_name

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class FlowCell:
    """The flow of a `%%flow` cell.

    Args:
        name: the variable that holds the flow.
        function: the function it is made of; another name than `name` where the line names the flow differently.
        form: which of the three forms the cell has.
        options: the keyword arguments that the line adds to `@flow`.
        source: the cell as a module, for export.
        module: the same for execution; line numbers are those of the cell.
    """

    name: str
    function: str
    form: Literal["decorated", "function", "body"]
    options: Mapping[str, OptionValue]
    source: str
    module: ast.Module


def parse_flow_cell(
    body: str, name: str | None = None, options: Mapping[str, OptionValue] | None = None, *, first_line_number: int = 1
) -> FlowCell:
    """What a `%%flow` cell means.

    Args:
        body: the text under the `%%flow` line; IPython syntax in it is taken out.
        name: the name on the line.
        options: the options on the line, as `parse_flow_line` gives them.
        first_line_number: the number of the body's first line in its cell (2 under a `%%flow` line), for tracebacks.

    Returns:
        The flow's name, its source for export and its tree for execution in the user's namespace.

    Raises:
        SyntaxError: the body is no Python.
        InvalidInput: a plain body without a name, a cell without anything to run, or an option given twice.
        ClosureError: a value in the cell is made by a shell command or a magic.

    Example:
        >>> print(parse_flow_cell("n: int = 2\\nn * 21", "answer").source)
        import millrace
        <BLANKLINE>
        <BLANKLINE>
        @millrace.flow(name='answer')
        def answer(
            n: int = 2,
        ):
            return n * 21
        <BLANKLINE>
    """
    code = plain_text(body)
    try:
        tree = parse(code)
    except SyntaxError as error:
        error.lineno = (error.lineno or 1) + first_line_number - 1
        raise
    _refuse_magic_values(tree, code, name)
    statements = [node for node in tree.body if not isinstance(node, ast.Pass)]
    chosen = dict(options or {})
    decorated = _decorated(statements, name)
    if decorated is not None:
        return _from_decorated(code, tree, decorated, name, chosen, first_line_number)
    function = _undecorated(statements, name)
    if function is not None:
        return _from_function(code, tree, function, name, chosen, first_line_number)
    return _from_body(code, statements, name, chosen, first_line_number)


def is_flow(node: ast.stmt) -> bool:
    """Whether a statement defines a flow: a function under `@flow`, `@x.flow` or either with arguments."""
    return isinstance(node, Definition) and _decorator(node, "flow") is not None


def registered_name(node: ast.stmt) -> str | None:
    """The literal `name=` that a decorated flow gives itself."""
    decorator = _decorator(node, "flow") if isinstance(node, Definition) else None
    for keyword_argument in decorator.keywords if isinstance(decorator, ast.Call) else []:
        if keyword_argument.arg == "name" and isinstance(keyword_argument.value, ast.Constant):
            return str(keyword_argument.value.value)
    return None


def variable_name(name: str) -> str:
    """A flow's name as a Python name: `daily report` gives `daily_report`."""
    text = re.sub(r"\W+", "_", name).strip("_") or "flow"
    text = f"flow_{text}" if text[0].isdigit() else text
    return f"{text}_" if keyword.iskeyword(text) else text


def _decorator(node: Definition, name: str) -> ast.expr | None:
    for decorator in node.decorator_list:
        if last_name(decorator.func if isinstance(decorator, ast.Call) else decorator) == name:
            return decorator
    return None


def _refuse_magic_values(tree: ast.Module, code: str, name: str | None) -> None:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and last_name(node.value.func) == MAGIC_VALUE
        ):
            magic = ast.literal_eval(node.value.args[0])
            raise ClosureError(
                f"The flow {name or 'of this cell'} makes {ast.unparse(node.targets[0])} with `{magic}` (line "
                f"{node.lineno} of its code), which only IPython understands. Use subprocess.run(...) or Python."
            )


def _decorated(statements: list[ast.stmt], name: str | None) -> Definition | None:
    flows = [node for node in statements if isinstance(node, Definition) and _decorator(node, "flow") is not None]
    named = [node for node in flows if name in (node.name, registered_name(node))]
    return named[-1] if named else flows[-1] if flows else None


def _undecorated(statements: list[ast.stmt], name: str | None) -> Definition | None:
    functions = [node for node in statements if isinstance(node, Definition) and _decorator(node, "task") is None]
    named = [node for node in functions if name is not None and node.name in (name, variable_name(name))]
    if named:
        return named[-1]
    # A cell that ends in anything but a definition is a plain body with helpers.
    ends_in_definition = bool(statements) and isinstance(statements[-1], Definition | ast.ClassDef)
    return functions[-1] if functions and ends_in_definition else None


def _from_decorated(
    code: str, tree: ast.Module, node: Definition, name: str | None, options: dict[str, OptionValue], start: int
) -> FlowCell:
    decorator = _decorator(node, "flow")
    assert decorator is not None
    given = {argument.arg for argument in decorator.keywords} if isinstance(decorator, ast.Call) else set()
    if name is not None and name not in (node.name, registered_name(node)) and "name" not in given:
        options.setdefault("name", name)
    for option in options:
        if option in given:
            raise InvalidInput(f"{option} is given on the %%flow line and in the decorator of {node.name}. Keep one.")
    text = Rewritten.of(code)
    if options:
        text.insert_arguments(decorator, ", ".join(f"{key}={value!r}" for key, value in options.items()))
    return _finished(text, node.name, name, "decorated", options, start)


def _from_function(
    code: str, tree: ast.Module, node: Definition, name: str | None, options: dict[str, OptionValue], start: int
) -> FlowCell:
    if name is not None:
        options = {"name": name, **options}
    text = Rewritten.of(code)
    text.insert_lines(first_line(node), [_decoration(options)], at=node.lineno)
    futures = [n.end_lineno or 0 for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    text.insert_lines(max(futures, default=0) + 1, ["import millrace"], at=1)
    return _finished(text, node.name, name, "function", options, start)


def _from_body(
    code: str, statements: list[ast.stmt], name: str | None, options: dict[str, OptionValue], start: int
) -> FlowCell:
    if not statements:
        raise InvalidInput("This %%flow cell is empty. Write a function or the body of one under the line.")
    if all(isinstance(node, Definition | ast.ClassDef | ast.Import | ast.ImportFrom) for node in statements):
        raise InvalidInput("This %%flow cell holds tasks but no flow. Add a function that calls them.")
    if name is None:
        raise InvalidInput("A %%flow cell with a plain body needs a name: %%flow NAME.")
    options = {"name": name, **options}
    function = variable_name(name)
    text = PlainBody(code, statements).as_function(function, _decoration(options))
    return _finished(text, function, None, "body", options, start)


def _decoration(options: Mapping[str, OptionValue]) -> str:
    arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return f"@millrace.flow({arguments})"


def _finished(
    text: Rewritten,
    function: str,
    name: str | None,
    form: Literal["decorated", "function", "body"],
    options: dict[str, OptionValue],
    start: int,
) -> FlowCell:
    variable = function
    if name is not None and variable_name(name) != function:
        variable = variable_name(name)
        text.append(f"{variable} = {function}")
    return FlowCell(variable, function, form, options, text.source, text.tree(start))
