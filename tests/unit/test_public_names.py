"""What `import millrace` gives, in a process of its own: names and modules, each loaded when it is first used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import millrace

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# after `millrace.` in a text, and no name of Python: files, groups of entry points, events, spans, steps of files
NO_NAMES = {"yaml", "schedule", "artifact", "serializers", "schema", "workers", "flow_runs"}


def fresh(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def named_by_the_pages() -> set[str]:
    found: set[str] = set()
    for page in PAGES:
        found |= set(re.findall(r"(?<![\w./-])millrace\.([A-Za-z_]\w*)", page.read_text("utf-8")))
    return found - NO_NAMES


def test_what_the_pages_name_is_there_after_a_plain_import() -> None:
    names = sorted(named_by_the_pages())
    assert {"events", "storage", "schedules", "deployments", "runtime", "watch"} <= set(names)
    missing = fresh(f"import millrace\nprint([n for n in {names} if getattr(millrace, n, None) is None])")
    assert missing.strip() == "[]"


def test_every_public_module_is_there_after_a_plain_import() -> None:
    program = f"import millrace\nfor n in {millrace._MODULES}: print(getattr(millrace, n).__name__, n in dir(millrace))"
    assert fresh(program).splitlines() == [f"millrace.{name} True" for name in millrace._MODULES]


def test_public_modules_are_loaded_when_they_are_named() -> None:
    program = (
        f"import sys, millrace\nnames = {millrace._MODULES}\n"
        "print([n for n in names if 'millrace.' + n in sys.modules])\n"
        "[getattr(millrace, n) for n in names]\n"
        "print([n for n in ('sqlalchemy', 'fastapi', 'docker', 'fsspec', 'papermill', 'IPython') if n in sys.modules])"
    )
    assert fresh(program).splitlines() == ["[]", "[]"]


def test_type_checkers_know_every_public_name_and_module() -> None:
    tree = ast.parse(Path(millrace.__file__).read_text("utf-8"))
    shown = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.asname for node in ast.walk(shown) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {*millrace._MODULES, *millrace._NAMES} - told == set()


def test_the_help_of_the_storages_says_how_each_is_written() -> None:
    said = fresh("import pydoc, millrace\nprint(pydoc.plain(pydoc.render_doc(millrace.storage)))")
    assert "class RemoteStorage" in said
    for word in ("s3://", "gs://", "az://", "s3fs", "gcsfs", "adlfs", "GitRepository", "RemoteStorage", "Secret.load"):
        assert word in said
