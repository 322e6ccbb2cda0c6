"""By which variable a deployed flow is found elsewhere: the one that is the flow, if the file makes it anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BODIES = """
import functools

def body(n: int = 1): ...

def noted(fn):
    @functools.wraps(fn)
    def call(*args, **kwargs): return fn(*args, **kwargs)
    return call
"""

SCRIPT = """
import json
import cryptography.hazmat.bindings._rust  # puts a library of cffi among the modules, which has no names
from bodies import body, noted
from millrace import flow

def tell(**flows):
    for name, one in flows.items():
        try:
            made = one.to_deployment("d")
            found[name] = f"{made.path.name}/{made.entrypoint}"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"

found = {}

@flow
def etl(n: int = 1): ...

@flow
@noted
def wrapped(n: int = 1): ...

class Shop:
    @flow
    @staticmethod
    def sell(n: int = 1): ...

    @flow
    @classmethod
    def buy(cls, n: int = 1): ...

_quiet = flow(name="quiet")(body)
made = flow(name="made", retries=2)(body)
again = flow(name="again")(body)
if True:
    often = etl.with_options(name="often", retries=3)
for name in ("north", "south"):
    globals()[name] = flow(name=name)(body)
loose = [flow(name="loose")(body)]

if __name__ == "__main__":
    only_here = etl.with_options(name="only-here")
    tell(etl=etl, wrapped=wrapped, sell=Shop.sell, buy=Shop.buy, quiet=_quiet, made=made, often=often, south=south)
    tell(only_here=only_here, nobody=etl.with_options(retries=9), loose=loose[0])
    for one in loose:
        tell(looped=one)
    again = again.with_options(retries=7)
    tell(changed=again)
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    code = tmp_path_factory.mktemp("code")
    (code / "bodies.py").write_text(BODIES)
    (code / "script.py").write_text(SCRIPT)
    said = subprocess.run([sys.executable, "script.py"], cwd=code, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


@pytest.mark.parametrize(
    ("flow", "variable"),
    [
        ("etl", "etl"),
        ("wrapped", "wrapped"),
        ("sell", "Shop.sell"),
        ("buy", "Shop.buy"),
        ("quiet", "_quiet"),
        ("made", "made"),
        ("often", "often"),
        ("south", "south"),
    ],
)
def test_the_variable_that_is_the_flow(found: dict[str, str], flow: str, variable: str) -> None:
    assert found[flow].endswith(f"/script.py:{variable}"), found[flow]


@pytest.mark.parametrize(
    ("flow", "why"),
    [
        ("only_here", "'only_here' stands below `if __name__"),
        ("changed", "'again' stands below `if __name__"),
        ("looped", "'one' stands below `if __name__"),
        ("nobody", "Write etl = "),
        ("loose", "Write loose = "),
    ],
)
def test_a_flow_that_a_worker_would_not_find_is_refused(found: dict[str, str], flow: str, why: str) -> None:
    assert found[flow].startswith("EntrypointError: No variable at the top level of a file is the flow "), found[flow]
    assert why in found[flow]


def test_a_variable_of_a_loop_is_none(tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text(
        "from millrace import flow\ndef body(): ...\nfor one in (flow(name='a')(body), flow(name='b')(body)):\n"
        "    one.to_deployment('d')\n"
    )
    said = subprocess.run([sys.executable, "loops.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "'one' is the variable of the loop in line 3 of" in said.stderr


def test_a_module_that_was_started_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/etl.py").write_text(
        "from millrace import flow\n@flow\ndef etl(): ...\n"
        "if __name__ == '__main__':\n    print(etl.to_deployment('d').entrypoint)\n"
    )
    said = subprocess.run(
        [sys.executable, "-m", "shop.etl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert said.stdout == "shop.etl.etl\n", said.stderr
