"""Which values can be made again in another process by running the statement that made them.

Decided by the expression: literals, the user's own functions and classes, and known constructors without side effects
can be made again. A call of anything else in a library may read a file, open a connection or give another value
tomorrow; the user decides such cases, not we. With a live kernel the type of the value is asked as well.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from millrace.notebooks.cells import MAGIC_VALUE
from millrace.notebooks.scopes import root_name

_BUILTINS = frozenset({
    "abs", "all", "any", "ascii", "bin", "bool", "bytearray", "bytes", "callable", "chr", "classmethod", "complex",
    "dict", "divmod", "enumerate", "filter", "float", "format", "frozenset", "getattr", "hasattr", "hex", "int",
    "isinstance", "issubclass", "len", "list", "map", "max", "min", "object", "oct", "ord", "pow", "print",
    "property", "range", "repr", "reversed", "round", "set", "setattr", "delattr", "slice", "sorted",
    "staticmethod", "str", "sum", "super", "tuple", "type", "zip", "Exception", "ValueError", "TypeError",
    "KeyError", "RuntimeError",
})  # fmt: skip
# One-shot: a second run of the flow would find them used up.
_ITERATORS = frozenset({"enumerate", "filter", "iter", "map", "reversed", "zip"})
# Modules whose every callable only computes; a longer entry in _REFUSED wins.
_PURE = (
    "abc", "attr", "attrs", "base64", "bisect", "calendar", "cmath", "codecs", "collections", "contextvars", "copy",
    "dataclasses", "datetime", "dateutil", "decimal", "difflib", "enum", "fnmatch", "fractions", "functools",
    "hashlib", "heapq", "html", "inspect", "ipaddress", "itertools.chain", "itertools.product", "json.dumps",
    "json.loads", "locale", "logging", "math", "matplotlib.style", "matplotlib.use", "millrace", "numbers",
    "operator", "os.environ", "os.fspath", "os.getenv", "os.path.basename", "os.path.dirname", "os.path.expanduser",
    "os.path.expandvars", "os.path.join", "os.path.normpath", "os.path.split", "os.path.splitext", "pathlib",
    "posixpath", "pprint", "pydantic", "random.Random", "random.seed", "re", "shlex", "statistics", "string",
    "struct", "sys.path", "sys.setrecursionlimit", "textwrap", "types", "typing", "typing_extensions",
    "unicodedata", "urllib.parse", "uuid.UUID", "warnings", "weakref", "zoneinfo", "importlib.import_module",
    "numpy.arange", "numpy.array", "numpy.asarray", "numpy.dtype", "numpy.eye", "numpy.full", "numpy.identity",
    "numpy.linspace", "numpy.logspace", "numpy.ones", "numpy.random.default_rng", "numpy.random.seed",
    "numpy.set_printoptions", "numpy.zeros", "numpy.float32", "numpy.float64", "numpy.int32", "numpy.int64",
    "numpy.uint8", "numpy.datetime64", "numpy.timedelta64", "numpy.deg2rad", "numpy.sqrt", "numpy.log", "numpy.exp",
    "pandas.CategoricalDtype", "pandas.Timedelta", "pandas.Timestamp", "pandas.set_option", "pandas.options",
    "pandas.DateOffset", "prefect.flow", "prefect.task", "seaborn.set_theme", "seaborn.set_style",
    "matplotlib.pyplot.style", "matplotlib.rcParams", "matplotlib.pyplot.rcParams", "polars.Config",
    "torch.manual_seed", "secrets.compare_digest",
)  # fmt: skip
_REFUSED = (
    "datetime.datetime.now", "datetime.datetime.today", "datetime.datetime.utcnow", "datetime.date.today",
    "contextvars.copy_context", "logging.FileHandler", "logging.StreamHandler", "pathlib.Path.cwd",
    "codecs.open", "weakref.ref", "weakref.finalize", "inspect.stack", "inspect.currentframe",
    "hashlib.file_digest", "millrace.serve", "millrace.deploy", "millrace.run_deployment", "pydantic.create_engine",
)  # fmt: skip
_SEEDED = frozenset({"default_rng", "Random"})
# Methods that reach outside the process or the moment, whatever they are called on.
_REACHING = frozenset({
    "connect", "cursor", "deploy", "execute", "executemany", "fetchall", "fetchmany", "fetchone", "glob", "iterdir",
    "mkdir", "now", "open", "read", "read_bytes", "read_text", "readline", "readlines", "rename", "request",
    "rglob", "serve", "stat", "to_csv", "to_parquet", "to_sql", "today", "touch", "unlink", "urlopen", "utcnow",
    "write", "write_bytes", "write_text",
})  # fmt: skip
_LIVE_ROOTS = frozenset({
    "pandas", "polars", "pyarrow", "dask", "xarray", "geopandas", "modin", "duckdb", "pyspark",
    "psycopg", "psycopg2", "pymysql", "sqlite3", "socket", "ssl", "requests", "httpx", "aiohttp", "urllib3", "http",
    "boto3", "botocore", "redis", "pymongo", "sklearn", "xgboost", "lightgbm", "torch", "tensorflow", "keras",
    "transformers", "ipywidgets", "anywidget", "matplotlib", "plotly", "bokeh", "altair", "threading", "_thread",
    "multiprocessing", "concurrent", "subprocess", "io", "_io", "asyncio", "_asyncio", "tempfile", "zipfile",
    "selenium", "playwright", "PIL",
})  # fmt: skip
_HARMLESS = frozenset({"Timestamp", "Timedelta", "DateOffset", "CategoricalDtype", "HTTPStatus", "dtype", "Interval"})
_LIVE_BUILTINS = frozenset({
    "generator", "coroutine", "async_generator", "map", "filter", "zip", "enumerate", "reversed", "list_iterator",
    "memoryview", "frame",
})  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """What names in the cells stand for.

    Args:
        imports: imported names and what they are: `np` is `numpy`, `Path` is `pathlib.Path`.
        runs: functions that are flows or tasks: calling one at import would be a run.
        local: top-level names of modules that lie beside the notebook: the user's code.
        defined: functions, classes and values that cells define.
    """

    imports: Mapping[str, str] = field(default_factory=dict)
    runs: frozenset[str] = frozenset()
    local: frozenset[str] = frozenset()
    defined: frozenset[str] = frozenset()


def objection(node: ast.stmt, words: Vocabulary) -> str | None:
    """Why running a statement again elsewhere might not make the same value.

    Args:
        node: a top-level statement.
        words: what its names stand for.

    Returns:
        Half a sentence such as `it is made by pandas.read_csv(...)`, or None.

    Example:
        >>> objection(ast.parse("rows = open('rows.txt')").body[0], Vocabulary())
        'it is made by open(...)'
    """
    value = getattr(node, "value", None)
    if isinstance(node, ast.If) and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test)):
        return "it depends on `__name__`, which is another one in a module"
    if isinstance(value, ast.GeneratorExp):
        return "it is a generator, which can be used only once"
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _ITERATORS - words.defined:
        return f"it is made by {value.func.id}(...), which can be used only once"
    outer = value if isinstance(node, ast.Expr) and isinstance(value, ast.Call) else None
    for part in _executed(node):
        if part is outer and root_name(outer.func) in words.imports:
            continue  # a setting of a library, such as seaborn.set(...)
        if isinstance(part, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return "it is awaited, and a module cannot await while it is imported"
        if isinstance(part, ast.Call):
            reason = _call(part, words)
            if reason is not None:
                return reason
    return None


def live_type(description: str | None) -> str | None:
    """The type of a live value as people call it, where such a value cannot be shipped.

    Args:
        description: its type, such as `pandas.core.frame.DataFrame`.

    Returns:
        Such as `pandas.DataFrame`; None for anything that may be made again.
    """
    if description is None:
        return None
    root, name = description.partition(".")[0], description.rpartition(".")[2]
    if root in ("", "builtins"):
        return name if name in _LIVE_BUILTINS else None
    if root not in _LIVE_ROOTS or name in _HARMLESS:
        return None
    return f"{root.lstrip('_')}.{name}"


def live_types(namespace: Mapping[str, object]) -> dict[str, str]:
    """The types of the values in a live namespace, as `find_closure` wants them.

    Args:
        namespace: such as the kernel's `user_ns`.

    Example:
        >>> live_types({"x": 1})
        {'x': 'builtins.int'}
    """
    return {name: f"{type(value).__module__}.{type(value).__qualname__}" for name, value in namespace.items()}


def _executed(node: ast.AST) -> list[ast.AST]:
    """The nodes that run when the statement runs: everything but the bodies of functions."""
    found: list[ast.AST] = [node]
    if isinstance(node, ast.Lambda):
        parts: list[ast.AST] = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        # A decorator gets the function and nothing else: what decorators of libraries do is their business.
        parts = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
    elif isinstance(node, ast.ClassDef):
        parts = [*node.body]
    else:
        parts = list(ast.iter_child_nodes(node))
    for part in parts:
        found.extend(_executed(part))
    return found


def _call(node: ast.Call, words: Vocabulary) -> str | None:
    function = node.func
    if isinstance(function, ast.Name):
        return _plain_call(function.id, node, words)
    if not isinstance(function, ast.Attribute):
        return None
    root = root_name(function)
    dotted = _dotted(function)
    if root is not None and root in words.imports and dotted is not None:
        if function.attr in _SEEDED and not node.args and not node.keywords:
            return f"it is made by {ast.unparse(function)}() without a seed"
        return _library_call(".".join([words.imports[root], *dotted.split(".")[1:]]), words)
    if function.attr in _REACHING:
        return f"it is made by {ast.unparse(function)}(...)"
    return None


def _plain_call(name: str, node: ast.Call, words: Vocabulary) -> str | None:
    if name == MAGIC_VALUE:
        return f"it is made by `{ast.literal_eval(node.args[0])}`, which only IPython understands"
    if name in words.runs:
        return f"it is the result of {name}(...), and importing the module would run that again"
    if name in words.defined and name not in words.imports:
        return None
    if name in words.imports:
        return _library_call(words.imports[name], words)
    return None if name in _BUILTINS or name in words.local else f"it is made by {name}(...)"


def _library_call(name: str, words: Vocabulary) -> str | None:
    if name.split(".")[0] in words.local:
        return None
    if _under(name, _PURE) and not _under(name, _REFUSED) and name.rpartition(".")[2] not in _REACHING:
        return None
    return f"it is made by {name}(...)"


def _under(name: str, entries: tuple[str, ...]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in entries)


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else None
    return f"{inner}.{node.attr}" if inner is not None and isinstance(node, ast.Attribute) else None
