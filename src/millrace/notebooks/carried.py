"""Files that travel with a flow: modules and packages beside the notebook, and what the user names."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from millrace.errors import ClosureError, InvalidInput
from millrace.notebooks.effects import imports_in
from millrace.notebooks.scopes import Import

_LEFT_OUT = frozenset({"__pycache__", "node_modules"})
_NEVER = frozenset({"millrace", "prefect", "IPython"})


@dataclass(frozen=True)
class CarriedFile:
    """A file that is copied beside the exported module.

    Args:
        target: where it goes, relative to the module, with slashes.
        content: its bytes.
    """

    target: str
    content: bytes


@dataclass(frozen=True)
class LocalModules:
    """What imports lead to.

    Args:
        files: the files to carry, by target.
        names: top-level names of the modules among them.
        others: top-level names of modules that have to be installed.
    """

    files: tuple[CarriedFile, ...] = ()
    names: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


def local_modules(
    imports: Iterable[Import], roots: Sequence[Path], written: Mapping[str, str] | None = None
) -> LocalModules:
    """Finds the files behind imports, and behind the imports in those files, and so on.

    Args:
        imports: the imports of a flow.
        roots: where modules of the user lie, the notebook's directory first.
        written: texts of `%%writefile` cells by path, for a notebook that was not executed.

    Returns:
        Local modules and packages as files, and the names of everything else that is not in the standard library.

    Raises:
        ClosureError: a local module is no Python.
    """
    files: dict[str, CarriedFile] = {}
    names: set[str] = set()
    others: set[str] = set()
    waiting = list(imports)
    while waiting:
        found = waiting.pop()
        if found.level:
            # Relative imports stay inside a package, which travels whole.
            continue
        name = found.module.partition(".")[0]
        if name in names or name in others or name in sys.stdlib_module_names:
            continue
        module = () if name in _NEVER else _module(name, roots, written or {})
        if not module:
            others.add(name)
            continue
        names.add(name)
        for file in module:
            files[file.target] = file
            if file.target.endswith(".py"):
                waiting += _imports_of(file)
    return LocalModules(tuple(files[target] for target in sorted(files)), frozenset(names), frozenset(others))


def extra_files(carry: Iterable[str | Path], directory: Path) -> list[CarriedFile]:
    """Files and folders that the user names.

    Args:
        carry: paths, relative to the notebook's directory or absolute.
        directory: the notebook's directory.

    Raises:
        InvalidInput: a path does not exist.
    """
    found: list[CarriedFile] = []
    for item in carry:
        path = directory / item
        inside = path.resolve().is_relative_to(directory.resolve())
        target = path.resolve().relative_to(directory.resolve()).as_posix() if inside else path.name
        if path.is_file():
            found.append(CarriedFile(target, path.read_bytes()))
        elif path.is_dir():
            found += _tree(path, "" if target == "." else target)
        else:
            raise InvalidInput(f"carry: there is no {str(item)!r} in {directory}. Give a path beside the notebook.")
    return found


def public_names(module: str, roots: Sequence[Path], written: Mapping[str, str] | None = None) -> frozenset[str] | None:
    """What `from module import *` brings from a local module.

    Args:
        module: its dotted name.
        roots: where modules of the user lie.
        written: texts of `%%writefile` cells by path.

    Returns:
        The names; None for a module that is not local or whose names cannot be read from its text.
    """
    path = module.replace(".", "/")
    for candidate in (f"{path}.py", f"{path}/__init__.py"):
        text = _read(candidate, roots, written or {})
        if text is not None:
            return _public(text)
    return None


def search_roots(directory: Path | None, statements: Iterable[ast.stmt]) -> list[Path]:
    """Where modules of the user lie: the notebook's directory and what cells add to `sys.path` as a literal.

    Args:
        directory: the notebook's directory; None where there is none.
        statements: the executed statements.
    """
    if directory is None:
        return []
    roots = [directory]
    for node in statements:
        call = node.value if isinstance(node, ast.Expr) else None
        if (
            isinstance(call, ast.Call)
            and ast.unparse(call.func) in ("sys.path.append", "sys.path.insert")
            and call.args
        ):
            last = call.args[-1]
            if isinstance(last, ast.Constant) and isinstance(last.value, str):
                roots.append(directory / last.value)
    return [root for root in roots if root.is_dir() and "site-packages" not in root.parts]


def _module(name: str, roots: Sequence[Path], written: Mapping[str, str]) -> list[CarriedFile]:
    for root in roots:
        package, file = root / name, root / f"{name}.py"
        if (package / "__init__.py").is_file():
            return _tree(package, name)
        if file.is_file():
            return [CarriedFile(file.name, file.read_bytes())]
        if package.is_dir() and name.isidentifier() and any(package.rglob("*.py")):
            # A package without __init__.py may as well be a folder of data: only its code travels.
            return [found for found in _tree(package, name) if found.target.endswith(".py")]
    inside = [key for key in written if key == f"{name}.py" or key.startswith(f"{name}/")]
    return [CarriedFile(key, written[key].encode()) for key in inside]


def _tree(folder: Path, target: str) -> list[CarriedFile]:
    return [
        CarriedFile("/".join([*([target] if target else []), *path.relative_to(folder).parts]), path.read_bytes())
        for path in _files(folder)
    ]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _LEFT_OUT or path.suffix in (".pyc", ".pyo"):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def _imports_of(file: CarriedFile) -> list[Import]:
    try:
        tree = ast.parse(file.content)
    except (SyntaxError, ValueError) as error:
        raise ClosureError(f"{file.target}, which the flow imports, is no Python: {error}. Correct it.") from None
    return imports_in(tree)


def _read(target: str, roots: Sequence[Path], written: Mapping[str, str]) -> str | None:
    for root in roots:
        if (root / target).is_file():
            return (root / target).read_text(encoding="utf-8")
    return written.get(target)


def _public(text: str) -> frozenset[str] | None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            try:
                return frozenset(ast.literal_eval(node.value))
            except (ValueError, TypeError):
                return None
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            return None
        for child in ast.walk(node):
            names |= _bound(child)
    return frozenset(name for name in names if not name.startswith("_"))


def _bound(node: ast.AST) -> set[str]:
    """Names a node gives a value; those of functions inside are counted too, which only makes the set larger."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
